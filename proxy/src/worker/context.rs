//! What the connections of one worker share.

use std::{
    cell::{Cell, RefCell},
    fmt,
    ops::Deref,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use arc_swap::{ArcSwap, Cache};

use super::connection::Connections;
use crate::{buffer::Buffers, config::Config, error::ErrorKind, metrics::add, table::Table, upstream::Pool};

/// Figures of one worker that belong to no gateway. Written by the worker, read by anybody.
#[derive(Debug, Default)]
pub(crate) struct WorkerFigures {
    pub(crate) connections_open: AtomicU64,
    pub(crate) connections_total: AtomicU64,
    pub(crate) rejected: [AtomicU64; ErrorKind::ALL.len()],
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
    pub(crate) buffers: Buffers,
    pub(crate) connections: Connections,
    pub(crate) figures: Arc<WorkerFigures>,
    tables: RefCell<Cache<Arc<ArcSwap<Table>>, Arc<Table>>>,
    /// The newest table with a count of this worker's own: handing it to a request touches no cache line
    /// that another worker writes.
    current: RefCell<CurrentTable>,
    draining: Cell<bool>,
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
            buffers: Buffers::default(),
            connections: Connections::default(),
            figures,
            tables: RefCell::new(cache),
            current: RefCell::new(current),
            draining: Cell::new(false),
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
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.connections.tick(now);
    }

    /// Whether the worker takes leave: answers say `Connection: close`.
    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    pub(crate) fn drain(&self) {
        self.draining.set(true);
    }

    /// Counts a request that was refused before it was routed.
    pub(crate) fn rejected(&self, kind: ErrorKind) {
        if let Some(figure) = self.figures.rejected.get(kind as usize) {
            add(figure, 1);
        }
    }
}
