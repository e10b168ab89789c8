use indexmap::IndexMap;
use serde_json::json;
use weir_artifact::{Deployment, Gateway, Metadata, OrReference, Route, ServiceInstance};
use weir_model::{
    Balance, ConditionStrength, Generation, HealthProtocol, RouteOptions, Snapshot, Sticky, Target, document,
};

use super::lower;
use crate::{
    Settings,
    fixtures::{With, WithRoute, breed, deployment, gateway, gateway_with_port, port, service},
};

fn instance(name: &str, port: u16, deployed: bool) -> ServiceInstance {
    ServiceInstance {
        name: name.to_owned(),
        host: "127.0.0.1".to_owned(),
        ports: IndexMap::from([("web".to_owned(), port)]),
        deployed,
        metadata: Metadata::new(),
    }
}

fn shop(instances: Vec<ServiceInstance>) -> Deployment {
    let mut front = service(breed("front:1").port("web", "8080/http"));
    front.runtime.as_mut().unwrap().instances = instances;
    deployment("shop").with("front", front)
}

fn gateways() -> Vec<Gateway> {
    vec![
        gateway_with_port("shop/front/web", 40_000).route("shop/front/front:1/web", Some(100)),
        gateway_with_port("shop/9050", 9050).route("shop/front/web", Some(100)),
        gateway_with_port("entry", 80)
            .route("shop/9050", Some(60))
            .route("[10.0.0.9:8080]", Some(40)),
    ]
}

fn ids(target: &Target) -> Vec<String> {
    match target {
        Target::Instances(instances) => instances.iter().map(|i| format!("{}@{}", i.id, i.port)).collect(),
        Target::Gateway(name) => vec![format!("gateway {name}")],
    }
}

#[test]
fn every_form_of_route_has_its_target() {
    let shop = shop(vec![
        instance("b", 31_001, true),
        instance("a", 31_000, true),
        instance("starting", 31_002, false),
    ]);
    let lowered = lower(&gateways(), &[shop], &Settings::default());
    assert_eq!(lowered.problems, []);
    let names: Vec<&str> = lowered.gateways.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["entry", "shop/9050", "shop/front/web"]);
    assert_eq!(ids(&lowered.gateways[0].routes[0].target), ["gateway shop/9050"]);
    assert_eq!(ids(&lowered.gateways[0].routes[1].target), ["10.0.0.9:8080@8080"]);
    assert_eq!(
        ids(&lowered.gateways[1].routes[0].target),
        ["gateway shop/front/web"]
    );
    assert_eq!(ids(&lowered.gateways[2].routes[0].target), ["a@31000", "b@31001"]);
    assert_eq!(lowered.gateways[0].listener.unwrap().port, 80);
    assert_eq!(lowered.gateways[2].virtual_hosts, ["web.front.shop.vamp"]);
    let (_, problems) = Snapshot::sound_part("default", Generation(1), lowered.gateways);
    assert_eq!(problems, []);
}

#[test]
fn a_route_without_target_keeps_its_share() {
    let mut all = gateways();
    all.retain(|gateway| gateway.name != "shop/front/web");
    let lowered = lower(&all, &[], &Settings::default());
    let external = &lowered.gateways[1];
    assert_eq!(ids(&external.routes[0].target), [""; 0]);
    assert_eq!(external.routes[0].weight.parts(), 10_000);
    assert_eq!(lowered.problems.len(), 1);
    assert_eq!(lowered.problems[0].gateway, "shop/9050");
    let (snapshot, refused) = Snapshot::sound_part("default", Generation(1), lowered.gateways);
    assert_eq!((snapshot.gateways().len(), refused.len()), (2, 0));
}

#[test]
fn no_instances_are_an_empty_target_without_a_problem() {
    let lowered = lower(&gateways(), &[shop(Vec::new())], &Settings::default());
    assert_eq!(lowered.problems, []);
    assert_eq!(ids(&lowered.gateways[2].routes[0].target), [""; 0]);
}

#[test]
fn what_is_not_given_has_the_protocols_default() {
    let mut tcp = gateway("tcp").route("[db:5432]", Some(100));
    tcp.port = Some(port("5432/tcp"));
    let mut named = gateway_with_port("named", 81)
        .route("[db:1]", Some(50))
        .route("[db:2]", Some(50));
    named.sticky = Sticky::Instance;
    for (route, word) in named.routes.values_mut().zip(["leastconn", "nonsense"]) {
        let OrReference::Inline(route) = route else {
            panic!("in place")
        };
        route.balance = Some(word.to_owned());
    }
    let lowered = lower(&[tcp, named], &[], &Settings::default());
    let balance = |gateway: usize, route: usize| lowered.gateways[gateway].routes[route].balance;
    assert_eq!(balance(0, 0), Balance::LeastRequests);
    assert_eq!(balance(0, 1), Balance::RoundRobin);
    assert_eq!(balance(1, 0), Balance::LeastRequests);
    assert_eq!(lowered.gateways[0].sticky, Sticky::Instance);
    assert!(lowered.problems[0].message.contains("`nonsense`"));
    assert_eq!(
        lowered.gateways[0].routes[0].condition_strength,
        ConditionStrength::ZERO
    );
}

#[test]
fn unresolved_references_are_said_and_do_not_block() {
    let mut given = gateway_with_port("shop", 80).route("[a:1]", Some(100));
    given.routes.insert(
        "[b:1]".to_owned(),
        OrReference::Inline(Route {
            condition: Some(OrReference::Reference("mobile".to_owned())),
            ..Route::default()
        }),
    );
    given
        .routes
        .insert("[c:1]".to_owned(), OrReference::Reference("stored".to_owned()));
    let lowered = lower(&[given], &[], &Settings::default());
    assert_eq!(lowered.gateways[0].routes.len(), 2);
    assert_eq!(lowered.problems.len(), 2);
}

