use weir_artifact::{
    Blueprint, ClusterSla, Deployment, Escalation, Gateway, Intention, OrReference, Phase, Problem, Scale,
    ScaleStep, Service, Sla, SlaRule,
};
use weir_model::{Condition, Protocol, Sticky};

use super::{Merged, merge};
use crate::{
    Settings,
    fixtures::{
        With, WithRoute, blueprint, breed, codes, gateway, gateway_with_port, parts, port, scale, service,
    },
    gateway::World,
};

fn into(
    existing: Option<&Deployment>,
    given: &Blueprint,
    stored: &[Gateway],
) -> Result<Merged, Vec<Problem>> {
    let world = World {
        gateways: stored,
        last_port: None,
    };
    merge(existing, "shop", given, &world, &Settings::default(), 1_000)
}

fn web(name: &str) -> Service {
    service(breed(name).port("web", "8080/http"))
}

fn refusals(given: &Blueprint) -> Vec<&'static str> {
    codes(&into(None, given, &[]).expect_err("there is a problem"))
}

fn external(number: &str, route: &str) -> Gateway {
    let mut external = gateway("").route(route, None);
    external.port = Some(port(number));
    external
}

/// A first deployment of `front:1` behind port 9050.
fn first() -> Merged {
    let mut given = blueprint("first").with("front", web("front:1"));
    given.gateways.push(external("9050", "front/web"));
    into(None, &given, &[]).unwrap()
}

fn status(deployment: &Deployment, index: usize) -> (Intention, Phase, u64) {
    let runtime = deployment.clusters["front"].services[index]
        .runtime
        .as_ref()
        .unwrap();
    (
        runtime.status.intention,
        runtime.status.phase,
        runtime.status.since_ms,
    )
}

fn sorted(gateway: &Gateway) -> Vec<(&str, u16)> {
    let mut parts = parts(gateway);
    parts.sort_unstable();
    parts
}

#[test]
fn a_first_deployment_has_its_gateways() {
    let merged = first();
    assert_eq!(merged.deployment.name, "shop");
    assert_eq!(
        status(&merged.deployment, 0),
        (Intention::Deployment, Phase::Initiated, 1_000)
    );
    assert_eq!(merged.deployment.hosts["front"], "127.0.0.1");
    assert_eq!(merged.deployment.ports["front.web"], "40000");
    let [inner, outer] = merged.gateways.as_slice() else {
        panic!("two gateways")
    };
    assert_eq!(inner.name, "shop/front/web");
    assert_eq!(parts(inner), [("shop/front/front:1/web", 10_000)]);
    assert_eq!(outer.name, "shop/9050");
    assert_eq!(parts(outer), [("shop/front/web", 10_000)]);
    assert_eq!(outer.virtual_hosts, ["9050.shop.vamp"]);
    assert_eq!(merged.last_port, Some(40_000));
    let shown = &merged.deployment.clusters["front"].gateways["web"];
    assert_eq!(parts(shown), [("front:1", 10_000)]);
}

#[test]
fn two_new_services_share_evenly() {
    let given = blueprint("b")
        .with("front", web("front:1"))
        .with("front", web("front:2"));
    let merged = into(None, &given, &[]).unwrap();
    assert_eq!(
        sorted(&merged.gateways[0]),
        [
            ("shop/front/front:1/web", 5_000),
            ("shop/front/front:2/web", 5_000)
        ]
    );
}

#[test]
fn a_new_service_joins_at_nothing() {
    let before = first();
    let given = blueprint("second").with("front", web("front:2"));
    let merged = into(Some(&before.deployment), &given, &before.gateways).unwrap();
    assert_eq!(merged.gateways.len(), 1);
    assert_eq!(
        sorted(&merged.gateways[0]),
        [("shop/front/front:1/web", 10_000), ("shop/front/front:2/web", 0)]
    );
    assert_eq!(merged.gateways[0].port, before.gateways[0].port);
    assert_eq!(merged.removed, [""; 0]);
}

#[test]
fn a_given_gateways_section_replaces() {
    let before = first();
    let mut given = blueprint("second").with("front", web("front:2"));
    let mut section = gateway("")
        .route("front:2", Some(10))
        .route("shop/front/front:1/web", Some(90));
    section.sticky = Sticky::Route;
    let cluster = given.clusters.get_mut("front").unwrap();
    cluster.gateways.insert("_".to_owned(), section.clone());
    let merged = into(Some(&before.deployment), &given, &before.gateways).unwrap();
    assert_eq!(
        parts(&merged.gateways[0]),
        [
            ("shop/front/front:2/web", 1_000),
            ("shop/front/front:1/web", 9_000)
        ]
    );
    assert_eq!(merged.gateways[0].sticky, Sticky::Route);

    let without = blueprint("third").with("front", web("front:3"));
    let merged = into(Some(&merged.deployment), &without, &merged.gateways).unwrap();
    assert_eq!(
        merged.gateways[0].sticky,
        Sticky::Route,
        "what is not given stays"
    );
}

