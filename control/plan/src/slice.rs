//! Services leave a deployment (core behaviour §3, slice).

use std::collections::BTreeSet;

use weir_artifact::{Blueprint, Deployment, Gateway, Intention, OrReference, Phase, Problem, ServiceStatus};

use crate::{
    Settings,
    gateway::World,
    merge::{Changes, Merged, internal_gateways},
    names::segments,
    validate::{hinted, is_wanted, problem},
};

/// Marks the services that the blueprint names for removal and takes their routes out of the internal
/// gateways. What the deployment does not have is passed over. External gateways stay. `now_ms`:
/// milliseconds since the Unix epoch.
///
/// # Errors
/// `InvalidRouteWeight` for every port whose remaining routes do not total 100 %: weights are set by who
/// sends traffic, before.
pub fn slice(
    existing: &Deployment,
    blueprint: &Blueprint,
    world: &World<'_>,
    settings: &Settings,
    now_ms: u64,
) -> Result<Merged, Vec<Problem>> {
    let mut deployment = existing.clone();
    let mut touched = Vec::new();
    for (cluster_name, given) in &blueprint.clusters {
        let Some(cluster) = deployment.clusters.get_mut(cluster_name) else {
            continue;
        };
        let leaving: BTreeSet<&str> = given.services.iter().map(|service| service.name()).collect();
        let mut changed = false;
        for service in &mut cluster.services {
            if leaving.contains(service.name())
                && is_wanted(service)
                && let Some(runtime) = &mut service.runtime
            {
                runtime.status = ServiceStatus {
                    intention: Intention::Undeployment,
                    since_ms: now_ms,
                    phase: Phase::Initiated,
                    phase_since_ms: now_ms,
                    notification: None,
                };
                changed = true;
            }
        }
        if changed {
            touched.push(cluster_name.clone());
        }
    }
    let mut ports = world.ports(settings);
    let mut changes = Changes::default();
    for cluster_name in &touched {
        check_weights(&deployment, cluster_name, world, &mut changes.found);
        internal_gateways(
            &mut deployment,
            cluster_name,
            None,
            world,
            &mut ports,
            settings,
            &mut changes,
        );
    }
    changes.merged(deployment, ports.last()).map_err(|mut found| {
        // One cause: weights that do not total 100 % are said once, in Vamp's words.
        found.retain(|problem| problem.code == "InvalidRouteWeight");
        found
    })
}

fn check_weights(deployment: &Deployment, cluster_name: &str, world: &World<'_>, found: &mut Vec<Problem>) {
    let remaining: Vec<&str> = deployment
        .clusters
        .get(cluster_name)
        .map(|cluster| &cluster.services)
        .into_iter()
        .flatten()
        .filter(|service| is_wanted(service))
        .map(|service| service.name())
        .collect();
    for gateway in world.gateways {
        let &[of, cluster, port] = segments(&gateway.name).as_slice() else {
            continue;
        };
        if of != deployment.name || cluster != cluster_name {
            continue;
        }
        let weights = remaining_weights(gateway, &remaining);
        let total: u32 = weights.iter().sum();
        if !weights.is_empty() && total != 10_000 {
            found.push(hinted(
                problem(
                    "InvalidRouteWeight",
                    format!("clusters/{cluster}/gateways/{port}/routes"),
                    format!(
                        "without the services that are to leave, the weights of gateway `{}` total {}% instead of 100%",
                        gateway.name,
                        f64::from(total) / 100.0
                    ),
                ),
                "set the weights of the services that stay first",
            ));
        }
    }
}

fn remaining_weights(gateway: &Gateway, remaining: &[&str]) -> Vec<u32> {
    gateway
        .routes
        .iter()
        .filter(|(path, _)| matches!(segments(path).as_slice(), [_, _, service, _] if remaining.contains(service)))
        .map(|(_, route)| match route {
            OrReference::Inline(route) => route.weight.map_or(0, |weight| u32::from(weight.parts())),
            OrReference::Reference(_) => 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use weir_artifact::{Deployment, Gateway, Intention, Phase};

    use super::slice;
    use crate::{
        Settings,
        fixtures::{With, WithRoute, blueprint, breed, codes, deployment, gateway_with_port, parts, service},
        gateway::World,
    };

    fn shop() -> Deployment {
        deployment("shop")
            .with("front", service(breed("front:1").port("web", "8080/http")))
            .with("front", service(breed("front:2").port("web", "8080/http")))
            .with("back", service(breed("back:1").port("api", "9090/http")))
    }

    fn gateways(first: u64, second: u64) -> Vec<Gateway> {
        vec![
            gateway_with_port("shop/9050", 9050).route("shop/front/web", Some(100)),
            gateway_with_port("shop/back/api", 40_001).route("shop/back/back:1/api", Some(100)),
            gateway_with_port("shop/front/web", 40_000)
                .route("shop/front/front:1/web", Some(first))
                .route("shop/front/front:2/web", Some(second)),
        ]
    }

    fn world(gateways: &[Gateway]) -> World<'_> {
        World {
            gateways,
            last_port: Some(40_001),
        }
    }

    #[test]
    fn a_service_leaves_with_its_route() {
        let stored = gateways(0, 100);
        let given = blueprint("any").with("front", service(breed("front:1")));
        let sliced = slice(&shop(), &given, &world(&stored), &Settings::default(), 77).unwrap();
        let front = &sliced.deployment.clusters["front"];
        let status = &front.services[0].runtime.as_ref().unwrap().status;
        assert_eq!(
            (status.intention, status.phase, status.since_ms),
            (Intention::Undeployment, Phase::Initiated, 77)
        );
        let other = &front.services[1].runtime.as_ref().unwrap().status;
        assert_eq!(other.intention, Intention::Deployment);
        assert_eq!(sliced.gateways.len(), 1);
        assert_eq!(parts(&sliced.gateways[0]), [("shop/front/front:2/web", 10_000)]);
        assert_eq!(sliced.gateways[0].port, stored[2].port);
        assert_eq!(sliced.removed, [""; 0]);
        assert_eq!(parts(&front.gateways["web"]), [("front:2", 10_000)]);
    }

    #[test]
    fn weights_must_be_moved_first() {
        let stored = gateways(30, 70);
        let given = blueprint("any").with("front", service(breed("front:1")));
        let problems = slice(&shop(), &given, &world(&stored), &Settings::default(), 0).unwrap_err();
        assert_eq!(codes(&problems), ["InvalidRouteWeight"]);
        assert!(problems[0].message.contains("70%"), "{}", problems[0]);
    }

    #[test]
    fn the_last_service_takes_the_internal_gateways_along_and_leaves_the_external_ones() {
        let stored = gateways(0, 100);
        let given = blueprint("any")
            .with("front", service(breed("front:1")))
            .with("front", service(breed("front:2")));
        let sliced = slice(&shop(), &given, &world(&stored), &Settings::default(), 0).unwrap();
        assert_eq!(sliced.removed, ["shop/front/web"]);
        assert!(sliced.gateways.is_empty());
        assert!(sliced.deployment.clusters["front"].gateways.is_empty());
    }

    #[test]
    fn what_is_not_there_is_passed_over() {
        let stored = gateways(50, 50);
        let given = blueprint("any")
            .with("front", service(breed("front:3")))
            .with("none", service(breed("none:1")));
        let sliced = slice(&shop(), &given, &world(&stored), &Settings::default(), 0).unwrap();
        assert_eq!(sliced.deployment, shop());
        assert!(sliced.gateways.is_empty() && sliced.removed.is_empty());
    }
}
