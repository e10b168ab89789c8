//! What is sent to be deployed.

use weir_artifact::read::{DeployRequest, deploy_request};

fn reference(text: &str) -> String {
    match deploy_request(text).unwrap() {
        DeployRequest::Reference(name) => name,
        DeployRequest::Blueprint(blueprint) => panic!("{blueprint:?}"),
    }
}

#[test]
fn a_name_is_a_reference() {
    for text in [
        "sava:1.0",
        "name: sava:1.0",
        "{\"name\": \"sava:1.0\"}",
        "\"sava:1.0\"",
        "{ref: sava:1.0}",
    ] {
        assert_eq!(reference(text), "sava:1.0", "{text}");
    }
}

#[test]
fn a_printed_deployment_is_a_blueprint() {
    for (_, text) in crate::sections("good", "deployment") {
        let DeployRequest::Blueprint(blueprint) = deploy_request(&text).unwrap() else {
            panic!("a reference");
        };
        let service = &blueprint.clusters["front"].services[0];
        assert_eq!((blueprint.name.as_str(), service.name()), ("shop", "front:1"));
        assert_eq!(service.runtime, None);
    }
    for kind in ["blueprint", "blueprints", "deployment", "deployments"] {
        assert!(
            deploy_request(&format!("{{kind: {kind}, name: a, clusters: {{b: c}}}}")).is_ok(),
            "{kind}"
        );
    }
    let problems = deploy_request("{kind: breed, name: a, clusters: {b: c}}").unwrap_err();
    assert_eq!(problems[0].code, "InconsistentArtifactKind");
}

/// The deployment may hold the other service of the route and the breed of the dependency.
#[test]
fn a_part_may_lean_on_the_deployment() {
    let text = "
        name: canary
        clusters:
          front:
            gateways: {web: {routes: {front:1: {weight: 90%}, front:2: {weight: 10%}}}}
            services: {name: front:2, deployable: x, ports: {web: 80}, dependencies: {db: db:1}}";
    assert!(deploy_request(text).is_ok());
    let problems = weir_artifact::read::one(weir_artifact::Kind::Blueprint, text).unwrap_err();
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(
        codes,
        ["UnresolvedServiceRouteError", "UnresolvedBreedDependencyError"]
    );
}
