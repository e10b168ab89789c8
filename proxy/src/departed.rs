//! Instances that left the table while requests to them may be under way.
//!
//! **Job.** Whoever stops instances wants to know when the last request to one of them has ended. A table tells only
//! of instances that it has; this remembers those that the tables before it had.
//!
//! **Invariants.** An instance that is back in its route is not told. One without requests is forgotten after
//! [`KEPT`]: a request that was routed by an old table has long begun then.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use weir_model::{DepartedFrame, GatewayName, InstanceId, RouteName};

use crate::{
    live::EndpointLive,
    table::{Next, Table},
};

/// How long an instance without requests is remembered.
const KEPT: Duration = Duration::from_secs(600);

/// Instances that left the table, each with the route by which they were reached.
#[derive(Debug, Default)]
pub(crate) struct Departed(Mutex<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    gateway: GatewayName,
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
        // Each is of one route of one gateway for good.
        let stay: HashSet<*const EndpointLive> = before
            .changes(after)
            .filter_map(|(_, gateway)| gateway)
            .flat_map(|gateway| gateway.routes.iter())
            .flat_map(|route| match &route.next {
                Next::Endpoints(endpoints) => &*endpoints.all,
                Next::Gateway(_) => &[],
            })
            .map(|endpoint| Arc::as_ptr(&endpoint.live))
            .collect();
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| {
            let is_kept = now.saturating_duration_since(entry.since) < KEPT || entry.in_flight() > 0;
            is_kept && !stay.contains(&Arc::as_ptr(&entry.live))
        });
        for gateway in before.changes(after).filter_map(|(gateway, _)| gateway) {
            for (source, route) in gateway.source.routes.iter().zip(&gateway.routes) {
                let Next::Endpoints(endpoints) = &route.next else {
                    continue;
                };
                for endpoint in &endpoints.all {
                    if stay.contains(&Arc::as_ptr(&endpoint.live)) {
                        continue;
                    }
                    entries.push(Entry {
                        gateway: gateway.name().clone(),
                        route: source.name.clone(),
                        instance: endpoint.id.clone(),
                        live: Arc::clone(&endpoint.live),
                        since: now,
                    });
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
