//! Artifacts to what agents serve.
//!
//! **Rule of publication.** Vamp 0.9.4 leaves an internal gateway out while any of its routes has no target,
//! later versions while none has. Here every stored gateway is published always, and a route without
//! targets answers 503 for its share: sockets do not come and go with instances, clients see a clear answer
//! instead of a refused connection, and a route that lost its instances shows in the figures at once. The
//! same holds for a route to a gateway that does not exist: to leave the route out would hand its share to
//! versions that nobody meant to widen.
//!
//! A fault of one gateway or route never takes others with it: it becomes a [`LoweringProblem`], and the rest
//! stands.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    str::FromStr,
};

use weir_artifact::{Deployment, Gateway, HealthCheck, OrReference, Rewrite, Route};
use weir_model::{
    Balance, ConditionStrength, GatewayName, HealthProtocol, Instance, InstanceId, InstanceState, Listener,
    Millis, PathRewrite, Protocol, RouteName, RouteOptions, Target, UpstreamProtocol, Weight,
};

use crate::{
    Settings,
    gateway::{number, protocol, with_default_virtual_host},
    launch::health_checks,
    names::{segments, service_route},
};

/// What agents are to serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Lowered {
    /// By number of segments, then by name.
    pub gateways: Vec<weir_model::Gateway>,
    /// What could not be done as written.
    pub problems: Vec<LoweringProblem>,
}

/// Something of a gateway that could not be done as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoweringProblem {
    /// The gateway.
    pub gateway: String,
    /// What is wrong and what is done instead.
    pub message: String,
}

/// Lowers every gateway. Instances are those of the deployments that are ready (`deployed`).
pub fn lower(gateways: &[Gateway], deployments: &[Deployment], settings: &Settings) -> Lowered {
    let mut sorted: Vec<&Gateway> = gateways.iter().collect();
    sorted.sort_by_key(|gateway| (segments(&gateway.name).len(), gateway.name.clone()));
    let world = World {
        gateways: gateways
            .iter()
            .map(|gateway| (gateway.name.as_str(), gateway))
            .collect(),
        instances: ready_instances(deployments),
        checks: checks(deployments),
    };
    let mut problems = Vec::new();
    let mut hosts = HashSet::new();
    let mut lowered = Vec::with_capacity(sorted.len());
    for gateway in sorted {
        let mut say = |message| {
            problems.push(LoweringProblem {
                gateway: gateway.name.clone(),
                message,
            });
        };
        let Ok(name) = GatewayName::new(gateway.name.as_str()) else {
            say("a gateway without a name cannot be published".to_owned());
            continue;
        };
        let protocol = protocol(gateway);
        let mut routes = Vec::with_capacity(gateway.routes.len());
        for (path, route) in &gateway.routes {
            match route {
                OrReference::Inline(route) => {
                    routes.extend(lower_route(gateway, path, route, &world, &mut say));
                }
                OrReference::Reference(reference) => {
                    say(format!(
                        "route `{path}` is the stored route `{reference}`, which is not known; it is left out"
                    ));
                }
            }
        }
        lowered.push(weir_model::Gateway {
            name,
            protocol,
            listener: (number(gateway) != 0).then(|| Listener {
                address: settings.gateway_address,
                port: number(gateway),
            }),
            virtual_hosts: virtual_hosts(gateway, settings, &mut hosts, &mut say),
            options: gateway.options.clone(),
            sticky: gateway.sticky,
            routes,
        });
    }
    Lowered {
        gateways: lowered,
        problems,
    }
}

struct World<'a> {
    gateways: HashMap<&'a str, &'a Gateway>,
    /// By route path `deployment/cluster/service/port`.
    instances: BTreeMap<String, Vec<Instance>>,
    /// The check of that port that agents make, by route path.
    checks: BTreeMap<String, HealthCheck>,
}

