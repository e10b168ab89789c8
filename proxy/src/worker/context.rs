//! What the connections of one worker share.

use std::{
    cell::{Cell, RefCell},
    fmt,
    hash::{BuildHasher as _, RandomState},
    ops::Deref,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use arc_swap::{ArcSwap, Cache};
use tokio::sync::{Notify, Semaphore};

use super::{budget::Budget, connection::Connections};
use crate::{
    access_log::Log,
    buffer::Buffers,
    config::Config,
    error::ErrorKind,
    metrics::add,
    table::Table,
    tls::HANDSHAKES_MAX,
    upstream::{Pool, Sessions},
    waits::Waits,
};

/// Figures of one worker that belong to no gateway. Written by the worker, read by anybody.
#[derive(Debug, Default)]
pub(crate) struct WorkerFigures {
    pub(crate) connections_open: AtomicU64,
    pub(crate) connections_total: AtomicU64,
    pub(crate) rejected: [AtomicU64; ErrorKind::ALL.len()],
    pub(crate) retries_denied: AtomicU64,
}

/// The table that a worker serves by, counted by this worker alone.
#[derive(Clone, Debug)]
pub(crate) struct CurrentTable(Rc<Shared>);

/// The count that all workers share, touched once for each table.
#[derive(Debug)]
struct Shared(Arc<Table>);

impl CurrentTable {
    fn new(table: &Arc<Table>) -> Self {
        Self(Rc::new(Shared(Arc::clone(table))))
    }
}

impl Deref for CurrentTable {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.0.0
    }
}

/// What the connections of one worker share. Never leaves its thread.
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    /// Its number, from 0.
    pub(crate) worker: usize,
    pub(crate) pool: Pool,
    /// Connections to instances that speak HTTP/2.
    pub(crate) sessions: Sessions,
    pub(crate) budget: Budget,
    /// Bounds of waiting where a route has none of its own.
    pub(crate) waits: Waits,
    pub(crate) buffers: Buffers,
    pub(crate) connections: Connections,
    pub(crate) figures: Arc<WorkerFigures>,
    /// The access log, if there is one.
    pub(crate) log: Option<Log>,
    tables: RefCell<Cache<Arc<ArcSwap<Table>>, Arc<Table>>>,
    /// The newest table with a count of this worker's own: handing it to a request touches no cache line
    /// that another worker writes.
    current: RefCell<CurrentTable>,
    draining: Cell<bool>,
    /// The last connection could not be accepted: there was no descriptor for it.
    pub(super) cannot_accept: Cell<bool>,
    /// Told when leave-taking begins.
    pub(crate) leave: Notify,
    /// Room for TLS handshakes under way.
    pub(crate) handshakes: Semaphore,
    random: Cell<u64>,
    epoch: Instant,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn new(
        config: Arc<Config>,
        worker: usize,
        tables: Arc<ArcSwap<Table>>,
        figures: Arc<WorkerFigures>,
        epoch: Instant,
    ) -> Self {
        let mut cache = Cache::new(tables);
        let current = CurrentTable::new(cache.load());
        Self {
            worker,
            pool: Pool::new(&config),
            sessions: Sessions::new(&config),
            budget: Budget::new(config.retry_budget),
            waits: Waits::configured(&config.timeouts),
            buffers: Buffers::default(),
            connections: Connections::default(),
            figures,
            log: None,
            tables: RefCell::new(cache),
            current: RefCell::new(current),
            draining: Cell::new(false),
            cannot_accept: Cell::new(false),
            leave: Notify::new(),
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            // The one source of randomness of the standard library.
            random: Cell::new(RandomState::new().hash_one(worker)),
            epoch,
            config,
        }
    }

    /// The table of the moment. A request asks once.
    pub(crate) fn table(&self) -> CurrentTable {
        let mut tables = self.tables.borrow_mut();
        let newest = tables.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(newest, &current.0.0) {
            *current = CurrentTable::new(newest);
        }
        current.clone()
    }

    /// Coarse milliseconds since the proxy started: up to a tick behind.
    pub(crate) fn now_ms(&self) -> u64 {
        self.connections.now_ms()
    }

    /// Brings the coarse clock up to date and wakes what waited too long.
    pub(crate) fn tick(&self) {
        // Without requests the table that was replaced is let go of here.
        drop(self.table());
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.connections.tick(now);
    }

    /// Whether the worker takes leave: answers say `Connection: close`.
    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.leave.notify_waiters();
    }

    /// A number that says nothing and hardly comes twice (Steele, Lea, Flood: SplitMix64). Not for secrets.
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether a request may be tried again: not if too many were.
    pub(crate) fn may_retry(&self) -> bool {
        let may = self.budget.take(self.now_ms());
        if !may {
            add(&self.figures.retries_denied, 1);
        }
        may
    }

    /// Counts a request that was refused before it was routed.
    pub(crate) fn rejected(&self, kind: ErrorKind) {
        if let Some(figure) = self.figures.rejected.get(kind as usize) {
            add(figure, 1);
        }
    }
}
