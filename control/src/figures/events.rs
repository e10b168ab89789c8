//! Figures as events, with Vamp's tags.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_persist::EventDraft;

use super::Healths;
use crate::traffic::{Measured, MeasuredGateway};

/// Appends what was measured of every published gateway, zero when nothing was.
pub(super) fn metrics(
    published: &BTreeSet<String>,
    measured: &BTreeMap<String, MeasuredGateway>,
    now_ms: u64,
    drafts: &mut Vec<EventDraft>,
) {
    let idle = MeasuredGateway::default();
    for name in published {
        let gateway = measured.get(name).unwrap_or(&idle);
        let of_gateway = format!("gateways:{name}");
        let mut tell = |tags: &[&str], measured: &Measured, legacy: bool| {
            let is_idle = measured.rate == 0.0;
            for (index, (metric, value)) in named(measured).into_iter().enumerate() {
                // Vamp told its own of what is idle, too; ours say nothing then.
                if is_idle && (!legacy || index >= VAMPS) {
                    continue;
                }
                // A sum over `gateways:G` and `metrics:responseTime` must not count instances.
                let group = if legacy { "metrics" } else { "instance-metrics" };
                let mut tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
                tags.push(format!("{group}:{metric}"));
                drafts.push(EventDraft {
                    tags,
                    value: json!(value),
                    timestamp_ms: now_ms,
                    kind: "metrics".to_owned(),
                });
            }
        };
        tell(&[&of_gateway, "gateway"], &gateway.whole, true);
        for (path, route) in &gateway.routes {
            let of_route = format!("routes:{path}");
            tell(&[&of_gateway, &of_route, "route"], &route.whole, true);
            for (id, instance) in &route.instances {
                let of_instance = format!("instances:{id}");
                tell(&[&of_route, &of_instance, "instance"], instance, false);
            }
            // A service's figures are those of its routes.
            if let [deployment, cluster, service, port] = path.split('/').collect::<Vec<_>>().as_slice() {
                let tags = [
                    format!("deployments:{deployment}"),
                    format!("clusters:{cluster}"),
                    format!("services:{service}"),
                    format!("ports:{port}"),
                    "service".to_owned(),
                ];
                let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
                if *name == format!("{deployment}/{cluster}/{port}") {
                    tell(&tags, &route.whole, true);
                }
            }
        }
    }
}

/// How many of [`named`] are Vamp's.
const VAMPS: usize = 2;

