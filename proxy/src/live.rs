//! What outlives tables: counters, figures and health, keyed by identity.
//!
//! A table is made anew for each snapshot; the request that runs through it must find the position in each
//! decision's schedule, the figures and the health of each instance where the last table left them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use weir_model::{GatewayName, InstanceId, RouteName};

use crate::metrics::{EndpointShard, GatewayShard, RouteShard, Shards};

/// The one word that all workers touch for a decision; alone on its cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Turn(AtomicU64);

impl Turn {
    /// Number of this request in the decision's history.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// What outlives tables of a gateway.
#[derive(Debug)]
pub(crate) struct GatewayLive {
    /// Place in every table that has the gateway.
    pub(crate) slot: u32,
    pub(crate) weights: Turn,
    pub(crate) shards: Shards<GatewayShard>,
}

/// What outlives tables of a route.
#[derive(Debug)]
pub(crate) struct RouteLive {
    pub(crate) strength: Turn,
    pub(crate) balance: Turn,
    pub(crate) shards: Shards<RouteShard>,
}

/// What outlives tables of an instance of a route.
#[derive(Debug)]
pub(crate) struct EndpointLive {
    /// Over all workers; kept only where the balance needs it.
    pub(crate) in_flight: AtomicU32,
    /// Coarse milliseconds of the proxy's clock before which it is passed over; 0: it is not.
    ejected_until_ms: AtomicU64,
    failures: AtomicU32,
    pub(crate) shards: Shards<EndpointShard>,
}

/// Failures to connect in a row after which an instance is passed over, and for how long at first (Vamp's
/// HAProxy: a check each 2 s, down after 3 failures).
const FAILURES_MAX: u32 = 3;
const EJECTION_MS: u64 = 2_000;
const EJECTION_MS_MAX: u64 = 30_000;

impl EndpointLive {
    pub(crate) fn is_ejected(&self, now_ms: u64) -> bool {
        let until = self.ejected_until_ms.load(Ordering::Relaxed);
        until != 0 && now_ms < until
    }

    /// A connection was made: it is well.
    pub(crate) fn connected(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejected_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// A connection could not be made. The first request after the pause is the probe: it fails or mends.
    pub(crate) fn connect_failed(&self, now_ms: u64) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if let Some(beyond) = failures.checked_sub(FAILURES_MAX) {
            let pause = EJECTION_MS
                .saturating_mul(1 << beyond.min(8))
                .min(EJECTION_MS_MAX);
            self.ejected_until_ms
                .store(now_ms.saturating_add(pause), Ordering::Relaxed);
        }
    }
}

/// Every identity known, present in the table or gone for a short while.
#[derive(Debug)]
pub(crate) struct Registry {
    workers: usize,
    gateways: HashMap<GatewayName, GatewayEntry>,
    free_slots: Vec<u32>,
    slots: u32,
}

#[derive(Debug)]
struct GatewayEntry {
    live: Arc<GatewayLive>,
    routes: HashMap<RouteName, RouteEntry>,
    absent_since: Option<Instant>,
}

#[derive(Debug)]
struct RouteEntry {
    live: Arc<RouteLive>,
    endpoints: HashMap<InstanceId, EndpointEntry>,
    absent_since: Option<Instant>,
}

#[derive(Debug)]
struct EndpointEntry {
    live: Arc<EndpointLive>,
    absent_since: Option<Instant>,
}

/// How long an identity that is gone keeps its figures, should it come back.
const KEPT: Duration = Duration::from_secs(600);

impl Registry {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            gateways: HashMap::new(),
            free_slots: Vec::new(),
            slots: 0,
        }
    }

    /// How many places a table needs.
    pub(crate) fn slots(&self) -> usize {
        self.slots as usize
    }

    pub(crate) fn gateway(&mut self, name: &GatewayName) -> Arc<GatewayLive> {
        if let Some(entry) = self.gateways.get_mut(name) {
            entry.absent_since = None;
            return Arc::clone(&entry.live);
        }
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        let live = Arc::new(GatewayLive {
            slot,
            weights: Turn::default(),
            shards: Shards::new(self.workers),
        });
        let entry = GatewayEntry {
            live: Arc::clone(&live),
            routes: HashMap::new(),
            absent_since: None,
        };
        self.gateways.insert(name.clone(), entry);
        live
    }

    pub(crate) fn route(&mut self, gateway: &GatewayName, route: &RouteName) -> Arc<RouteLive> {
        let workers = self.workers;
        let routes = &mut self
            .gateways
            .get_mut(gateway)
            .expect("the gateway is adopted before its routes")
            .routes;
        let entry = routes.entry(route.clone()).or_insert_with(|| RouteEntry {
            live: Arc::new(RouteLive {
                strength: Turn::default(),
                balance: Turn::default(),
                shards: Shards::new(workers),
            }),
            endpoints: HashMap::new(),
            absent_since: None,
        });
        entry.absent_since = None;
        Arc::clone(&entry.live)
    }

    pub(crate) fn endpoint(
        &mut self,
        gateway: &GatewayName,
        route: &RouteName,
        instance: &InstanceId,
    ) -> Arc<EndpointLive> {
        let workers = self.workers;
        let entry = self
            .gateways
            .get_mut(gateway)
            .and_then(|gateway| gateway.routes.get_mut(route))
            .expect("the route is adopted before its instances")
            .endpoints
            .entry(instance.clone())
            .or_insert_with(|| EndpointEntry {
                live: Arc::new(EndpointLive {
                    in_flight: AtomicU32::new(0),
                    ejected_until_ms: AtomicU64::new(0),
                    failures: AtomicU32::new(0),
                    shards: Shards::new(workers),
                }),
                absent_since: None,
            });
        entry.absent_since = None;
        Arc::clone(&entry.live)
    }

    /// Notes what `present` no longer says of this gateway, and forgets what is gone for long.
    pub(crate) fn sweep_gateway(
        &mut self,
        name: &GatewayName,
        present: impl Fn(&RouteName, Option<&InstanceId>) -> bool,
        now: Instant,
    ) {
        let Some(gateway) = self.gateways.get_mut(name) else {
            return;
        };
        gateway.routes.retain(|route, entry| {
            entry.endpoints.retain(|instance, endpoint| {
                keep(&mut endpoint.absent_since, present(route, Some(instance)), now)
            });
            keep(&mut entry.absent_since, present(route, None), now)
        });
    }

    /// Notes which gateways are no longer there, and forgets those that are gone for long.
    pub(crate) fn sweep(&mut self, present: impl Fn(&GatewayName) -> bool, now: Instant) {
        let free = &mut self.free_slots;
        self.gateways.retain(|name, entry| {
            let kept = keep(&mut entry.absent_since, present(name), now);
            if !kept {
                free.push(entry.live.slot);
            }
            kept
        });
    }
}