/// The check that agents make of each port: the first of the service's own that looks at that port. The driver makes
/// all of them; an agent sees one instance's port as traffic does.
fn checks(deployments: &[Deployment]) -> BTreeMap<String, HealthCheck> {
    let mut found = BTreeMap::new();
    for deployment in deployments {
        for (cluster_name, cluster) in &deployment.clusters {
            for service in &cluster.services {
                let OrReference::Inline(breed) = &service.breed else {
                    continue;
                };
                for check in health_checks(breed, service, cluster) {
                    let path = service_route(&deployment.name, cluster_name, service.name(), &check.port);
                    found.entry(path).or_insert(check);
                }
            }
        }
    }
    found
}

/// A check in the agents' words; `None`: theirs cannot say it, and they only connect.
fn agents_check(check: &HealthCheck) -> Option<weir_model::HealthCheck> {
    let protocol = match check.protocol.to_ascii_uppercase().as_str() {
        "HTTP" => HealthProtocol::Http,
        "TCP" => HealthProtocol::Tcp,
        _ => return None,
    };
    let seconds = |seconds: u64| Millis::new(seconds.max(1).saturating_mul(1_000)).unwrap_or(Millis::MAX);
    let path = match check.path.strip_prefix('/') {
        Some(_) => check.path.clone(),
        None => format!("/{}", check.path),
    };
    let is_possible = path.len() <= weir_model::HealthCheck::PATH_BYTES_MAX
        && path.bytes().all(|byte| byte.is_ascii_graphic());
    is_possible.then(|| weir_model::HealthCheck {
        protocol,
        path,
        interval: seconds(check.interval_s),
        timeout: seconds(check.timeout_s),
        fall: check.failures.max(1),
        ..weir_model::HealthCheck::tcp()
    })
}

/// Ready instances by the path of the route that leads to them, in order of names. Every port of every
/// service has an entry, also without instances.
fn ready_instances(deployments: &[Deployment]) -> BTreeMap<String, Vec<Instance>> {
    let mut ready: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
    for deployment in deployments {
        for (cluster_name, cluster) in &deployment.clusters {
            for service in &cluster.services {
                let path = |port: &str| service_route(&deployment.name, cluster_name, service.name(), port);
                if let OrReference::Inline(breed) = &service.breed {
                    for port in breed.ports.keys() {
                        ready.entry(path(port)).or_default();
                    }
                }
                let instances = service.runtime.iter().flat_map(|runtime| &runtime.instances);
                for instance in instances.filter(|instance| instance.deployed) {
                    let Ok(id) = InstanceId::new(instance.name.as_str()) else {
                        continue;
                    };
                    for (port, number) in &instance.ports {
                        ready.entry(path(port)).or_default().push(Instance {
                            id: id.clone(),
                            host: instance.host.clone(),
                            port: *number,
                            state: InstanceState::Serving,
                        });
                    }
                }
            }
        }
    }
    for instances in ready.values_mut() {
        instances.retain(|instance| instance.port != 0 && !instance.host.is_empty());
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        instances.dedup_by(|a, b| a.id == b.id);
    }
    ready
}

fn lower_route(
    gateway: &Gateway,
    path: &str,
    route: &Route,
    world: &World<'_>,
    say: &mut impl FnMut(String),
) -> Option<weir_model::Route> {
    let Ok(name) = RouteName::new(path) else {
        say("a route without a path is left out".to_owned());
        return None;
    };
    let condition = match &route.condition {
        None => None,
        Some(OrReference::Inline(condition)) => Some(condition.clone()),
        Some(OrReference::Reference(reference)) => {
            say(format!(
                "route `{path}`: condition `{reference}` is not resolved; the route has none until it is"
            ));
            None
        }
    };
    let default_strength = if condition.is_some() {
        ConditionStrength::FULL
    } else {
        ConditionStrength::ZERO
    };
    Some(weir_model::Route {
        name,
        weight: route.weight.unwrap_or(Weight::ZERO),
        condition,
        condition_strength: route.condition_strength.unwrap_or(default_strength),
        balance: balance(gateway, path, route, say),
        options: options(gateway, path, route, world, say),
        target: target(path, world, say),
    })
}

