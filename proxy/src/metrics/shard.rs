//! The figures of one worker.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use weir_model::{LatencyCounts, OutcomeCounts};

use super::{Latency, add};
use crate::error::ErrorKind;

/// One shard per worker, allocated when first used.
#[derive(Debug)]
pub(crate) struct Shards<T>(Box<[OnceLock<Box<T>>]>);

impl<T: Default> Shards<T> {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| OnceLock::new()).collect())
    }

    /// The shard of a worker. Only that worker writes to it.
    pub(crate) fn of(&self, worker: usize) -> &T {
        self.0
            .get(worker)
            .expect("a worker's number is below the number of workers, which never changes")
            .get_or_init(Box::default)
    }

    /// The shards in use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|shard| shard.get().map(Box::as_ref))
    }

    /// Sum of one figure over the workers.
    pub(crate) fn sum(&self, figure: impl Fn(&T) -> &AtomicU64) -> u64 {
        self.iter().fold(0, |sum, shard| {
            sum.wrapping_add(figure(shard).load(Ordering::Relaxed))
        })
    }
}

/// Figures of a gateway.
#[derive(Debug, Default)]
pub(crate) struct GatewayShard {
    pub(crate) requests: AtomicU64,
    pub(crate) unrouted: AtomicU64,
}

/// Figures of a route.
#[derive(Debug, Default)]
pub(crate) struct RouteShard {
    pub(crate) requests: AtomicU64,
    pub(crate) by_condition: AtomicU64,
    pub(crate) by_cookie: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) outcomes: Outcomes,
}

/// Figures of an instance of a route.
#[derive(Debug, Default)]
pub(crate) struct EndpointShard {
    pub(crate) requests: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) outcomes: Outcomes,
}

type Errors = [AtomicU64; ErrorKind::ALL.len()];

/// How requests ended and how long they took.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    classes: [AtomicU64; 5],
    errors: OnceLock<Box<Errors>>,
    latency: Latency,
}

impl Outcomes {
    /// Counts one ended request. A status of 0 means that no answer was sent.
    pub(crate) fn record(&self, status: u16, error: Option<ErrorKind>, took: Duration) {
        if let Some(class) = usize::from(status / 100)
            .checked_sub(1)
            .and_then(|class| self.classes.get(class))
        {
            add(class, 1);
        }
        if let Some(kind) = error {
            let errors = self
                .errors
                .get_or_init(|| Box::new([const { AtomicU64::new(0) }; ErrorKind::ALL.len()]));
            if let Some(error) = errors.get(kind as usize) {
                add(error, 1);
            }
        }
        self.latency.record(took);
    }

    pub(crate) fn read_into(&self, counts: &mut OutcomeCounts, latency: &mut LatencyCounts) {
        for (total, class) in counts.classes.iter_mut().zip(&self.classes) {
            *total += class.load(Ordering::Relaxed);
        }
        if let Some(errors) = self.errors.get() {
            for (kind, error) in ErrorKind::ALL.iter().zip(errors.iter()) {
                let error = error.load(Ordering::Relaxed);
                if error > 0 {
                    *counts.errors.entry(kind.label().to_owned()).or_default() += error;
                }
            }
        }
        self.latency.read_into(latency);
    }
}
