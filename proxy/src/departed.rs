//! Instances that left the table while requests to them may be under way.
//!
//! **Job.** Whoever stops instances wants to know when the last request to one of them has ended. A table tells only
//! of instances that it has; this remembers those that the tables before it had.
//!
//! **Invariants.** An instance that is back in its route is not told. One without requests is forgotten after
//! [`KEPT`]: a request that was routed by an old table has long begun then.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use weir_model::{DepartedFrame, GatewayName, InstanceId, RouteName};

use crate::{
    live::EndpointLive,
    table::{Gateway, Next, Table},
};

/// How long an instance without requests is remembered.
const KEPT: Duration = Duration::from_secs(600);

/// Instances that left the table, each with the route by which they were reached.
#[derive(Debug, Default)]
pub(crate) struct Departed(Mutex<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    gateway: GatewayName,
    /// Place of the gateway in tables.
    slot: u32,
    route: RouteName,
    instance: InstanceId,
    live: Arc<EndpointLive>,
    since: Instant,
}

impl Entry {
    fn in_flight(&self) -> u64 {
        self.live.shards.sum(|shard| &shard.in_flight)
    }
}

impl Departed {
    /// Notes what `before` has and `after` has not.
    pub(crate) fn note(&self, before: &Table, after: &Table, now: Instant) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| {
            let is_kept = now.saturating_duration_since(entry.since) < KEPT || entry.in_flight() > 0;
            is_kept && !has(after, entry)
        });
        for gateway in before.changes(after).filter_map(|(gateway, _)| gateway) {
            for (source, route) in gateway.source.routes.iter().zip(&gateway.routes) {
                let Next::Endpoints(endpoints) = &route.next else {
                    continue;
                };
                for endpoint in &endpoints.all {
                    let entry = Entry {
                        gateway: gateway.name().clone(),
                        slot: gateway.live.slot,
                        route: source.name.clone(),
                        instance: endpoint.id.clone(),
                        live: Arc::clone(&endpoint.live),
                        since: now,
                    };
                    if !has(after, &entry) {
                        entries.push(entry);
                    }
                }
            }
        }
    }

    /// Those that still have requests.
    pub(crate) fn busy(&self) -> Vec<DepartedFrame> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .filter_map(|entry| {
                let in_flight = entry.in_flight();
                (in_flight > 0).then(|| DepartedFrame {
                    gateway: entry.gateway.clone(),
                    route: entry.route.clone(),
                    instance: entry.instance.clone(),
                    in_flight,
                })
            })
            .collect()
    }
}

/// Whether the table has this very instance: its figures are in the frame of its route then.
fn has(table: &Table, entry: &Entry) -> bool {
    let gateway = table.gateway(entry.slot);
    let Some(gateway) = gateway.filter(|gateway| *gateway.name() == entry.gateway) else {
        return false;
    };
    endpoints(gateway, &entry.route).any(|live| Arc::ptr_eq(live, &entry.live))
}

fn endpoints<'a>(gateway: &'a Gateway, route: &'a RouteName) -> impl Iterator<Item = &'a Arc<EndpointLive>> {
    let routes = gateway.source.routes.iter().zip(&gateway.routes);
    routes
        .filter(move |(source, _)| source.name == *route)
        .filter_map(|(_, route)| match &route.next {
            Next::Endpoints(endpoints) => Some(&endpoints.all),
            Next::Gateway(_) => None,
        })
        .flatten()
        .map(|endpoint| &endpoint.live)
}
