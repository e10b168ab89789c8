//! Gateways before they are stored: ports, weights, virtual hosts, and who may change what (spec of the
//! artifacts §7, of the core behaviour §5, of the API §4).

use indexmap::IndexMap;
use weir_artifact::{Deployment, Gateway, GatewayService, OrReference, PortValue, Problem, Route, weights};
use weir_model::Protocol;

use crate::{
    Settings,
    names::{segments, service_route},
    ports::PortRange,
    validate::{self, hinted, problem},
};

/// What is stored beside the artifact that is changed.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Every stored gateway.
    pub gateways: &'a [Gateway],
    /// The port of the range that was given last.
    pub last_port: Option<u16>,
}

impl<'a> World<'a> {
    pub(crate) fn gateway(&self, name: &str) -> Option<&'a Gateway> {
        self.gateways.iter().find(|gateway| gateway.name == name)
    }

    /// The range without the ports that gateways use.
    pub(crate) fn ports(&self, settings: &Settings) -> PortRange {
        let used = self.gateways.iter().map(number);
        PortRange::new(settings.gateway_ports.clone(), used, self.last_port)
    }
}

/// A gateway that can be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The gateway.
    pub gateway: Gateway,
    /// For an internal gateway: the deployment that shows it too.
    pub deployment: Option<Deployment>,
    /// The port of the range that was given last.
    pub last_port: Option<u16>,
}

/// The number of a gateway's port; 0 if it has none.
pub(crate) fn number(gateway: &Gateway) -> u16 {
    gateway.port.as_ref().map_or(0, |port| port.number)
}

pub(crate) fn protocol(gateway: &Gateway) -> Protocol {
    gateway.port.as_ref().map_or(Protocol::Http, |port| port.protocol)
}

/// The names under which a gateway is reached without being asked for: `gateway.vamp`,
/// `port.deployment.vamp`, `port.cluster.deployment.vamp`.
pub(crate) fn default_virtual_host(name: &str) -> String {
    let mut host = String::new();
    for segment in segments(name).iter().rev() {
        host.extend(
            segment
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }),
        );
        host.push('.');
    }
    host.push_str("vamp");
    host
}

/// Puts the default virtual host before the given ones; each once.
pub(crate) fn with_default_virtual_host(gateway: &mut Gateway, settings: &Settings) {
    let default = settings
        .virtual_hosts
        .then(|| default_virtual_host(&gateway.name));
    let mut hosts: Vec<String> = Vec::with_capacity(gateway.virtual_hosts.len() + 1);
    for host in default
        .into_iter()
        .chain(std::mem::take(&mut gateway.virtual_hosts))
    {
        if !hosts.iter().any(|other| other.eq_ignore_ascii_case(&host)) {
            hosts.push(host);
        }
    }
    gateway.virtual_hosts = hosts;
}

/// The last steps for every gateway: a port if it has none, the address for services, virtual hosts,
/// weights, and the rules for tcp. `path` is where the gateway stands in the document.
pub(crate) fn finish(
    gateway: &mut Gateway,
    stored: Option<&Gateway>,
    ports: &mut PortRange,
    settings: &Settings,
    path: &str,
    found: &mut Vec<Problem>,
) {
    let protocol = protocol(gateway);
    if number(gateway) == 0 {
        let assigned = match stored.map(number) {
            Some(kept) if kept != 0 => Ok(kept),
            _ => ports.assign(),
        };
        match assigned {
            Ok(number) => gateway.port = Some(PortValue::new(number, protocol)),
            Err(exhausted) => found.push(problem(
                "NoAvailablePortError",
                format!("{path}/port"),
                exhausted.to_string(),
            )),
        }
    }
    ports.take(number(gateway));
    if let Some(value) = &gateway.port {
        let host = match (
            &gateway.service,
            stored.and_then(|stored| stored.service.as_ref()),
        ) {
            (Some(given), _) if !given.host.is_empty() => given.host.clone(),
            (_, Some(kept)) => kept.host.clone(),
            _ => settings.gateway_host.clone(),
        };
        gateway.service = Some(GatewayService {
            host,
            port: value.clone(),
        });
    }
    with_default_virtual_host(gateway, settings);
    // Core's own; shown from what is published, never stored.
    gateway.deployed = false;
    for route in gateway.routes.values_mut() {
        if let OrReference::Inline(route) = route {
            route.targets.clear();
        }
    }
    if let Err(wrong) = weights::complete(gateway) {
        found.push(below(wrong, path));
    }
    validate::gateway(gateway, protocol, path, found);
}

