//! What outlives tables: counters, figures and health, keyed by identity.
//!
//! A table is made anew for each snapshot; the request that runs through it must find the position in each
//! decision's schedule, the figures and the health of each instance where the last table left them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use weir_model::{Ejection, EndpointState, GatewayName, InstanceId, RouteName};

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
    failures: AtomicU32,
    /// Coarse milliseconds of the proxy's clock before which it is passed over; 0: it is not.
    ejected_until_ms: AtomicU64,
    /// What its checks say: [`UNCHECKED`], [`WELL`] or [`ILL`].
    checked: AtomicU8,
    /// Since when it is well, in milliseconds of the proxy's clock; 0: from the start.
    well_since_ms: AtomicU64,
    /// Thousandths of requests that it was offered and did not take while it was warming up.
    credit: AtomicU32,
    /// Requests that others took in its place meanwhile.
    skipped: AtomicU32,
    /// Answers in a row that were errors; counted only where a route asks for it.
    errors: AtomicU32,
    /// As `ejected_until_ms`, because of its answers.
    erring_until_ms: AtomicU64,
    /// How often it was passed over for that since it was well; the highest bit says that a request tries it.
    erring_rounds: AtomicU32,
    last_check: Mutex<Option<Arc<str>>>,
    pub(crate) shards: Shards<EndpointShard>,
}

/// See `erring_rounds`.
const PROBED: u32 = 1 << 31;
/// Largest power of two by which the time grows for which it is passed over because of its answers.
const ERRING_ROUNDS_MAX: u32 = 5;

const UNCHECKED: u8 = 0;
const WELL: u8 = 1;
const ILL: u8 = 2;

/// Failures to connect in a row after which an instance is passed over, and for how long at first (Vamp's
/// HAProxy: a check each 2 s, down after 3 failures).
const FAILURES_MAX: u32 = 3;
const EJECTION_MS: u64 = 2_000;
const EJECTION_MS_MAX: u64 = 30_000;
/// For how long others pass an instance over while one request tries whether it is back.
const PROBE_MS: u64 = 1_000;
/// Least share, in thousandths of its full one, of an instance that warms up: a share of nothing would warm nothing.
const WARM_SHARE_MIN: u64 = 50;

