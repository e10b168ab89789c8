//! What people look at: gateways, routes and instances with their state, rate, errors and latency.
//!
//! Rates, shares and percentiles are of the last ten seconds as far as they are known; the very first reading has none.
//! Everything else counts from the start of the agent.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::Serialize;
use weir_model::{
    EndpointState, Frame, Gateway, GatewayFrame, InstanceFrame, LatencyCounts, OutcomeCounts, Protocol,
    RouteFrame,
};

/// Rates and latencies are of this time.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// The data plane at a glance.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Statistics {
    /// Length of the time that rates are of, in seconds; `None`: there is only one reading yet.
    pub(super) window_s: Option<f64>,
    /// When the agent began to count, milliseconds since the Unix epoch.
    pub(super) started_at_ms: u64,
    /// When this was read, milliseconds since the Unix epoch.
    pub(super) at_ms: u64,
    pub(super) gateways: Vec<GatewayView>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct GatewayView {
    pub(super) name: String,
    pub(super) protocol: &'static str,
    /// `address:port`, if it has a socket of its own.
    pub(super) listener: Option<String>,
    pub(super) virtual_hosts: Vec<String>,
    /// `up`, `down` (no route can be taken), `part` (some cannot, or not with all instances).
    pub(super) state: &'static str,
    /// Requests for which there was no route.
    pub(super) unrouted: u64,
    #[serde(flatten)]
    pub(super) figures: Figures,
    pub(super) routes: Vec<RouteView>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RouteView {
    pub(super) name: String,
    /// In percent.
    pub(super) weight: f64,
    pub(super) condition: Option<String>,
    /// `up`, `down` (no instance takes requests), `part` (some do not), `gateway`.
    pub(super) state: &'static str,
    pub(super) by_condition: u64,
    pub(super) by_cookie: u64,
    pub(super) retries: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    #[serde(flatten)]
    pub(super) figures: Figures,
    pub(super) instances: Vec<InstanceView>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct InstanceView {
    pub(super) id: String,
    pub(super) address: String,
    pub(super) state: EndpointState,
    /// What the last check saw.
    pub(super) last_check: Option<String>,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

/// What routes and instances have in common.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) requests: u64,
    pub(super) in_flight: u64,
    /// Answers by class of status, 1xx to 5xx.
    pub(super) classes: [u64; 5],
    /// Requests that failed, by kind.
    pub(super) errors: std::collections::BTreeMap<String, u64>,
    /// Per second.
    pub(super) rate: Option<f64>,
    /// Answers of class 5xx per second.
    pub(super) error_rate: Option<f64>,
    pub(super) p50_ms: Option<f64>,
    pub(super) p90_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// Statistics of a frame, and of what came after an earlier one of the same run. `gateways` are those of the table.
pub(super) fn statistics(now: &Frame, base: Option<&Frame>, gateways: &[Arc<Gateway>]) -> Statistics {
    let base = base.filter(|base| base.started_at_ms == now.started_at_ms && base.at_ms < now.at_ms);
    let window = Window {
        seconds: base.map(|base| real(now.at_ms - base.at_ms) / 1_000.0),
    };
    let sources: HashMap<&str, &Gateway> = gateways
        .iter()
        .map(|gateway| (gateway.name.as_str(), &**gateway))
        .collect();
    let before: HashMap<&str, &GatewayFrame> = base
        .into_iter()
        .flat_map(|base| &base.gateways)
        .map(|gateway| (gateway.name.as_str(), gateway))
        .collect();
    let view = |gateway: &GatewayFrame| {
        let name = gateway.name.as_str();
        window.gateway(gateway, before.get(name).copied(), sources.get(name).copied())
    };
    Statistics {
        window_s: window.seconds,
        started_at_ms: now.started_at_ms,
        at_ms: now.at_ms,
        gateways: now.gateways.iter().map(view).collect(),
    }
}

/// What the routes of a gateway have together: outcomes, latencies, requests under way.
fn sum(gateway: &GatewayFrame) -> (OutcomeCounts, LatencyCounts, u64) {
    let mut outcomes = OutcomeCounts::default();
    let (mut latency, mut in_flight) = (LatencyCounts::default(), 0);
    for route in &gateway.routes {
        for (sum, count) in outcomes.classes.iter_mut().zip(route.outcomes.classes) {
            *sum += count;
        }
        for (kind, count) in &route.outcomes.errors {
            *outcomes.errors.entry(kind.clone()).or_default() += count;
        }
        latency.add(&route.latency);
        in_flight += route.in_flight;
    }
    (outcomes, latency, in_flight)
}

#[derive(Clone, Copy, Debug)]
struct Window {
    seconds: Option<f64>,
}

impl Window {
    fn rate(self, now: u64, before: Option<u64>) -> Option<f64> {
        // What was not there before began within the window.
        let seconds = self.seconds?;
        Some(real(now.saturating_sub(before.unwrap_or(0))) / seconds)
    }

    fn gateway(
        self,
        gateway: &GatewayFrame,
        before: Option<&GatewayFrame>,
        source: Option<&Gateway>,
    ) -> GatewayView {
        let routes = gateway.routes.iter().map(|route| {
            let before = before.and_then(|before| before.routes.iter().find(|old| old.name == route.name));
            let source = source.and_then(|source| source.routes.iter().find(|own| own.name == route.name));
            self.route(route, before, source)
        });
        let routes: Vec<RouteView> = routes.collect();
        let (outcomes, latency, in_flight) = sum(gateway);
        let earlier = before.map(|before| (before.requests, sum(before)));
        let is = |states: &'static [&'static str]| move |route: &RouteView| states.contains(&route.state);
        GatewayView {
            name: gateway.name.to_string(),
            protocol: match source.map(|source| source.protocol) {
                Some(Protocol::Tcp) => "tcp",
                _ => "http",
            },
            listener: source
                .and_then(|source| source.listener)
                .map(|listener| std::net::SocketAddr::new(listener.address, listener.port).to_string()),
            virtual_hosts: source.map_or_else(Vec::new, |source| source.virtual_hosts.clone()),
            state: if routes.iter().all(is(&["down"])) {
                "down"
            } else if routes.iter().all(is(&["up", "gateway"])) {
                "up"
            } else {
                "part"
            },
            unrouted: gateway.unrouted,
            figures: self.figures(
                (gateway.requests, &outcomes, &latency),
                earlier
                    .as_ref()
                    .map(|(requests, (outcomes, latency, _))| (*requests, outcomes, latency)),
                in_flight,
            ),
            routes,
        }
    }

    fn route(
        self,
        route: &RouteFrame,
        before: Option<&RouteFrame>,
        source: Option<&weir_model::Route>,
    ) -> RouteView {
        let instances = route.instances.iter().map(|instance| {
            let before = before.and_then(|before| before.instances.iter().find(|old| old.id == instance.id));
            self.instance(instance, before)
        });
        let takes =
            |instance: &&InstanceFrame| matches!(instance.state, EndpointState::Up | EndpointState::Unknown);
        let taking = route.instances.iter().filter(takes).count();
        let leads_on = source.is_some_and(|source| matches!(source.target, weir_model::Target::Gateway(_)));
        RouteView {
            name: route.name.to_string(),
            weight: source.map_or(0.0, |source| f64::from(source.weight.parts()) / 100.0),
            condition: source
                .and_then(|source| source.condition.as_ref())
                .map(|condition| condition.source().to_owned()),
            state: match taking {
                _ if leads_on => "gateway",
                0 => "down",
                taking if taking < route.instances.len() => "part",
                _ => "up",
            },
            by_condition: route.by_condition,
            by_cookie: route.by_cookie,
            retries: route.retries,
            bytes_in: route.bytes_in,
            bytes_out: route.bytes_out,
            figures: self.figures(
                (route.requests, &route.outcomes, &route.latency),
                before.map(|old| (old.requests, &old.outcomes, &old.latency)),
                route.in_flight,
            ),
            instances: instances.collect(),
        }
    }

    fn instance(self, instance: &InstanceFrame, before: Option<&InstanceFrame>) -> InstanceView {
        InstanceView {
            id: instance.id.to_string(),
            address: instance.address.clone(),
            state: instance.state,
            last_check: instance.last_check.clone(),
            figures: self.figures(
                (instance.requests, &instance.outcomes, &instance.latency),
                before.map(|old| (old.requests, &old.outcomes, &old.latency)),
                instance.in_flight,
            ),
        }
    }

    fn figures(self, now: Counts<'_>, before: Option<Counts<'_>>, in_flight: u64) -> Figures {
        let (requests, outcomes, latency) = now;
        let latency = match before {
            Some((_, _, before)) => latency.since(before),
            None if self.seconds.is_some() => latency.clone(),
            None => LatencyCounts::default(),
        };
        let percentile = |percent| latency.percentile_us(percent).map(|us| real(us) / 1_000.0);
        Figures {
            requests,
            in_flight,
            classes: outcomes.classes,
            errors: outcomes.errors.clone(),
            rate: self.rate(requests, before.map(|(requests, _, _)| requests)),
            error_rate: self.rate(
                outcomes.classes[4],
                before.map(|(_, outcomes, _)| outcomes.classes[4]),
            ),
            p50_ms: percentile(50.0),
            p90_ms: percentile(90.0),
            p99_ms: percentile(99.0),
        }
    }
}

/// Requests, how they ended, how long they took.
type Counts<'a> = (u64, &'a OutcomeCounts, &'a LatencyCounts);

#[expect(
    clippy::cast_precision_loss,
    reason = "figures are shown, counts beyond 2^53 are not met"
)]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
pub(super) mod tests {
    use weir_model::{
        AgentId, EndpointState, Frame, GatewayFrame, GatewayName, Generation, InstanceFrame, InstanceId,
        LatencyCounts, OutcomeCounts, RouteFrame, RouteName,
    };

