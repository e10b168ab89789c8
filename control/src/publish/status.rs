//! What others may know of the publisher.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use weir_model::{Acknowledgement, Digest, Generation, Snapshot};
use weir_plan::Held;

use super::history::{History, Served};

/// What others may know of the publisher.
#[derive(Debug, Default)]
pub(crate) struct Publication(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    history: History,
    /// The published snapshot.
    latest: Option<Latest>,
    begun: u64,
    completed: u64,
    error: Option<String>,
    problems: BTreeSet<(String, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Latest {
    generation: Generation,
    digest: Digest,
    at_ms: u64,
}

/// What is published, and what stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Generation that is published; `None` before the first.
    pub(crate) generation: Option<Generation>,
    /// Digest that is published.
    pub(crate) digest: Option<Digest>,
    /// When, milliseconds since the Unix epoch.
    pub(crate) published_at_ms: Option<u64>,
    /// Why the newest state is not published, if it is not.
    pub(crate) error: Option<String>,
    /// What cannot be served as written: gateway and reason.
    pub(crate) problems: Vec<(String, String)>,
}

impl Publication {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change is one assignment, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is published, and what stands in the way.
    pub(crate) fn status(&self) -> Status {
        let inner = self.inner();
        Status {
            generation: inner.latest.map(|latest| latest.generation),
            digest: inner.latest.map(|latest| latest.digest),
            published_at_ms: inner.latest.map(|latest| latest.at_ms),
            error: inner.error.clone(),
            problems: inner.problems.iter().cloned().collect(),
        }
    }

    /// Begins a cycle and gives its number. Called with the write lock held.
    pub(crate) fn begin(&self) -> u64 {
        let mut inner = self.inner();
        inner.begun += 1;
        inner.begun
    }

    /// Number of the newest cycle that began. Read with the write lock held: every cycle with a higher number
    /// sees what is committed under this lock.
    pub(crate) fn begun(&self) -> u64 {
        self.inner().begun
    }

    pub(crate) fn complete(&self, cycle: u64) {
        let mut inner = self.inner();
        inner.completed = inner.completed.max(cycle);
    }

    /// Whether a cycle that began after the one of this number is published.
    pub(crate) fn is_after(&self, cycle: u64) -> bool {
        self.inner().completed > cycle
    }

    /// Remembers why the newest state is not published; whether that is news.
    pub(super) fn set_error(&self, error: Option<String>) -> bool {
        let mut inner = self.inner();
        let news = inner.error != error;
        inner.error = error;
        news
    }

    pub(super) fn set_problems(&self, problems: BTreeSet<(String, String)>) {
        self.inner().problems = problems;
    }

    /// A snapshot is about to be written.
    pub(super) fn offer(&self, snapshot: &Snapshot) {
        self.inner().history.add(snapshot);
    }

    /// A snapshot is published.
    pub(super) fn remember(&self, snapshot: &Snapshot, at_ms: u64) {
        let mut inner = self.inner();
        inner.history.add(snapshot);
        let same = |latest: &Latest| {
            latest.generation == snapshot.generation() && latest.digest == snapshot.digest()
        };
        if !inner.latest.as_ref().is_some_and(same) {
            inner.latest = Some(Latest {
                generation: snapshot.generation(),
                digest: snapshot.digest(),
                at_ms,
            });
        }
    }

    /// A generation above `taken` and above everything that was ever offered; the one that was offered last,
    /// if that was the same content and did not arrive.
    pub(super) fn next_generation(&self, taken: Generation, digest: Digest) -> Generation {
        let inner = self.inner();
        let published = inner.latest.map(|latest| latest.generation);
        match inner.history.newest() {
            Some(newest)
                if newest > taken
                    && Some(newest) > published
                    && inner.history.get(newest, digest).is_some() =>
            {
                newest
            }
            newest => newest.max(Some(taken)).unwrap_or_default().next(),
        }
    }

    /// Names of the gateways that are published.
    pub(crate) fn gateways(&self) -> BTreeSet<String> {
        let inner = self.inner();
        let served = inner
            .latest
            .and_then(|latest| inner.history.get(latest.generation, latest.digest));
        served.map(Served::gateways).unwrap_or_default()
    }

    /// Which instances may still be sent requests, given what the live agents acknowledge.
    pub(crate) fn held(&self, agents: &[Acknowledgement]) -> Held {
        let inner = self.inner();
        let published = inner.latest.map(|latest| latest.generation);
        inner
            .history
            .held(published, agents)
            .map_or(Held::Unknown, Held::Only)
    }

    /// A route's weight in parts per 10 000 that every live agent has taken, if that is known.
    pub(crate) fn acknowledged(&self, agents: &[Acknowledgement], gateway: &str, route: &str) -> Option<u16> {
        self.inner().history.acknowledged(agents, gateway, route)
    }
}