/// A problem of a part, as one of the whole.
fn below(mut problem: Problem, path: &str) -> Problem {
    let inner = problem.path.trim_start_matches('/');
    problem.path = match (path, inner) {
        ("/" | "", "") => "/".to_owned(),
        ("/" | "", inner) => inner.to_owned(),
        (path, "") => path.to_owned(),
        (path, inner) => format!("{path}/{inner}"),
    };
    problem
}

/// Who else has the port; every gateway has a socket of its own.
pub(crate) fn port_owner<'a>(
    gateway: &Gateway,
    others: impl IntoIterator<Item = &'a Gateway>,
) -> Option<&'a Gateway> {
    let wanted = number(gateway);
    others
        .into_iter()
        .find(|other| wanted != 0 && number(other) == wanted && other.name != gateway.name)
}

pub(crate) fn unavailable(gateway: &Gateway, owner: &Gateway, path: &str) -> Problem {
    problem(
        "UnavailableGatewayPortError",
        format!("{path}/port"),
        format!(
            "port {} is already used by gateway `{}`",
            number(gateway),
            owner.name
        ),
    )
}

/// Makes a gateway that was given to the API ready to be stored. `deployment` is the one that its name
/// begins with, if there is one. Conditions are in place (references were resolved before).
///
/// # Errors
/// Every problem of it.
pub fn prepare(
    mut gateway: Gateway,
    create: bool,
    deployment: Option<&Deployment>,
    world: &World<'_>,
    settings: &Settings,
) -> Result<Prepared, Vec<Problem>> {
    let mut found = Vec::new();
    let stored = world.gateway(&gateway.name);
    let mut shown_in = None;
    if let &[of, cluster, port_name] = segments(&gateway.name).as_slice() {
        let Some(stored) = stored.filter(|_| !create) else {
            return Err(vec![hinted(
                problem(
                    "InternalGatewayCreateError",
                    "name",
                    format!(
                        "`{}` is a name of an internal gateway, which cannot be created",
                        gateway.name
                    ),
                ),
                "internal gateways come with their deployment",
            )]);
        };
        gateway.routes = lengthened(&gateway.routes, of, cluster, port_name);
        let same = gateway.routes.len() == stored.routes.len()
            && gateway.routes.keys().all(|path| stored.routes.contains_key(path));
        if !same {
            let expected: Vec<&str> = stored.routes.keys().map(String::as_str).collect();
            found.push(hinted(
                problem(
                    "InternalGatewayUpdateError",
                    "routes",
                    "the routes of an internal gateway are those of the deployment and cannot be changed",
                ),
                format!("give exactly {}", expected.join(", ")),
            ));
        }
        // The socket of an internal gateway is what services were told.
        gateway.port = stored.port.clone();
        shown_in = deployment
            .cloned()
            .map(|deployment| (deployment, cluster.to_owned(), port_name.to_owned()));
    }
    let mut ports = world.ports(settings);
    finish(&mut gateway, stored, &mut ports, settings, "/", &mut found);
    if let Some(owner) = port_owner(&gateway, world.gateways) {
        found.push(unavailable(&gateway, owner, ""));
    }
    if !found.is_empty() {
        return Err(found);
    }
    let deployment = shown_in.map(|(mut deployment, cluster, port_name)| {
        if let Some(cluster) = deployment.clusters.get_mut(&cluster) {
            cluster.gateways.insert(port_name, shortened(&gateway));
        }
        deployment
    });
    Ok(Prepared {
        gateway,
        deployment,
        last_port: ports.last(),
    })
}