    use super::statistics;

    pub(crate) fn frame(at_ms: u64, requests: u64, states: &[EndpointState]) -> Frame {
        let outcomes = OutcomeCounts {
            classes: [0, requests - requests / 10, 0, 0, requests / 10],
            errors: Default::default(),
        };
        let instances = states.iter().zip(0..).map(|(state, number)| InstanceFrame {
            id: InstanceId::new(format!("i{number}")).unwrap(),
            address: format!("127.0.0.1:{number}"),
            requests,
            in_flight: 0,
            outcomes: outcomes.clone(),
            latency: LatencyCounts(vec![(2_000, requests)]),
            state: *state,
            last_check: Some("connected in 1 ms".to_owned()),
        });
        Frame {
            agent: AgentId::new("edge").unwrap(),
            started_at_ms: 1_000,
            at_ms,
            generation: Generation(1),
            digest: None,
            stale_ms: Some(0),
            departed: None,
            gateways: vec![GatewayFrame {
                name: GatewayName::new("shop/<b>").unwrap(),
                requests,
                unrouted: 1,
                routes: vec![RouteFrame {
                    name: RouteName::new("a").unwrap(),
                    requests,
                    by_condition: 0,
                    by_cookie: 0,
                    in_flight: 3,
                    retries: 0,
                    outcomes: outcomes.clone(),
                    bytes_in: 10,
                    bytes_out: 20,
                    latency: LatencyCounts(vec![(2_000, requests)]),
                    instances: instances.collect(),
                }],
            }],
        }
    }