impl EndpointLive {
    fn new(workers: usize) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            checked: AtomicU8::new(UNCHECKED),
            well_since_ms: AtomicU64::new(0),
            credit: AtomicU32::new(0),
            skipped: AtomicU32::new(0),
            errors: AtomicU32::new(0),
            erring_until_ms: AtomicU64::new(0),
            erring_rounds: AtomicU32::new(0),
            last_check: Mutex::new(None),
            shards: Shards::new(workers),
        }
    }

    /// Whether requests failed to connect to it lately, or its answers were errors.
    pub(crate) fn is_ejected(&self, now_ms: u64) -> bool {
        now_ms < self.ejected_until_ms.load(Ordering::Relaxed)
            || now_ms < self.erring_until_ms.load(Ordering::Relaxed)
    }

    /// Whether its checks fail: it takes nothing.
    pub(crate) fn is_ill(&self) -> bool {
        self.checked.load(Ordering::Relaxed) == ILL
    }

    /// What its checks say; `None`: nothing yet, or it is not checked.
    pub(crate) fn is_well(&self) -> Option<bool> {
        match self.checked.load(Ordering::Relaxed) {
            WELL => Some(true),
            ILL => Some(false),
            _ => None,
        }
    }

    /// For people and metrics.
    pub(crate) fn state(&self, now_ms: u64) -> EndpointState {
        match self.checked.load(Ordering::Relaxed) {
            ILL => EndpointState::Down,
            _ if self.is_ejected(now_ms) => EndpointState::Ejected,
            WELL => EndpointState::Up,
            _ => EndpointState::Unknown,
        }
    }

    /// What the last check saw.
    pub(crate) fn last_check(&self) -> Option<String> {
        let seen = self.last_check.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_deref().map(str::to_owned)
    }

    /// A request goes to it. If it was passed over, this one tries whether it is back, and others wait for
    /// what comes of it.
    pub(crate) fn chosen(&self, now_ms: u64) {
        let until = self.ejected_until_ms.load(Ordering::Relaxed);
        if until != 0 && now_ms >= until {
            // Two workers at the same moment: then two try.
            self.ejected_until_ms
                .store(now_ms.saturating_add(PROBE_MS), Ordering::Relaxed);
        }
        let until = self.erring_until_ms.load(Ordering::Relaxed);
        if until != 0 && now_ms >= until {
            self.erring_rounds.fetch_or(PROBED, Ordering::Relaxed);
            self.erring_until_ms
                .store(now_ms.saturating_add(PROBE_MS), Ordering::Relaxed);
        }
    }

    /// An answer came, or failed to come, where a route passes over instances because of that.
    pub(crate) fn answered(&self, is_error: bool, ejection: Ejection, now_ms: u64) {
        let is_out = self.erring_until_ms.load(Ordering::Relaxed) != 0;
        let rounds = self.erring_rounds.load(Ordering::Relaxed);
        // What comes late to requests from before says nothing new.
        if is_out && rounds & PROBED == 0 {
            return;
        }
        if !is_error {
            self.errors.store(0, Ordering::Relaxed);
            if is_out {
                self.erring_rounds.store(0, Ordering::Relaxed);
                self.erring_until_ms.store(0, Ordering::Relaxed);
                self.well_since_ms.store(now_ms.max(1), Ordering::Relaxed);
            }
            return;
        }
        let errors = self.errors.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if !is_out && errors < ejection.errors.get() {
            return;
        }
        let rounds = rounds & !PROBED;
        let pause = u64::try_from(ejection.pause.duration().as_millis()).unwrap_or(u64::MAX);
        let pause = pause.max(1).saturating_mul(1 << rounds.min(ERRING_ROUNDS_MAX));
        self.erring_rounds
            .store(rounds.saturating_add(1).min(PROBED - 1), Ordering::Relaxed);
        self.erring_until_ms
            .store(now_ms.saturating_add(pause), Ordering::Relaxed);
    }

    /// A connection was made, or an answer came: it is well.
    pub(crate) fn connected(&self, now_ms: u64) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            if self.ejected_until_ms.swap(0, Ordering::Relaxed) != 0 {
                self.well_since_ms.store(now_ms.max(1), Ordering::Relaxed);
            }
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

    /// Takes over what checks found: `None`: nothing yet, or it is not checked.
    pub(crate) fn checked(&self, well: Option<bool>, now_ms: u64) {
        let verdict = match well {
            None => UNCHECKED,
            Some(true) => WELL,
            Some(false) => ILL,
        };
        if self.checked.swap(verdict, Ordering::Relaxed) == ILL && verdict != ILL {
            self.well_since_ms.store(now_ms.max(1), Ordering::Relaxed);
        }
    }

    /// Notes what a check saw.
    pub(crate) fn saw(&self, text: Option<&Arc<str>>) {
        *self.last_check.lock().unwrap_or_else(PoisonError::into_inner) = text.cloned();
    }

    /// It is new, or has another address than before: what was known of it is no longer true. `well_since_ms`: when
    /// its share begins to grow; 0: it has its full share.
    pub(crate) fn reset(&self, well_since_ms: u64) {
        self.failures.store(0, Ordering::Relaxed);
        self.ejected_until_ms.store(0, Ordering::Relaxed);
        self.errors.store(0, Ordering::Relaxed);
        self.erring_until_ms.store(0, Ordering::Relaxed);
        self.erring_rounds.store(0, Ordering::Relaxed);
        self.checked.store(UNCHECKED, Ordering::Relaxed);
        self.well_since_ms.store(well_since_ms, Ordering::Relaxed);
        self.saw(None);
    }

    /// Whether a request that it is offered is for it, while its share grows for `slow_start_ms` after it became
    /// well. By a count, not by chance: of any run of offers it takes its share of the moment.
    pub(crate) fn is_warm_enough(&self, slow_start_ms: u64, now_ms: u64) -> bool {
        let since = self.well_since_ms.load(Ordering::Relaxed);
        if since == 0 {
            return true;
        }
        let warmed = now_ms.saturating_sub(since);
        if warmed >= slow_start_ms {
            return true;
        }
        let share = (warmed.saturating_mul(1_000) / slow_start_ms).max(WARM_SHARE_MIN);
        let share = u32::try_from(share).unwrap_or(1_000);
        let before = self.credit.fetch_add(share, Ordering::Relaxed) % 1_000;
        before + share >= 1_000
    }

    /// Number of this request among those that others took in its place.
    pub(crate) fn skipped(&self) -> u32 {
        self.skipped.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether its share still grows.
    pub(crate) fn is_warming(&self, slow_start_ms: u64, now_ms: u64) -> bool {
        let since = self.well_since_ms.load(Ordering::Relaxed);
        since != 0 && now_ms.saturating_sub(since) < slow_start_ms
    }
}

