//! What the legacy figures are made of: rate, response time and errors of gateways, routes and instances.

use std::{collections::BTreeMap, time::Duration};

use weir_model::LatencyCounts;

use super::{
    FRESH_MS, read,
    window::{self, real},
};
use crate::state::State;

/// Longest window: as long as frames are kept.
const WINDOW_MAX: Duration = Duration::from_secs(110);

/// What happened in a window, as all agents that answer saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Mean, in milliseconds; 0 without requests. Exact to two digits, as latencies are counted in buckets.
    pub(crate) response_time_ms: f64,
    /// 95th percentile, in milliseconds; 0 without requests.
    pub(crate) response_time_95_ms: f64,
    /// Part of the requests that ended badly (5xx, or no answer), from 0 to 1; 0 without requests.
    pub(crate) error_rate: f64,
    /// Whether any request ended badly.
    pub(crate) has_failed: bool,
}

/// A gateway in a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MeasuredGateway {
    pub(crate) whole: Measured,
    /// By path.
    pub(crate) routes: BTreeMap<String, MeasuredRoute>,
}

/// A route in a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MeasuredRoute {
    pub(crate) whole: Measured,
    /// By id.
    pub(crate) instances: BTreeMap<String, Measured>,
}

impl Measured {
    fn new(rate: f64, ended: u64, errors: u64, latency: &LatencyCounts) -> Self {
        let total = latency.total();
        let sum: f64 = latency.0.iter().map(|(us, count)| real(*us) * real(*count)).sum();
        let of = |part: f64, whole: u64| if whole > 0 { part / real(whole) } else { 0.0 };
        Self {
            rate: rounded(rate),
            response_time_ms: rounded(of(sum, total) / 1_000.0),
            response_time_95_ms: rounded(real(latency.percentile_us(95.0).unwrap_or(0)) / 1_000.0),
            error_rate: of(real(errors), ended).min(1.0),
            has_failed: errors > 0,
        }
    }
}

/// Two decimals, as Vamp gave them.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// What agents saw in the last `window`, by gateway; `None` while no agent answers: then nothing is known, which is not
/// the same as nothing happened.
pub(crate) async fn measured(state: &State, window: Duration) -> Option<BTreeMap<String, MeasuredGateway>> {
    read(state, FRESH_MS).await;
    let window_ms = u64::try_from(window.min(WINDOW_MAX).as_millis()).unwrap_or(u64::MAX);
    let mut figures = BTreeMap::new();
    let mut is_known = false;
    for log in state.traffic.agents().values().filter(|log| log.is_fresh()) {
        if let Some(latest) = log.latest() {
            is_known = true;
            let base = log.base(window_ms);
            window::add(&mut figures, latest, base.map(|base| &**base));
        }
    }
    is_known.then(|| {
        let gateways = figures.into_iter();
        gateways
            .map(|(name, figures)| (name, gateway(&figures)))
            .collect()
    })
}

fn gateway(figures: &window::GatewayFigures) -> MeasuredGateway {
    let mut latency = LatencyCounts::default();
    let (mut ended, mut errors) = (0, 0);
    let mut routes = BTreeMap::new();
    for (path, route) in &figures.routes {
        latency.add(&route.latency);
        ended += route.window_ended;
        errors += route.window_errors;
        let instances = route.instances.iter().map(|(id, instance)| {
            let window = &instance.window;
            let measured = Measured::new(window.rate, window.ended, window.errors, &window.latency);
            (id.clone(), measured)
        });
        let measured = MeasuredRoute {
            whole: Measured::new(
                route.rate,
                route.window_ended,
                route.window_errors,
                &route.latency,
            ),
            instances: instances.collect(),
        };
        routes.insert(path.clone(), measured);
    }
    MeasuredGateway {
        whole: Measured::new(figures.rate, ended, errors, &latency),
        routes,
    }
}

#[cfg(test)]
mod tests {
    use weir_model::LatencyCounts;

    use super::Measured;

    #[test]
    fn figures_of_a_window() {
        let latency = LatencyCounts(vec![(10_000, 3), (50_000, 1)]);
        let measured = Measured::new(1.333_33, 4, 1, &latency);
        assert_eq!(
            measured,
            Measured {
                rate: 1.33,
                response_time_ms: 20.0,
                response_time_95_ms: 50.0,
                error_rate: 0.25,
                has_failed: true,
            }
        );
        assert_eq!(
            Measured::new(0.0, 0, 0, &LatencyCounts::default()),
            Measured::default()
        );
    }
}