    #[test]
    fn rates_and_percentiles_are_of_the_window() {
        use EndpointState::{Down, Up};
        let (before, now) = (frame(10_000, 100, &[Up]), frame(15_000, 600, &[Up, Down]));
        let shown = statistics(&now, Some(&before), &[]);
        assert_eq!(shown.window_s, Some(5.0));
        let gateway = &shown.gateways[0];
        assert_eq!(
            (gateway.figures.requests, gateway.figures.rate),
            (600, Some(100.0))
        );
        assert_eq!((gateway.state, gateway.figures.in_flight), ("part", 3));
        assert_eq!(
            (gateway.figures.error_rate, gateway.figures.p99_ms),
            (Some(10.0), Some(2.0))
        );
        let route = &gateway.routes[0];
        assert_eq!(route.state, "part");
        assert_eq!(
            (route.figures.rate, route.figures.error_rate),
            (Some(100.0), Some(10.0))
        );
        assert_eq!(route.figures.p99_ms, Some(2.0));
        assert_eq!(
            route.instances[1].figures.rate,
            Some(120.0),
            "it was not there before"
        );
        let down = statistics(&frame(1, 1, &[Down]), None, &[]).gateways.remove(0);
        assert_eq!((down.state, down.routes[0].state), ("down", "down"));
    }

    #[test]
    fn one_reading_has_no_rates_and_a_restart_is_no_window() {
        let mut before = frame(10_000, 600, &[]);
        let now = frame(15_000, 100, &[]);
        assert_eq!(statistics(&now, None, &[]).gateways[0].figures.rate, None);
        before.started_at_ms = 500;
        let shown = statistics(&now, Some(&before), &[]);
        assert_eq!((shown.window_s, shown.gateways[0].figures.rate), (None, None));
        assert_eq!(shown.gateways[0].routes[0].figures.p50_ms, None);
    }
}