/// Whether a gateway may be removed. `deployment` is the one that its name begins with, if there is one.
///
/// # Errors
/// The problem, for an internal gateway of a cluster that is there.
pub fn may_remove(name: &str, deployment: Option<&Deployment>) -> Result<(), Vec<Problem>> {
    if let &[_, cluster, _] = segments(name).as_slice()
        && deployment.is_some_and(|deployment| deployment.clusters.contains_key(cluster))
    {
        return Err(vec![problem(
            "InternalGatewayRemoveError",
            "name",
            format!("gateway `{name}` is an internal gateway of a deployment that is there"),
        )]);
    }
    Ok(())
}

/// Routes of a cluster's gateway with full paths: a service's name becomes `d/c/service/port`.
pub(crate) fn lengthened(
    routes: &IndexMap<String, OrReference<Route>>,
    deployment: &str,
    cluster: &str,
    port: &str,
) -> IndexMap<String, OrReference<Route>> {
    routes
        .iter()
        .map(|(path, route)| {
            let path = match segments(path).as_slice() {
                [service] if !path.starts_with('[') => service_route(deployment, cluster, service, port),
                _ => path.clone(),
            };
            (path, route.clone())
        })
        .collect()
}

/// A cluster's gateway as its deployment shows it: no name, no port, routes by service.
pub(crate) fn shortened(gateway: &Gateway) -> Gateway {
    let routes = gateway.routes.iter().map(|(path, route)| {
        let short = match segments(path).as_slice() {
            [_, _, service, _] => (*service).to_owned(),
            _ => path.clone(),
        };
        (short, route.clone())
    });
    Gateway {
        name: String::new(),
        metadata: gateway.metadata.clone(),
        port: None,
        service: None,
        sticky: gateway.sticky,
        virtual_hosts: gateway.virtual_hosts.clone(),
        routes: routes.collect(),
        options: gateway.options.clone(),
        deployed: false,
    }
}

#[cfg(test)]
mod tests {
    use weir_artifact::{Gateway, OrReference};

    use super::{World, default_virtual_host, may_remove, number, prepare};
    use crate::{
        Settings,
        fixtures::{With, WithRoute, breed, codes, deployment, gateway, gateway_with_port, parts, service},
    };