#[test]
fn two_gateways_with_one_virtual_host_are_both_served() {
    let mut other = gateway_with_port("b", 81).route("[a:1]", Some(100));
    other.virtual_hosts = vec!["A.vamp".to_owned(), "own.example".to_owned()];
    let first = gateway_with_port("a", 80).route("[a:1]", Some(100));
    let lowered = lower(&[first, other], &[], &Settings::default());
    assert_eq!(lowered.gateways[0].virtual_hosts, ["a.vamp"]);
    assert_eq!(lowered.gateways[1].virtual_hosts, ["b.vamp", "own.example"]);
    assert_eq!(lowered.problems.len(), 1);
}

#[test]
fn external_addresses() {
    let found = |path: &str| super::external(path).map(|i| (i.host, i.port));
    assert_eq!(found("[10.0.0.1:80]"), Some(("10.0.0.1".to_owned(), 80)));
    assert_eq!(found("[[::1]:80]"), Some(("::1".to_owned(), 80)));
    assert_eq!(
        found("[shop.example:8080]"),
        Some(("shop.example".to_owned(), 8080))
    );
    for wrong in ["[]", "[host]", "[host:0]", "[host:99999]", "[:80]", "[a b:80]"] {
        assert_eq!(found(wrong), None, "{wrong}");
    }
}

#[test]
fn agents_make_the_check_of_the_port_that_they_route_to() {
    let check = |port: &str, path: &str, protocol: &str| weir_artifact::HealthCheck {
        path: path.to_owned(),
        port: port.to_owned(),
        initial_delay_s: 30,
        timeout_s: 4,
        interval_s: 0,
        failures: 0,
        protocol: protocol.to_owned(),
    };
    let of_route = |checks: Vec<weir_artifact::HealthCheck>| {
        let mut shop = shop(vec![instance("a", 31_000, true)]);
        shop.clusters["front"].services[0].health_checks = Some(checks);
        let lowered = lower(&gateways(), &[shop], &Settings::default());
        assert_eq!(
            lowered.gateways[0].routes[0].options.health, None,
            "it leads to a gateway"
        );
        lowered.gateways[2].routes[0].options.health.clone()
    };
    assert_eq!(of_route(Vec::new()), None);
    assert_eq!(of_route(vec![check("admin", "/", "HTTP")]), None);
    assert_eq!(of_route(vec![check("web", "/", "COMMAND")]), None);
    assert_eq!(of_route(vec![check("web", "/a b", "HTTP")]), None);
    let found = of_route(vec![check("admin", "/a", "HTTP"), check("web", "ready", "http")]).unwrap();
    assert_eq!(
        (found.protocol, found.path.as_str()),
        (HealthProtocol::Http, "/ready")
    );
    let times = (
        found.interval.duration().as_secs(),
        found.timeout.duration().as_secs(),
    );
    assert_eq!((times, found.fall), ((1, 4), 1), "never without a pause");
}

fn with_options(port: &str, options: serde_json::Value) -> Gateway {
    let route = Route {
        options: document::route_options(options.as_object().unwrap().clone()).unwrap(),
        ..Route::default()
    };
    Gateway {
        port: Some(self::port(port)),
        routes: IndexMap::from([("shop/front/front:1/web".to_owned(), OrReference::Inline(route))]),
        ..gateway("a")
    }
}

#[test]
fn options_of_gateways_and_routes_reach_agents() {
    let certificate = json!({"certificate": "c.pem", "key": "c.key"});
    let tls = json!({"tls": {"certificates": [certificate]}, "accept_proxy_protocol": true});
    let how = json!({"protocol": "http2", "ejection": {"errors": 3}, "tls": {"server_name": "in"},
        "health": {"protocol": "none"}});
    let mut shop_gateway = with_options("80", how);
    shop_gateway.options = document::gateway_options(tls.as_object().unwrap().clone()).unwrap();
    let lowered = lower(&[shop_gateway.clone()], &[shop(Vec::new())], &Settings::default());
    assert_eq!(lowered.problems, []);
    assert_eq!(lowered.gateways[0].options, shop_gateway.options);
    let OrReference::Inline(route) = &shop_gateway.routes[0] else {
        panic!("it is in place");
    };
    assert_eq!(lowered.gateways[0].routes[0].options, route.options);
    let front = with_options("443/tcp", json!({"server_names": ["a.test"]}));
    let lowered = lower(&[front], &[shop(Vec::new())], &Settings::default());
    assert_eq!(lowered.problems, []);
    assert_eq!(lowered.gateways[0].routes[0].options.server_names, ["a.test"]);
}

#[test]
fn what_the_protocol_of_a_gateway_cannot_have_is_left_out_and_told() {
    for (port, options, left_out) in [
        ("80", json!({"server_names": ["a.test"], "slow_start": "10s"}), 1),
        (
            "443/tcp",
            json!({"protocol": "http2", "ejection": {"errors": 3}, "slow_start": "10s"}),
            2,
        ),
    ] {
        let lowered = lower(
            &[with_options(port, options)],
            &[shop(Vec::new())],
            &Settings::default(),
        );
        assert_eq!(lowered.problems.len(), left_out, "{:?}", lowered.problems);
        let expected = RouteOptions {
            slow_start: Some("10s".parse().unwrap()),
            ..RouteOptions::default()
        };
        assert_eq!(lowered.gateways[0].routes[0].options, expected);
    }
}