fn keep(absent_since: &mut Option<Instant>, present: bool, now: Instant) -> bool {
    if present {
        *absent_since = None;
        return true;
    }
    now.saturating_duration_since(*absent_since.get_or_insert(now)) < KEPT
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use weir_model::{GatewayName, InstanceId, RouteName};

    use super::{KEPT, Registry};

    #[test]
    fn what_comes_back_in_time_is_the_same_and_later_is_forgotten() {
        let mut registry = Registry::new(1);
        let name = GatewayName::new("g").expect("name");
        let route = RouteName::new("r").expect("name");
        let instance = InstanceId::new("i").expect("name");
        registry.gateway(&name).weights.next();
        registry.route(&name, &route);
        registry.endpoint(&name, &route, &instance).connect_failed(0);
        let now = Instant::now();
        registry.sweep(|_| false, now);
        registry.sweep(|_| false, now + KEPT - Duration::from_secs(1));
        assert_eq!(registry.gateway(&name).weights.next(), 1, "the counter goes on");
        registry.sweep(|_| true, now + KEPT * 2);
        registry.sweep(|_| false, now + KEPT * 3);
        registry.sweep(|_| false, now + KEPT * 4);
        assert_eq!(registry.gateway(&name).weights.next(), 0, "forgotten");
        assert_eq!(registry.slots(), 1, "the place is used again");
    }

    #[test]
    fn ejection_begins_at_the_third_failure_and_ends_with_a_connection() {
        let mut registry = Registry::new(1);
        let (g, r, i) = (
            GatewayName::new("g").expect("name"),
            RouteName::new("r").expect("name"),
            InstanceId::new("i").expect("name"),
        );
        registry.gateway(&g);
        registry.route(&g, &r);
        let endpoint = registry.endpoint(&g, &r, &i);
        endpoint.connect_failed(10);
        endpoint.connect_failed(10);
        assert!(!endpoint.is_ejected(11));
        endpoint.connect_failed(10);
        assert!(endpoint.is_ejected(11));
        assert!(!endpoint.is_ejected(10 + 2_000));
        endpoint.connected();
        assert!(!endpoint.is_ejected(11));
    }
}
