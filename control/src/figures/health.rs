//! Whether gateways, routes and services did what they should.

use std::collections::{BTreeMap, BTreeSet};

use weir_artifact::{Deployment, Intention, Service};

use crate::traffic::MeasuredGateway;

/// 1 (healthy) or 0, by what it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Healths {
    pub(crate) gateways: BTreeMap<String, u8>,
    /// By gateway and path.
    pub(crate) routes: BTreeMap<(String, String), u8>,
    /// By deployment, cluster and service.
    pub(crate) services: BTreeMap<(String, String, String), u8>,
}

impl Healths {
    /// Product over the services of a cluster; `None` if it has none.
    pub(crate) fn cluster(&self, deployment: &str, cluster: &str) -> Option<u8> {
        product(
            self.services
                .iter()
                .filter(|((d, c, _), _)| d == deployment && c == cluster)
                .map(|(_, health)| *health),
        )
    }

    /// Product over the services of a deployment; `None` if it has none.
    pub(crate) fn deployment(&self, deployment: &str) -> Option<u8> {
        product(
            self.services
                .iter()
                .filter(|((d, _, _), _)| d == deployment)
                .map(|(_, health)| *health),
        )
    }
}

fn product(healths: impl Iterator<Item = u8>) -> Option<u8> {
    healths.min()
}

/// Health of everything that is published or deployed: 0 if a request ended badly in the window (5xx, no answer, no
/// connection), else 1. A service also has to have all of its instances ready and healthy, once it is deployed.
pub(crate) fn healths(
    published: &BTreeSet<String>,
    measured: &BTreeMap<String, MeasuredGateway>,
    deployments: &[Deployment],
) -> Healths {
    let mut healths = Healths::default();
    for name in published {
        let gateway = measured.get(name);
        let health = |has_failed: bool| u8::from(!has_failed);
        healths.gateways.insert(
            name.clone(),
            health(gateway.is_some_and(|gateway| gateway.whole.has_failed)),
        );
        for (path, route) in gateway.into_iter().flat_map(|gateway| &gateway.routes) {
            healths
                .routes
                .insert((name.clone(), path.clone()), health(route.whole.has_failed));
        }
    }
    for deployment in deployments {
        for (cluster_name, cluster) in &deployment.clusters {
            for service in cluster.services.iter().filter(|service| is_wanted(service)) {
                let failed = has_failed(&deployment.name, cluster_name, service.name(), measured);
                let key = (
                    deployment.name.clone(),
                    cluster_name.clone(),
                    service.name().to_owned(),
                );
                healths.services.insert(key, u8::from(!failed && is_up(service)));
            }
        }
    }
    healths
}

/// Whether a request to a service ended badly at one of its cluster's gateways.
fn has_failed(
    deployment: &str,
    cluster: &str,
    service: &str,
    measured: &BTreeMap<String, MeasuredGateway>,
) -> bool {
    let prefix = format!("{deployment}/{cluster}/");
    measured
        .iter()
        .filter_map(|(name, gateway)| Some((name.strip_prefix(&prefix)?, gateway)))
        .any(|(port, gateway)| {
            let route = gateway.routes.get(&format!("{prefix}{service}/{port}"));
            route.is_some_and(|route| route.whole.has_failed)
        })
}

fn is_wanted(service: &Service) -> bool {
    let runtime = service.runtime.as_ref();
    runtime.is_none_or(|runtime| runtime.status.intention == Intention::Deployment)
}

/// What its own checks say: none of what runs is unhealthy.
fn is_up(service: &Service) -> bool {
    let runtime = service.runtime.as_ref();
    runtime.is_none_or(|runtime| runtime.health.unhealthy == 0)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::json;
    use weir_artifact::{Artifact, Deployment, Kind, read};

    use super::healths;
    use crate::traffic::{Measured, MeasuredGateway, MeasuredRoute};

    fn shop() -> Deployment {
        let service =
            |name: &str| json!({"breed": {"name": name, "deployable": "x", "ports": {"web": "80/http"}}});
        let tree = json!({"name": "shop", "clusters": {
            "front": {"services": [service("a"), service("b")]}, "back": {"services": [service("c")]}}});
        match read::stored(Kind::Deployment, &tree) {
            Ok(Artifact::Deployment(deployment)) => deployment,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failed_request_is_seen_by_route_service_cluster_and_deployment() {
        let route = |has_failed| MeasuredRoute {
            whole: Measured {
                has_failed,
                ..Measured::default()
            },
            instances: BTreeMap::new(),
        };
        let gateway = MeasuredGateway {
            whole: route(true).whole,
            routes: [("shop/front/a/web", false), ("shop/front/b/web", true)]
                .map(|(path, failed)| (path.to_owned(), route(failed)))
                .into(),
        };
        let measured = BTreeMap::from([("shop/front/web".to_owned(), gateway)]);
        let published = BTreeSet::from(["shop/front/web".to_owned(), "edge".to_owned()]);
        let healths = healths(&published, &measured, &[shop()]);
        assert_eq!(healths.gateways["edge"], 1);
        assert_eq!(healths.gateways["shop/front/web"], 0);
        let services: Vec<u8> = healths.services.values().copied().collect();
        assert_eq!(services, [1, 1, 0], "back/c, front/a, front/b");
        assert_eq!(healths.cluster("shop", "front"), Some(0));
        assert_eq!(healths.cluster("shop", "back"), Some(1));
        assert_eq!(healths.deployment("shop"), Some(0));
        assert_eq!(healths.deployment("other"), None);
    }
}
