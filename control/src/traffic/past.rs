//! What an agent counted in runs before this one: figures that are told as totals do not go back when it restarts.

use std::collections::BTreeMap;

use weir_model::Frame;

use super::window::{self, GatewayFigures};

/// Totals of the runs that are over, as far as they were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Past(BTreeMap<String, Gateway>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Gateway {
    requests: u64,
    /// Requests and errors.
    routes: BTreeMap<String, (u64, u64)>,
}

impl Past {
    /// A run is over; this was its last frame.
    pub(super) fn end(&mut self, last: &Frame) {
        for gateway in &last.gateways {
            let sum = self.0.entry(gateway.name.to_string()).or_default();
            sum.requests += gateway.requests;
            for route in &gateway.routes {
                let (requests, errors) = sum.routes.entry(route.name.to_string()).or_default();
                *requests += route.requests;
                *errors += window::errors(route);
            }
        }
    }

    /// Adds the totals to those of the run of now; what is not there any more is left out.
    pub(super) fn add_to(&self, figures: &mut BTreeMap<String, GatewayFigures>) {
        for (name, past) in &self.0 {
            let Some(now) = figures.get_mut(name) else {
                continue;
            };
            now.requests += past.requests;
            for (name, (requests, errors)) in &past.routes {
                if let Some(now) = now.routes.get_mut(name) {
                    now.requests += requests;
                    now.errors += errors;
                }
            }
        }
    }
}