/// Metrics by name: Vamp's two, then ours.
pub(super) fn named(measured: &Measured) -> [(&'static str, f64); 4] {
    [
        ("rate", measured.rate),
        ("responseTime", measured.response_time_ms),
        ("responseTime95", measured.response_time_95_ms),
        ("errorRate", measured.error_rate),
    ]
}

/// Appends the health of everything.
pub(super) fn health(healths: &Healths, now_ms: u64, drafts: &mut Vec<EventDraft>) {
    let mut tell = |tags: Vec<String>, value: u8| {
        drafts.push(EventDraft {
            tags,
            value: Value::from(value),
            timestamp_ms: now_ms,
            kind: "health".to_owned(),
        });
    };
    let text = str::to_owned;
    for (gateway, value) in &healths.gateways {
        tell(
            vec![format!("gateways:{gateway}"), text("gateway"), text("health")],
            *value,
        );
    }
    for ((gateway, path), value) in &healths.routes {
        let tags = vec![
            format!("gateways:{gateway}"),
            text("route"),
            format!("routes:{path}"),
            text("health"),
        ];
        tell(tags, *value);
    }
    let (mut clusters, mut deployments) = (BTreeSet::new(), BTreeSet::new());
    for ((deployment, cluster, service), value) in &healths.services {
        clusters.insert((deployment, cluster));
        deployments.insert(deployment);
        let tags = vec![
            format!("deployments:{deployment}"),
            format!("clusters:{cluster}"),
            text("service"),
            format!("services:{service}"),
            text("health"),
        ];
        tell(tags, *value);
    }
    for (deployment, cluster) in clusters {
        if let Some(value) = healths.cluster(deployment, cluster) {
            let tags = vec![
                format!("deployments:{deployment}"),
                format!("clusters:{cluster}"),
                text("cluster"),
                text("health"),
            ];
            tell(tags, value);
        }
    }
    for deployment in deployments {
        if let Some(value) = healths.deployment(deployment) {
            let tags = vec![
                format!("deployments:{deployment}"),
                text("deployment"),
                text("health"),
            ];
            tell(tags, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use weir_persist::{Event, EventQuery, expand_tags};

    use super::{health, metrics};
    use crate::{
        figures::Healths,
        traffic::{Measured, MeasuredGateway, MeasuredRoute},
    };

    /// Values of the events that match, as storage would find them.
    fn found(drafts: &[weir_persist::EventDraft], tags: &[&str]) -> Vec<f64> {
        let query = EventQuery {
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..EventQuery::default()
        };
        let events = drafts.iter().map(|draft| Event {
            id: 1,
            tags: expand_tags(&draft.tags),
            value: draft.value.clone(),
            timestamp_ms: draft.timestamp_ms,
            kind: draft.kind.clone(),
        });
        let matching = events.filter(|event| query.matches(event));
        matching.filter_map(|event| event.value.as_f64()).collect()
    }

    fn measured(rate: f64, response_time_ms: f64) -> Measured {
        Measured {
            rate,
            response_time_ms,
            ..Measured::default()
        }
    }

    #[test]
    fn metrics_have_the_tags_that_clients_ask_for() {
        let route = MeasuredRoute {
            whole: measured(2.0, 20.0),
            instances: BTreeMap::from([("i".to_owned(), measured(1.0, 10.0))]),
        };
        let gateway = MeasuredGateway {
            whole: measured(4.0, 40.0),
            routes: BTreeMap::from([("shop/front/a:1/web".to_owned(), route)]),
        };
        let all = BTreeMap::from([("shop/front/web".to_owned(), gateway)]);
        let published = BTreeSet::from(["shop/front/web".to_owned(), "idle".to_owned()]);
        let mut drafts = Vec::new();
        metrics(&published, &all, 7, &mut drafts);
        assert!(
            drafts
                .iter()
                .all(|draft| draft.kind == "metrics" && draft.timestamp_ms == 7)
        );
        let of = "gateways:shop/front/web";
        assert_eq!(found(&drafts, &[of, "gateway", "metrics:rate"]), [4.0]);
        assert_eq!(
            found(&drafts, &["gateways:idle", "gateway", "metrics:responseTime"]),
            [0.0]
        );
        let path = "routes:shop/front/a:1/web";
        assert_eq!(
            found(&drafts, &[of, path, "route", "metrics:responseTime"]),
            [20.0]
        );
        assert_eq!(
            found(&drafts, &["services:a:1", "service", "metrics:responseTime"]),
            [20.0]
        );
        assert_eq!(
            found(&drafts, &["instances:i", "instance", "instance-metrics:rate"]),
            [1.0]
        );
        // What the SLA is judged by: the gateway and its routes, no instance.
        assert_eq!(found(&drafts, &[of, "metrics:responseTime"]), [40.0, 20.0]);
    }

    #[test]
    fn health_is_told_of_every_level() {
        let service = ("d".to_owned(), "c".to_owned(), "s".to_owned());
        let healths = Healths {
            gateways: BTreeMap::from([("g".to_owned(), 0)]),
            routes: BTreeMap::from([(("g".to_owned(), "r".to_owned()), 1)]),
            services: BTreeMap::from([(service, 0)]),
        };
        let mut drafts = Vec::new();
        health(&healths, 7, &mut drafts);
        for (tags, value) in [
            (&["gateways:g", "gateway", "health"][..], 0.0),
            (&["gateways:g", "routes:r", "route", "health"], 1.0),
            (
                &["deployments:d", "clusters:c", "services:s", "service", "health"],
                0.0,
            ),
            (&["deployments:d", "clusters:c", "cluster", "health"], 0.0),
            (&["deployments:d", "deployment", "health"], 0.0),
        ] {
            assert_eq!(found(&drafts, tags), [value], "{tags:?}");
        }
        assert_eq!(drafts.len(), 5);
    }
}