/// Every identity known, present in the table or gone for a short while.
#[derive(Debug)]
pub(crate) struct Registry {
    workers: usize,
    gateways: HashMap<GatewayName, GatewayEntry>,
    /// Gateways that left, in the order of their leaving, and when. Some are back since.
    absent: VecDeque<(Instant, GatewayName)>,
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
            absent: VecDeque::new(),
            free_slots: Vec::new(),
            slots: 0,
        }
    }

    /// Place of a gateway that is there.
    pub(crate) fn slot(&self, name: &GatewayName) -> Option<u32> {
        let entry = self.gateways.get(name)?;
        entry.absent_since.is_none().then_some(entry.live.slot)
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
                live: Arc::new(EndpointLive::new(workers)),
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

    /// Notes that a gateway is no longer there; its place.
    pub(crate) fn leave(&mut self, name: &GatewayName, now: Instant) -> Option<u32> {
        let entry = self.gateways.get_mut(name)?;
        entry.absent_since = Some(now);
        self.absent.push_back((now, name.clone()));
        Some(entry.live.slot)
    }

    /// Forgets gateways that are gone for long.
    pub(crate) fn forget(&mut self, now: Instant) {
        while let Some((since, name)) = self.absent.front() {
            if now.saturating_duration_since(*since) < KEPT {
                return;
            }
            // Back since, or gone again later?
            if let Some(entry) = self.gateways.get(name)
                && entry.absent_since == Some(*since)
            {
                self.free_slots.push(entry.live.slot);
                self.gateways.remove(name);
            }
            self.absent.pop_front();
        }
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

    use weir_model::{Ejection, EndpointState, GatewayName, InstanceId, RouteName};

    use super::{EndpointLive, KEPT, Registry};

    #[test]
    fn what_comes_back_in_time_is_the_same_and_later_is_forgotten() {
        let mut registry = Registry::new(1);
        let name = GatewayName::new("g").expect("name");
        let route = RouteName::new("r").expect("name");
        let instance = InstanceId::new("i").expect("name");
        let slot = registry.gateway(&name).slot;
        registry.gateway(&name).weights.next();
        registry.route(&name, &route);
        registry.endpoint(&name, &route, &instance).connect_failed(0);
        let now = Instant::now();
        assert_eq!(registry.leave(&name, now), Some(slot));
        assert_eq!(registry.slot(&name), None);
        registry.forget(now + KEPT - Duration::from_secs(1));
        assert_eq!(registry.gateway(&name).weights.next(), 1, "the counter goes on");
        assert_eq!(registry.slot(&name), Some(slot));
        registry.forget(now + KEPT * 2);
        assert_eq!(registry.gateway(&name).weights.next(), 2, "it is there");
        registry.leave(&name, now + KEPT * 3);
        registry.forget(now + KEPT * 4);
        let again = registry.gateway(&name);
        assert_eq!(again.weights.next(), 0, "forgotten");
        assert_eq!(again.slot, slot, "the place is used again");
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
        endpoint.connected(12);
        assert!(!endpoint.is_ejected(11));
    }

    #[test]
    fn one_request_tries_whether_an_ejected_instance_is_back() {
        let endpoint = EndpointLive::new(1);
        for _ in 0..3 {
            endpoint.connect_failed(0);
        }
        endpoint.chosen(1_999);
        assert!(!endpoint.is_ejected(2_000), "who is passed over is not tried");
        endpoint.chosen(2_000);
        assert!(endpoint.is_ejected(2_001), "others wait for what comes of it");
        endpoint.connected(2_010);
        assert!(!endpoint.is_ejected(2_011));
    }

    #[test]
    fn an_instance_that_became_well_gets_a_growing_share() {
        let endpoint = EndpointLive::new(1);
        assert!(endpoint.is_warm_enough(1_000, 5), "from the start it is warm");
        endpoint.checked(Some(false), 10);
        assert!(endpoint.is_ill());
        endpoint.checked(Some(true), 1_000);
        let taken = |now| (0..100).filter(|_| endpoint.is_warm_enough(1_000, now)).count();
        assert_eq!(taken(1_000), 5, "never nothing");
        assert_eq!(taken(1_250), 25);
        assert_eq!(taken(1_800), 80);
        assert_eq!(taken(2_000), 100);
        assert!(endpoint.is_warming(1_000, 1_999) && !endpoint.is_warming(1_000, 2_000));
    }

    #[test]
    fn errors_in_a_row_eject_and_one_request_tries_whether_it_is_better() {
        let ejection: Ejection = serde_json::from_str(r#"{"errors": 3, "pause": 1000}"#).expect("settings");
        let endpoint = EndpointLive::new(1);
        let answer = |is_error, now| endpoint.answered(is_error, ejection, now);
        for is_error in [true, true, false, true, true] {
            answer(is_error, 10);
        }
        assert!(!endpoint.is_ejected(11), "not in a row");
        answer(true, 10);
        assert!(endpoint.is_ejected(1_009) && !endpoint.is_ejected(1_010));
        assert_eq!(endpoint.state(11), EndpointState::Ejected);
        // Others that were under way.
        answer(true, 20);
        answer(false, 20);
        endpoint.connected(20);
        assert!(endpoint.is_ejected(1_009) && !endpoint.is_ejected(1_010));
        endpoint.chosen(1_010);
        assert!(endpoint.is_ejected(1_011), "others wait for what comes of it");
        answer(true, 1_020);
        assert!(
            endpoint.is_ejected(3_019) && !endpoint.is_ejected(3_020),
            "twice as long"
        );
        endpoint.chosen(3_020);
        answer(false, 3_030);
        assert!(!endpoint.is_ejected(3_031));
        answer(true, 3_040);
        answer(true, 3_040);
        assert!(!endpoint.is_ejected(3_041), "the count begins anew");
    }

    #[test]
    fn what_checks_say_wins_over_what_requests_met() {
        let endpoint = EndpointLive::new(1);
        assert_eq!(endpoint.state(0), EndpointState::Unknown);
        endpoint.checked(Some(true), 0);
        assert_eq!(endpoint.state(0), EndpointState::Up);
        for _ in 0..3 {
            endpoint.connect_failed(0);
        }
        assert_eq!(endpoint.state(1), EndpointState::Ejected);
        endpoint.checked(Some(false), 1);
        assert_eq!(endpoint.state(1), EndpointState::Down);
        endpoint.reset(2);
        assert_eq!(endpoint.state(2), EndpointState::Unknown);
    }
}
