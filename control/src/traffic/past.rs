//! What an agent counted since counting began: figures that are told as totals do not go back when it restarts.
//!
//! **Invariants.** A run counts once, however often its frames and those of another alternate: while one process hands
//! over to another both may answer. What is kept is bounded by [`RUNS_MAX`] and [`ENTRIES_MAX`].

use std::collections::BTreeMap;

use weir_model::Frame;

use super::window;

/// Runs that may still go on; older ones are added up.
const RUNS_MAX: usize = 4;
/// Gateways, routes and instances of older runs; beyond that those that are not there any more are forgotten.
const ENTRIES_MAX: usize = 20_000;

/// Requests since counting began, by gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals(pub(super) BTreeMap<String, GatewayTotals>);

/// Totals of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GatewayTotals {
    pub(super) requests: u64,
    pub(super) routes: BTreeMap<String, RouteTotals>,
}

/// Totals of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RouteTotals {
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// Requests, by id.
    pub(super) instances: BTreeMap<String, u64>,
}

impl Totals {
    /// What a run had counted when this frame was read.
    pub(super) fn of(frame: &Frame) -> Self {
        let gateways = frame.gateways.iter().map(|gateway| {
            let routes = gateway.routes.iter().map(|route| {
                let instances = route.instances.iter();
                let totals = RouteTotals {
                    requests: route.requests,
                    errors: window::errors(route),
                    instances: instances
                        .map(|instance| (instance.id.to_string(), instance.requests))
                        .collect(),
                };
                (route.name.to_string(), totals)
            });
            let totals = GatewayTotals {
                requests: gateway.requests,
                routes: routes.collect(),
            };
            (gateway.name.to_string(), totals)
        });
        Self(gateways.collect())
    }

    /// Adds others.
    pub(super) fn add(&mut self, other: &Self) {
        for (name, gateway) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            sum.requests += gateway.requests;
            for (name, route) in &gateway.routes {
                let sum = sum.routes.entry(name.clone()).or_default();
                sum.requests += route.requests;
                sum.errors += route.errors;
                for (id, requests) in &route.instances {
                    *sum.instances.entry(id.clone()).or_default() += requests;
                }
            }
        }
    }

    fn entries(&self) -> usize {
        let of_route = |route: &RouteTotals| 1 + route.instances.len();
        let of_gateway = |gateway: &GatewayTotals| 1 + gateway.routes.values().map(of_route).sum::<usize>();
        self.0.values().map(of_gateway).sum()
    }

    /// Forgets what the other does not have.
    fn keep(&mut self, other: &Self) {
        self.0.retain(|name, gateway| {
            let Some(other) = other.0.get(name) else {
                return false;
            };
            gateway.routes.retain(|name, route| {
                let Some(other) = other.routes.get(name) else {
                    return false;
                };
                route.instances.retain(|id, _| other.instances.contains_key(id));
                true
            });
            true
        });
    }
}

/// Totals of the runs of an agent before this one, as far as they were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// By when they started, milliseconds since the Unix epoch.
    runs: BTreeMap<u64, Totals>,
    older: Totals,
}

impl Past {
    /// A run is over, or another one answers; this was its last frame.
    pub(super) fn end(&mut self, last: &Frame) {
        let totals = Totals::of(last);
        self.runs.insert(last.started_at_ms, totals);
        while self.runs.len() > RUNS_MAX {
            let Some((_, oldest)) = self.runs.pop_first() else {
                break;
            };
            self.older.add(&oldest);
            if self.older.entries() > ENTRIES_MAX {
                self.older.keep(&oldest);
            }
        }
    }

    /// A run that seemed to be over answers: it is not of the past.
    pub(super) fn resume(&mut self, started_at_ms: u64) {
        self.runs.remove(&started_at_ms);
    }

    /// Adds all of them.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        totals.add(&self.older);
        for run in self.runs.values() {
            totals.add(run);
        }
    }
}