    fn world(gateways: &[Gateway]) -> World<'_> {
        World {
            gateways,
            last_port: None,
        }
    }

    fn put(gateway: Gateway, create: bool, stored: &[Gateway]) -> Result<Gateway, Vec<&'static str>> {
        let shop = deployment("shop").with("front", service(breed("front:1").port("web", "8080/http")));
        prepare(gateway, create, Some(&shop), &world(stored), &Settings::default())
            .map(|prepared| prepared.gateway)
            .map_err(|problems| codes(&problems))
    }

    #[test]
    fn options_stay_and_are_for_one_protocol() {
        let mut asked = gateway_with_port("a", 80).route("[10.0.0.9:8080]", Some(100));
        asked.options.accept_proxy_protocol = true;
        let kept = put(asked.clone(), true, &[]).unwrap();
        assert_eq!(kept.options, asked.options);
        assert_eq!(super::shortened(&kept).options, asked.options);
        if let OrReference::Inline(route) = &mut asked.routes[0] {
            route.options.server_names = vec!["a.test".to_owned()];
        }
        assert_eq!(put(asked, true, &[]), Err(vec!["OptionPortTypeError"]));
    }

    #[test]
    fn default_virtual_hosts_are_vamps() {
        assert_eq!(default_virtual_host("shop"), "shop.vamp");
        assert_eq!(default_virtual_host("sava:1.0/9050"), "9050.sava-1-0.vamp");
        assert_eq!(default_virtual_host("sava/front/web_1"), "web-1.front.sava.vamp");
    }

    #[test]
    fn a_gateway_receives_a_port_an_address_hosts_and_weights() {
        let mut given = gateway("shop").route("a", None).route("b", None);
        given.virtual_hosts = vec!["Shop.vamp".to_owned(), "shop.example".to_owned()];
        let stored = put(given, true, &[gateway_with_port("other", 40_000)]).unwrap();
        assert_eq!(number(&stored), 40_001);
        assert_eq!(stored.service.as_ref().unwrap().host, "127.0.0.1");
        assert_eq!(stored.virtual_hosts, ["shop.vamp", "shop.example"]);
        assert_eq!(parts(&stored), [("a", 5_000), ("b", 5_000)]);
    }

    #[test]
    fn an_update_keeps_the_assigned_port() {
        let stored = gateway_with_port("shop", 40_009).route("a", Some(100));
        let updated = put(gateway("shop").route("a", Some(100)), false, &[stored]).unwrap();
        assert_eq!(number(&updated), 40_009);
    }

    #[test]
    fn a_port_of_another_gateway_is_refused() {
        let others = [gateway_with_port("other", 8080)];
        let wanted = gateway_with_port("shop", 8080);
        assert_eq!(
            put(wanted.clone(), true, &others),
            Err(vec!["UnavailableGatewayPortError"])
        );
        assert_eq!(
            put(wanted, false, &others),
            Err(vec!["UnavailableGatewayPortError"])
        );
    }

    #[test]
    fn internal_gateways_change_weights_only() {
        let stored = [gateway_with_port("shop/front/web", 40_000)
            .route("shop/front/front:1/web", Some(100))
            .route("shop/front/front:2/web", Some(0))];
        let new = gateway("shop/front/web");
        assert_eq!(
            put(new.clone(), true, &stored),
            Err(vec!["InternalGatewayCreateError"])
        );
        assert_eq!(
            put(new.clone(), false, &[]),
            Err(vec!["InternalGatewayCreateError"])
        );
        let fewer = new.clone().route("shop/front/front:1/web", Some(100));
        assert_eq!(
            put(fewer, false, &stored),
            Err(vec!["InternalGatewayUpdateError"])
        );
        let mut short = new.route("front:1", Some(80)).route("front:2", Some(20));
        short.port = Some(weir_artifact::PortValue::new(9999, weir_model::Protocol::Http));
        let updated = put(short, false, &stored).unwrap();
        assert_eq!(
            parts(&updated),
            [
                ("shop/front/front:1/web", 8_000),
                ("shop/front/front:2/web", 2_000)
            ]
        );
        assert_eq!(number(&updated), 40_000);
    }

    #[test]
    fn an_update_of_an_internal_gateway_shows_in_its_deployment() {
        let shop = deployment("shop").with("front", service(breed("front:1").port("web", "8080/http")));
        let stored = [gateway_with_port("shop/front/web", 40_000).route("shop/front/front:1/web", Some(100))];
        let given = gateway("shop/front/web").route("front:1", Some(0));
        let prepared = prepare(given, false, Some(&shop), &world(&stored), &Settings::default()).unwrap();
        let shown = &prepared.deployment.unwrap().clusters["front"].gateways["web"];
        assert_eq!(parts(shown), [("front:1", 0)]);
        assert_eq!(shown.name, "");
    }

    #[test]
    fn internal_gateways_of_a_live_cluster_stay() {
        let shop = deployment("shop").with("front", service(breed("front:1")));
        assert!(may_remove("shop/front/web", Some(&shop)).is_err());
        assert!(may_remove("shop/gone/web", Some(&shop)).is_ok());
        assert!(may_remove("shop/9050", Some(&shop)).is_ok());
        assert!(may_remove("shop/front/web", None).is_ok());
    }
}
