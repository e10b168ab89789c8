//! The gateways that come with a deployment: one for each port of a cluster, and those that the blueprint asks for.

use indexmap::{IndexMap, IndexSet};
use weir_artifact::{Blueprint, Breed, Cluster, Deployment, Gateway, OrReference, PortValue, Problem};
use weir_model::Protocol;

use super::Merged;
use crate::{
    Settings,
    gateway::{self, World, finish, lengthened, number, port_owner, shortened, unavailable},
    names::{internal, segments, service_route},
    ports::PortRange,
    validate::{breed, hinted, is_wanted, problem},
};

/// What the gateways' part of a merge or slice adds to.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) removed: Vec<String>,
    pub(crate) found: Vec<Problem>,
}

impl Changes {
    /// What they lead to, unless there are problems.
    pub(crate) fn merged(
        self,
        deployment: Deployment,
        last_port: Option<u16>,
    ) -> Result<Merged, Vec<Problem>> {
        if !self.found.is_empty() {
            return Err(self.found);
        }
        Ok(Merged {
            deployment,
            gateways: self.gateways,
            removed: self.removed,
            last_port,
        })
    }
}

/// The distinct ports of a cluster's wanted services, with the protocol of the first that has it.
fn cluster_ports(cluster: &Cluster) -> IndexMap<String, Protocol> {
    let mut ports = IndexMap::new();
    let wanted = cluster.services.iter().filter(|service| is_wanted(service));
    for (name, value) in wanted.filter_map(breed).flat_map(|breed: &Breed| &breed.ports) {
        ports.entry(name.clone()).or_insert(value.protocol);
    }
    ports
}

/// One gateway per port name of a cluster, one route per service that has the port. `given`: the gateways
/// of the blueprint's cluster, which replace those that are there; `None` keeps them.
pub(crate) fn internal_gateways(
    deployment: &mut Deployment,
    cluster_name: &str,
    given: Option<&IndexMap<String, Gateway>>,
    world: &World<'_>,
    ports: &mut PortRange,
    settings: &Settings,
    changes: &mut Changes,
) {
    let of = deployment.name.clone();
    let Some(cluster) = deployment.clusters.get_mut(cluster_name) else {
        return;
    };
    let port_names = cluster_ports(cluster);
    let given = by_port(given, &port_names, cluster_name, &mut changes.found);
    let mut shown = IndexMap::new();
    for (port_name, protocol) in &port_names {
        let name = internal(&of, cluster_name, port_name);
        let path = format!("clusters/{cluster_name}/gateways/{port_name}");
        let stored = world.gateway(&name);
        let base = given.get(port_name.as_str()).copied();
        let mut gateway = base.or(stored).cloned().unwrap_or_default();
        gateway.name.clone_from(&name);
        gateway.port = Some(PortValue::new(stored.map_or(0, number), *protocol));
        gateway.service = stored.and_then(|stored| stored.service.clone());
        let mut routes = lengthened(&gateway.routes, &of, cluster_name, port_name);
        let mut complete = IndexMap::new();
        for service in cluster.services.iter().filter(|service| is_wanted(service)) {
            if breed(service).is_some_and(|breed| breed.ports.contains_key(port_name)) {
                let path = service_route(&of, cluster_name, service.name(), port_name);
                let route = routes
                    .shift_remove(&path)
                    .unwrap_or(OrReference::Inline(Default::default()));
                complete.insert(path, route);
            }
        }
        if base.is_some() {
            for unknown in routes.keys() {
                let shown = segments(unknown)
                    .get(2)
                    .map_or(unknown.as_str(), |service| service);
                changes.found.push(problem(
                    "UnresolvedServiceRouteError",
                    format!("{path}/routes/{shown}"),
                    format!("cluster `{cluster_name}` has no service `{shown}` with port `{port_name}`"),
                ));
            }
            // Conditions are tried in the order in which they were written.
            if let Some(base) = base {
                let order = lengthened(&base.routes, &of, cluster_name, port_name);
                complete.sort_by_cached_key(|path, _| order.get_index_of(path).unwrap_or(usize::MAX));
            }
        }
        gateway.routes = complete;
        finish(&mut gateway, stored, ports, settings, &path, &mut changes.found);
        let number = number(&gateway);
        deployment
            .ports
            .insert(format!("{cluster_name}.{port_name}"), number.to_string());
        shown.insert(port_name.clone(), shortened(&gateway));
        changes.gateways.push(gateway);
    }
    cluster.gateways = shown;
    // A port that no service has any more.
    for stored in world.gateways {
        if let &[d, c, p] = segments(&stored.name).as_slice()
            && d == of
            && c == cluster_name
            && !port_names.contains_key(p)
        {
            deployment.ports.shift_remove(&format!("{c}.{p}"));
            changes.removed.push(stored.name.clone());
        }
    }
}