/// A check of the route's own goes before those of the service that it leads to.
fn options(
    gateway: &Gateway,
    path: &str,
    route: &Route,
    world: &World<'_>,
    say: &mut impl FnMut(String),
) -> RouteOptions {
    let mut options = RouteOptions {
        rewrites: rewrites(gateway, path, route, say),
        ..route.options.clone()
    };
    if options.health.is_none() {
        options.health = world.checks.get(path).and_then(agents_check);
    }
    while let Some((key, others)) = options.misplaced(protocol(gateway)) {
        say(format!(
            "route `{path}`: only routes of {others}, that of this one is left out"
        ));
        match key {
            "protocol" => options.protocol = UpstreamProtocol::default(),
            "ejection" => options.ejection = None,
            _ => options.server_names.clear(),
        }
    }
    options
}

fn rewrites(gateway: &Gateway, path: &str, route: &Route, say: &mut impl FnMut(String)) -> Vec<PathRewrite> {
    if protocol(gateway) == Protocol::Tcp && !route.rewrites.is_empty() {
        say(format!(
            "route `{path}`: a tcp gateway sees no paths, its rewrites are left out"
        ));
        return Vec::new();
    }
    let mut rewrites = Vec::new();
    for rewrite in &route.rewrites {
        match rewrite {
            Rewrite::Path(rewrite) => rewrites.push(rewrite.clone()),
            Rewrite::Reference(reference) => say(format!(
                "route `{path}`: rewrite `{reference}` is not resolved and left out"
            )),
        }
    }
    rewrites
}

fn balance(gateway: &Gateway, path: &str, route: &Route, say: &mut impl FnMut(String)) -> Balance {
    let default = match protocol(gateway) {
        Protocol::Http => Balance::RoundRobin,
        Protocol::Tcp => Balance::LeastRequests,
    };
    match route.balance.as_deref() {
        None | Some("default" | "") => default,
        Some(word) => Balance::from_str(word).unwrap_or_else(|error| {
            say(format!("route `{path}`: {error}; the default is used"));
            default
        }),
    }
}

fn target(path: &str, world: &World<'_>, say: &mut impl FnMut(String)) -> Target {
    if path.starts_with('[') {
        return Target::Instances(match external(path) {
            Some(instance) => vec![instance],
            None => {
                say(format!(
                    "route `{path}` is not of the form `[host:port]`; it answers 503"
                ));
                Vec::new()
            }
        });
    }
    if segments(path).len() == 4 {
        return Target::Instances(match world.instances.get(path) {
            Some(instances) => instances.clone(),
            None => {
                say(format!(
                    "route `{path}` leads to a service that does not exist; it answers 503"
                ));
                Vec::new()
            }
        });
    }
    match (world.gateways.contains_key(path), GatewayName::new(path)) {
        (true, Ok(name)) => Target::Gateway(name),
        _ => {
            say(format!(
                "route `{path}` leads to a gateway that does not exist; it answers 503"
            ));
            Target::Instances(Vec::new())
        }
    }
}

/// `[host:port]`; an IPv6 address stands in brackets of its own (`[[::1]:80]`) or not (`[::1:80]`).
fn external(path: &str) -> Option<Instance> {
    let address = path.strip_prefix('[')?.strip_suffix(']')?.trim();
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port != 0)?;
    if host.is_empty() || host.contains(char::is_whitespace) {
        return None;
    }
    Some(Instance {
        id: InstanceId::new(address).ok()?,
        host: host.to_owned(),
        port,
        state: InstanceState::Serving,
    })
}

/// The first gateway that wants a host has it; the others lose the host, not themselves.
fn virtual_hosts(
    gateway: &Gateway,
    settings: &Settings,
    used: &mut HashSet<String>,
    say: &mut impl FnMut(String),
) -> Vec<String> {
    let mut complete = Gateway {
        name: gateway.name.clone(),
        virtual_hosts: gateway.virtual_hosts.clone(),
        ..Gateway::default()
    };
    with_default_virtual_host(&mut complete, settings);
    complete.virtual_hosts.retain(|host| {
        let free = used.insert(host.to_ascii_lowercase());
        if !free {
            say(format!(
                "virtual host `{host}` belongs to another gateway already and does not lead here"
            ));
        }
        free
    });
    complete.virtual_hosts
}

#[cfg(test)]
#[path = "lower/tests.rs"]
mod tests;
