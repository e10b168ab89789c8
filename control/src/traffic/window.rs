//! Figures of a window of time, added over agents.

use std::collections::BTreeMap;

use weir_model::{EndpointState, Frame, InstanceFrame, LatencyCounts, OutcomeCounts, RouteFrame};

/// Figures of a gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct GatewayFigures {
    /// Per second in the window.
    pub(super) rate: f64,
    pub(super) routes: BTreeMap<String, RouteFigures>,
}

/// Figures of a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RouteFigures {
    pub(super) window_requests: u64,
    pub(super) window_ended: u64,
    pub(super) window_errors: u64,
    /// Per second in the window.
    pub(super) rate: f64,
    /// Of the window.
    pub(super) latency: LatencyCounts,
    pub(super) instances: BTreeMap<String, InstanceFigures>,
}

/// What happened in the window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Window {
    pub(super) ended: u64,
    pub(super) errors: u64,
    /// Per second.
    pub(super) rate: f64,
    pub(super) latency: LatencyCounts,
}

/// Figures of an instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct InstanceFigures {
    pub(super) address: String,
    /// Of the window.
    pub(super) window: Window,
    /// What the agents' checks say: `Some(false)` if one of them cannot reach it, `None` if nobody knows.
    pub(super) reachable: Option<bool>,
}

/// Adds one agent's figures: what its latest frame has and `base` has not (`None`: all since its start).
pub(super) fn add(figures: &mut BTreeMap<String, GatewayFigures>, latest: &Frame, base: Option<&Frame>) {
    let begins_at_ms = base.map_or(latest.started_at_ms, |base| base.at_ms);
    let elapsed_s = seconds(latest.at_ms.saturating_sub(begins_at_ms));
    let rate = |requests: u64| match elapsed_s {
        Some(elapsed_s) => real(requests) / elapsed_s,
        None => 0.0,
    };
    for gateway in &latest.gateways {
        let before = base.and_then(|base| base.gateways.iter().find(|other| other.name == gateway.name));
        let sum = figures.entry(gateway.name.to_string()).or_default();
        let already = before.map_or(0, |before| before.requests);
        sum.rate += rate(gateway.requests.saturating_sub(already));
        for route in &gateway.routes {
            let before =
                before.and_then(|before| before.routes.iter().find(|other| other.name == route.name));
            let of_route = sum.routes.entry(route.name.to_string()).or_default();
            let window_requests = route
                .requests
                .saturating_sub(before.map_or(0, |before| before.requests));
            of_route.window_requests += window_requests;
            of_route.window_ended += ended(route).saturating_sub(before.map_or(0, ended));
            of_route.window_errors += errors(route).saturating_sub(before.map_or(0, errors));
            of_route.rate += rate(window_requests);
            match before {
                Some(before) => of_route.latency.add(&route.latency.since(&before.latency)),
                None => of_route.latency.add(&route.latency),
            }
            for instance in &route.instances {
                let before =
                    before.and_then(|before| before.instances.iter().find(|other| other.id == instance.id));
                add_instance(of_route, instance, before, &rate);
            }
        }
    }
}

fn add_instance(
    route: &mut RouteFigures,
    instance: &InstanceFrame,
    before: Option<&InstanceFrame>,
    rate: &impl Fn(u64) -> f64,
) {
    let sum = route.instances.entry(instance.id.to_string()).or_default();
    sum.reachable = match instance.state {
        EndpointState::Down | EndpointState::Ejected => Some(false),
        EndpointState::Up => sum.reachable.or(Some(true)),
        EndpointState::Draining | EndpointState::Unknown => sum.reachable,
    };
    sum.address.clone_from(&instance.address);
    let since = |of: fn(&InstanceFrame) -> u64| of(instance).saturating_sub(before.map_or(0, of));
    let window = &mut sum.window;
    window.ended += since(|frame| frame.requests.saturating_sub(frame.in_flight));
    window.errors += since(|frame| failed(&frame.outcomes, frame.requests.saturating_sub(frame.in_flight)));
    window.rate += rate(since(|frame| frame.requests));
    match before {
        Some(before) => window.latency.add(&instance.latency.since(&before.latency)),
        None => window.latency.add(&instance.latency),
    }
}

fn ended(route: &RouteFrame) -> u64 {
    route.requests.saturating_sub(route.in_flight)
}

/// Requests that ended badly: answered with 5xx, or with an error and without any answer. One with an error
/// *and* an answer is in the classes already.
pub(super) fn errors(route: &RouteFrame) -> u64 {
    failed(&route.outcomes, ended(route))
}

fn failed(outcomes: &OutcomeCounts, ended: u64) -> u64 {
    let OutcomeCounts { classes, errors } = outcomes;
    let answered: u64 = classes.iter().sum();
    let unanswered = ended.saturating_sub(answered);
    let failed: u64 = errors.values().sum();
    classes[4] + failed.min(unanswered)
}

/// `None` for no time at all.
fn seconds(ms: u64) -> Option<f64> {
    (ms > 0).then(|| real(ms) / 1_000.0)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures are shown, counts beyond 2^53 are not met"
)]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}