/// The given gateways by real port names.
fn by_port<'a>(
    given: Option<&'a IndexMap<String, Gateway>>,
    port_names: &'a IndexMap<String, Protocol>,
    cluster: &str,
    found: &mut Vec<Problem>,
) -> IndexMap<&'a str, &'a Gateway> {
    let mut by_port = IndexMap::new();
    for (key, gateway) in given.into_iter().flatten() {
        let path = format!("clusters/{cluster}/gateways/{key}");
        match (port_names.contains_key(key), port_names.len()) {
            (true, _) => {
                by_port.insert(key.as_str(), gateway);
            }
            (false, 1) if key == "_" => {
                by_port.extend(port_names.keys().next().map(|only| (only.as_str(), gateway)));
            }
            (false, _) if key == "_" => found.push(problem(
                "IllegalAnonymousRoutingPortMappingError",
                path,
                format!("the gateway must say which port it is for: cluster `{cluster}` has not exactly one"),
            )),
            _ => found.push(problem(
                "UnresolvedGatewayPortError",
                path,
                format!("no service of cluster `{cluster}` has a port `{key}`"),
            )),
        }
    }
    by_port
}

/// Gateways of the blueprint, named `deployment/port`.
pub(crate) fn external_gateways(
    deployment: &Deployment,
    blueprint: &Blueprint,
    world: &World<'_>,
    ports: &mut PortRange,
    settings: &Settings,
    changes: &mut Changes,
) {
    let of = &deployment.name;
    let mut numbers = IndexSet::new();
    for given in &blueprint.gateways {
        let key = match number(given) {
            0 => external_key(given),
            number => number.to_string(),
        };
        let path = format!("gateways/{key}");
        if !numbers.insert(key.clone()) {
            changes.found.push(problem(
                "DuplicateGatewayPortError",
                path.clone(),
                format!("the blueprint has two gateways for port `{key}`"),
            ));
            continue;
        }
        let mut gateway = given.clone();
        gateway.name = format!("{of}/{key}");
        gateway.routes = IndexMap::new();
        for (route_path, route) in &given.routes {
            let full = match *segments(route_path).as_slice() {
                [cluster, port] => external_route(deployment, &gateway, cluster, port, &path, changes),
                // As printed: `deployment/cluster/port`.
                [d, cluster, port] if d == of => {
                    external_route(deployment, &gateway, cluster, port, &path, changes)
                }
                _ => {
                    changes.found.push(hinted(
                        problem(
                            "UnresolvedGatewayPortError",
                            format!("{path}/routes/{route_path}"),
                            format!("`{route_path}` is not a port of a cluster"),
                        ),
                        "the form is `cluster/port`",
                    ));
                    continue;
                }
            };
            gateway.routes.insert(full, route.clone());
        }
        let stored = world.gateway(&gateway.name);
        finish(&mut gateway, stored, ports, settings, &path, &mut changes.found);
        // One of the same deployment and port under another name gives way.
        for other in world.gateways {
            let same_owner = matches!(segments(&other.name).as_slice(), [d, _] if d == of);
            if same_owner && other.name != gateway.name && number(other) == number(&gateway) {
                changes.removed.push(other.name.clone());
            }
        }
        let others = world
            .gateways
            .iter()
            .chain(&changes.gateways)
            .filter(|other| !changes.removed.contains(&other.name));
        if let Some(owner) = port_owner(&gateway, others) {
            let unavailable = unavailable(&gateway, owner, &path);
            changes.found.push(unavailable);
        }
        changes.gateways.push(gateway);
    }
}

/// The key of a gateway that has no number yet: the last segment of its name, or (in a blueprint, where it
/// has no name) the word that was written as its port.
fn external_key(gateway: &Gateway) -> String {
    let name = gateway.name.rsplit('/').next().filter(|name| !name.is_empty());
    let word = gateway.port.as_ref().map(|port| port.text.as_str());
    name.or(word).unwrap_or_default().to_owned()
}

fn external_route(
    deployment: &Deployment,
    gateway: &Gateway,
    cluster: &str,
    port: &str,
    path: &str,
    changes: &mut Changes,
) -> String {
    let at = format!("{path}/routes/{cluster}/{port}");
    let known = deployment
        .clusters
        .get(cluster)
        .and_then(|cluster| cluster_ports(cluster).get(port).copied());
    match known {
        None => changes.found.push(problem(
            "UnresolvedGatewayPortError",
            at,
            format!("cluster `{cluster}` has no port `{port}`"),
        )),
        Some(protocol) if protocol != gateway::protocol(gateway) => changes.found.push(hinted(
            problem(
                "GatewayPortTypeError",
                at,
                format!(
                    "the gateway is {}, the port is {protocol}",
                    gateway::protocol(gateway)
                ),
            ),
            format!("write `{}/{protocol}`", number(gateway)),
        )),
        Some(_) => {}
    }
    internal(&deployment.name, cluster, port)
}
