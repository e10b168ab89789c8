//! Requests under way, by instance: for whoever stops instances.

use std::collections::BTreeMap;

use weir_model::{Acknowledgement, Frame};
use weir_plan::InFlight;

use crate::state::State;

/// What one agent told last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Busy {
    /// When it was asked, milliseconds since the Unix epoch by the clock of control.
    pub(super) asked_at_ms: u64,
    /// Instances with requests, those that left the table as well.
    pub(super) by_instance: BTreeMap<String, u64>,
}

impl Busy {
    /// `None`: the agent does not tell of instances that left (an older one).
    pub(super) fn of(frame: &Frame, asked_at_ms: u64) -> Option<Self> {
        let mut by_instance: BTreeMap<String, u64> = BTreeMap::new();
        let mut add = |id: &str, in_flight: u64| {
            if in_flight > 0 {
                *by_instance.entry(id.to_owned()).or_default() += in_flight;
            }
        };
        for departed in frame.departed.as_ref()? {
            add(departed.instance.as_str(), departed.in_flight);
        }
        let routes = frame.gateways.iter().flat_map(|gateway| &gateway.routes);
        for instance in routes.flat_map(|route| &route.instances) {
            add(instance.id.as_str(), instance.in_flight);
        }
        Some(Self {
            asked_at_ms,
            by_instance,
        })
    }
}

/// Requests under way, as these agents told. `None` if one that serves something does not tell.
pub(crate) fn in_flight(state: &State, agents: &[Acknowledgement], now_ms: u64) -> Option<InFlight> {
    let logs = state.traffic.agents();
    let mut all = InFlight {
        asked_at_ms: now_ms,
        by_instance: BTreeMap::new(),
    };
    for agent in agents.iter().filter(|agent| agent.digest.is_some()) {
        let busy = logs.get(agent.agent.as_str())?.busy.as_ref()?;
        all.asked_at_ms = all.asked_at_ms.min(busy.asked_at_ms);
        for (id, in_flight) in &busy.by_instance {
            *all.by_instance.entry(id.clone()).or_default() += in_flight;
        }
    }
    Some(all)
}