#[test]
fn merging_the_same_again_changes_nothing() {
    let mut before = first();
    let runtime = before.deployment.clusters["front"].services[0]
        .runtime
        .as_mut()
        .unwrap();
    runtime.status.phase = Phase::Done;
    runtime.status.since_ms = 5;
    let mut given = blueprint("first").with("front", web("front:1"));
    given.gateways.push(external("9050", "front/web"));
    let merged = into(Some(&before.deployment), &given, &before.gateways).unwrap();
    assert_eq!(merged.deployment, before.deployment);
    assert_eq!(merged.gateways, before.gateways);
}

#[test]
fn a_change_sets_only_that_service_back() {
    let given = blueprint("b")
        .with("front", web("front:1"))
        .with("front", web("front:2"));
    let mut before = into(None, &given, &[]).unwrap();
    for service in &mut before.deployment.clusters["front"].services {
        let status = &mut service.runtime.as_mut().unwrap().status;
        status.phase = Phase::Done;
        status.since_ms = 5;
    }
    let mut scaled = web("front:2");
    scaled.scale = Some(OrReference::Inline(scale(3)));
    let given = blueprint("c").with("front", scaled);
    let merged = into(Some(&before.deployment), &given, &before.gateways).unwrap();
    assert_eq!(
        status(&merged.deployment, 0),
        (Intention::Deployment, Phase::Done, 5)
    );
    assert_eq!(
        status(&merged.deployment, 1),
        (Intention::Deployment, Phase::Initiated, 1_000)
    );
    let kept = &merged.deployment.clusters["front"].services[0].scale;
    assert_eq!(*kept, Some(OrReference::Inline(scale(1))));
}

#[test]
fn failed_and_leaving_services_begin_again() {
    for (intention, phase) in [
        (Intention::Deployment, Phase::Failed),
        (Intention::Undeployment, Phase::Updating),
    ] {
        let mut before = first();
        let runtime = before.deployment.clusters["front"].services[0]
            .runtime
            .as_mut()
            .unwrap();
        runtime.status.phase = phase;
        runtime.status.intention = intention;
        let given = blueprint("again").with("front", web("front:1"));
        let merged = into(Some(&before.deployment), &given, &before.gateways).unwrap();
        assert_eq!(
            status(&merged.deployment, 0),
            (Intention::Deployment, Phase::Initiated, 1_000)
        );
    }
}

#[test]
fn what_a_new_service_does_not_say_is_the_default() {
    let mut bare = service(
        breed("front:1")
            .argument("a", "breed")
            .argument("privileged", "false"),
    );
    bare.scale = None;
    bare.arguments = vec![
        ("b".to_owned(), "service".to_owned()),
        ("privileged".to_owned(), "true".to_owned()),
    ];
    let given = blueprint("b").with("front", bare);
    let merged = into(None, &given, &[]).unwrap();
    let service = &merged.deployment.clusters["front"].services[0];
    let Some(OrReference::Inline(Scale { instances, .. })) = service.scale else {
        panic!("a scale in place")
    };
    assert_eq!(instances, 1);
    let arguments: Vec<String> = service
        .arguments
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(arguments, ["privileged=true", "a=breed", "b=service"]);
}

#[test]
fn existing_values_of_the_deployment_win() {
    let variable = |value: &str| {
        let mut given = blueprint("b").with("front", service(breed("front:1").variable("A", None)));
        given
            .environment_variables
            .insert("front.A".to_owned(), Some(value.to_owned()));
        given
    };
    let before = into(None, &variable("first"), &[]).unwrap();
    let merged = into(Some(&before.deployment), &variable("second"), &[]).unwrap();
    assert_eq!(
        merged.deployment.environment_variables["front.A"],
        Some("first".to_owned())
    );
}

#[test]
fn dependencies_find_their_cluster() {
    let given = blueprint("b")
        .with(
            "front",
            service(breed("front:1").needs("db", "pg:*").needs("api", "back:1")),
        )
        .with("back", service(breed("back:1")))
        .with("store", service(breed("pg:9")));
    let merged = into(None, &given, &[]).unwrap();
    let runtime = merged.deployment.clusters["front"].services[0]
        .runtime
        .as_ref()
        .unwrap();
    assert_eq!(runtime.dependencies["db"], "store");
    assert_eq!(runtime.dependencies["api"], "back");
}

#[test]
fn a_gateway_of_the_same_port_is_replaced_and_others_stay() {
    let before = first();
    let mut stored = before.gateways.clone();
    let mut other = gateway_with_port("shop/old", 9060).route("shop/front/web", Some(100));
    other.sticky = Sticky::Route;
    stored.push(other);
    let mut given = blueprint("b").with("front", web("front:1"));
    given.gateways.push(external("9060", "front/web"));
    let merged = into(Some(&before.deployment), &given, &stored).unwrap();
    assert_eq!(merged.removed, ["shop/old"]);
    let names: Vec<&str> = merged.gateways.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["shop/front/web", "shop/9060"]);
}

#[test]
fn a_gateway_without_number_is_named_by_its_key() {
    let mut given = blueprint("b").with("front", web("front:1"));
    // As a blueprint's reader gives it.
    let mut named = gateway("").route("front/web", None);
    named.port = Some(port("public"));
    given.gateways.push(named);
    let merged = into(None, &given, &[]).unwrap();
    assert_eq!(merged.gateways[1].name, "shop/public");
    assert_eq!(crate::gateway::number(&merged.gateways[1]), 40_001);
}

#[test]
fn assigned_ports_avoid_those_that_the_blueprint_names() {
    let mut given = blueprint("b").with("front", web("front:1"));
    given.gateways.push(external("40000", "front/web"));
    let merged = into(None, &given, &[]).unwrap();
    assert_eq!(crate::gateway::number(&merged.gateways[0]), 40_001);
}

#[test]
fn ports_that_no_service_has_any_more_go() {
    let before = first();
    let given = blueprint("b").with("front", service(breed("front:1").port("admin", "8081/http")));
    let merged = into(Some(&before.deployment), &given, &before.gateways[..1]).unwrap();
    assert_eq!(merged.removed, ["shop/front/web"]);
    assert_eq!(merged.gateways[0].name, "shop/front/admin");
    assert!(!merged.deployment.ports.contains_key("front.web"));
}

#[test]
fn a_port_of_another_owner_is_refused() {
    let mut given = blueprint("b").with("front", web("front:1"));
    given.gateways.push(external("9050", "front/web"));
    let others = [gateway_with_port("other/9050", 9050)];
    let problems = into(None, &given, &others).unwrap_err();
    assert_eq!(codes(&problems), ["UnavailableGatewayPortError"]);
    assert_eq!(problems[0].path, "gateways/9050/port");
}

#[test]
fn an_exhausted_range_is_a_problem() {
    let settings = Settings {
        gateway_ports: 40_000..=40_000,
        ..Settings::default()
    };
    let given = blueprint("b")
        .with("front", web("front:1"))
        .with("back", web("back:1"));
    let world = World {
        gateways: &[],
        last_port: None,
    };
    let problems = merge(None, "shop", &given, &world, &settings, 0).unwrap_err();
    assert_eq!(codes(&problems), ["NoAvailablePortError"]);
}

#[test]
fn the_gateways_of_services_follow_the_ports_type() {
    let mut given = blueprint("b").with("db", service(breed("pg:1").port("sql", "5432/tcp")));
    given.gateways.push(external("5432/tcp", "db/sql"));
    let merged = into(None, &given, &[]).unwrap();
    let protocols: Vec<Protocol> = merged.gateways.iter().map(crate::gateway::protocol).collect();
    assert_eq!(protocols, [Protocol::Tcp, Protocol::Tcp]);

    given.gateways[0] = external("5432", "db/sql");
    assert_eq!(refusals(&given), ["GatewayPortTypeError"]);

    let mut section = gateway("").route("pg:1", None);
    section.sticky = Sticky::Route;
    given.gateways.clear();
    given.clusters["db"].gateways.insert("sql".to_owned(), section);
    assert_eq!(refusals(&given), ["StickyPortTypeError"]);
}

#[test]
fn a_condition_on_tcp_is_refused() {
    let mut given = blueprint("b").with("db", service(breed("pg:1").port("sql", "5432/tcp")));
    let mut section = gateway("").route("pg:1", None);
    let OrReference::Inline(route) = &mut section.routes[0] else {
        panic!("in place")
    };
    route.condition = Some(OrReference::Inline(Condition::parse("has cookie vamp").unwrap()));
    given.clusters["db"].gateways.insert("sql".to_owned(), section);
    assert_eq!(refusals(&given), ["ConditionPortTypeError"]);
}

#[test]
fn every_rule_has_its_code() {
    let front = || breed("front:1").port("web", "8080/http");
    let section = |path: &str| gateway("").route(path, Some(100));
    let with_gateway = |key: &str, section: Gateway| {
        let mut given = blueprint("b").with("front", service(front()));
        given.clusters["front"].gateways.insert(key.to_owned(), section);
        given
    };
    let with_external = |gateway: Gateway| {
        let mut given = blueprint("b").with("front", service(front()));
        given.gateways.push(gateway);
        given
    };
    let mut not_found = service(front());
    not_found.breed = OrReference::Reference("front:9".to_owned());
    let mut unknown_variable = service(front());
    unknown_variable
        .environment_variables
        .insert("X".to_owned(), Some("1".to_owned()));
    let mut unknown_blueprint_variable = blueprint("b").with("front", service(front()));
    unknown_blueprint_variable
        .environment_variables
        .insert("front.X".to_owned(), Some("1".to_owned()));
    let mut twice = with_external(external("9050", "front/web"));
    twice.gateways.push(external("9050/tcp", "front/web"));

    let mut elsewhere = blueprint("b").with("front", service(front()));
    elsewhere.clusters["front"].sla = Some(ClusterSla::Inline(Sla {
        rule: SlaRule::EscalationOnly,
        escalation: Some(OrReference::Inline(Escalation::ScaleInstances(ScaleStep {
            minimum: 1,
            maximum: 2,
            scale_by: 1,
            target: Some("back".to_owned()),
        }))),
    }));

    for (given, code) in [
        (blueprint("b"), "NoServiceError"),
        (blueprint("b").with("front", not_found), "ArtifactNotFound"),
        (
            blueprint("b").with("front", service(front().variable("A", None))),
            "UnresolvedVariableValueError",
        ),
        (
            blueprint("b").with("front", unknown_variable),
            "UnresolvedDependencyInTraitValueError",
        ),
        (unknown_blueprint_variable, "UnresolvedEnvironmentVariableError"),
        (
            blueprint("b").with("front", service(front().variable("A", Some("${a b}")))),
            "ParserError",
        ),
        (
            blueprint("b").with("front", service(front().needs("db", "pg:1"))),
            "UnresolvedDependencyError",
        ),
        (
            blueprint("b")
                .with("front", service(front()))
                .with("back", service(front())),
            "NonUniqueBreedReferenceError",
        ),
        (
            with_gateway("admin", section("front:1")),
            "UnresolvedGatewayPortError",
        ),
        (
            with_gateway("web", section("front:9")),
            "UnresolvedServiceRouteError",
        ),
        (
            with_gateway("web", gateway("").route("front:1", Some(30))),
            "GatewayRouteWeightError",
        ),
        (
            with_external(external("9050", "front/admin")),
            "UnresolvedGatewayPortError",
        ),
        (
            with_external(external("9050", "front")),
            "UnresolvedGatewayPortError",
        ),
        (twice, "DuplicateGatewayPortError"),
        (elsewhere, "UnresolvedScaleEscalationTargetCluster"),
    ] {
        assert_eq!(refusals(&given), [code]);
    }
}

#[test]
fn circles_are_found_through_others() {
    let given = blueprint("b")
        .with("a", service(breed("a").needs("x", "b")))
        .with("b", service(breed("b").needs("x", "c*")))
        .with("c", service(breed("c1").needs("x", "a")))
        .with("d", service(breed("d").needs("x", "a")));
    assert_eq!(refusals(&given), ["RecursiveDependenciesError"; 3]);
}

#[test]
fn anonymous_gateways_need_exactly_one_port() {
    let two = breed("front:1").port("web", "8080").port("admin", "8081");
    let mut given = blueprint("b").with("front", service(two));
    given.clusters["front"]
        .gateways
        .insert("_".to_owned(), gateway("").route("front:1", None));
    assert_eq!(refusals(&given), ["IllegalAnonymousRoutingPortMappingError"]);
}

#[test]
fn all_problems_are_told_at_once() {
    let mut given = blueprint("b").with(
        "front",
        service(breed("front:1").variable("A", None).needs("db", "pg:1")),
    );
    given.gateways.push(external("9050", "front/none"));
    assert_eq!(
        refusals(&given),
        [
            "UnresolvedDependencyError",
            "UnresolvedVariableValueError",
            "UnresolvedGatewayPortError"
        ]
    );
}
