//! The keys, leases and history of a store that lives in this process.
//!
//! **Job.** What every local store shares: expectations, revisions, leases, watches. A [`Journal`] makes
//! changes durable before they can be seen.
//!
//! **Invariants.** One writer at a time: what was checked still holds when it is written. A change is in the
//! journal before it is in the index, in the index before a watch tells it. Watches read the history by
//! revision, so a slow one costs no memory: it is told to read anew once the history it needs is gone.
//!
//! **Absent.** No async but in watches; no knowledge of files.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::stream;
use tokio::{sync::watch, time::Instant};

use crate::{Capabilities, Change, Entry, Expect, LeaseId, Revision, StoreError, Watch, key::check_key};

/// Longest value in bytes.
const VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bytes of values altogether.
const TOTAL_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Most leases at once.
const LEASES_MAX: usize = 10_000;
/// Longest lease.
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Most changes kept for watches.
const HISTORY_CHANGES_MAX: usize = 10_000;
/// Most bytes of values kept for watches.
const HISTORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most changes that a watch takes from the history at once.
const WATCH_BATCH_MAX: usize = 256;

pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    value_bytes_max: VALUE_BYTES_MAX,
    leases: true,
    lease_ttl_min: Duration::ZERO,
    lease_factor_max: 1,
    history: true,
    writable: true,
};

/// A change that must outlive the process.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// The key holds that value.
    Put {
        /// Full key.
        key: &'a str,
        /// Its value.
        value: &'a [u8],
    },
    /// The key is not there.
    Delete {
        /// Full key.
        key: &'a str,
    },
}

/// Makes changes durable.
pub trait Journal: fmt::Debug + Send + Sync + 'static {
    /// One word for the kind of store.
    const KIND: &'static str;
    /// Whether committing waits for a disk.
    const BLOCKING: bool;

    /// Returns once `record` is durable and no later process can hand out `revision` again. Without a
    /// record only the latter: keys bound to a lease are never recorded, for leases end with the process.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be made durable; nothing has changed then.
    fn commit(&mut self, revision: Revision, record: Option<Record<'_>>) -> Result<(), StoreError>;
}

/// Keys, leases and history, with the journal that keeps them.
#[derive(Debug)]
pub(crate) struct Index<J> {
    /// Held during a whole change. Taken before `state`, never after it.
    writer: Mutex<J>,
    state: Arc<Mutex<State>>,
    /// Newest revision; dropping it ends the watches.
    newest: watch::Sender<Revision>,
    /// Distinguishes this process's leases from those of an earlier one.
    epoch: u128,
}

#[derive(Debug)]
struct State {
    keys: BTreeMap<String, Held>,
    total_bytes: usize,
    revision: Revision,
    /// Every change after `history_after`, in order.
    history: VecDeque<Change>,
    history_after: Revision,
    history_bytes: usize,
    leases: HashMap<LeaseId, Lease>,
    leases_granted: u64,
}

#[derive(Debug)]
struct Held {
    value: Bytes,
    revision: Revision,
    lease: Option<LeaseId>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    deadline: Instant,
    keys: BTreeSet<String>,
}

impl<J: Journal> Index<J> {
    pub(crate) fn new(journal: J, entries: Vec<Entry>, revision: Revision) -> Self {
        let mut state = State {
            keys: BTreeMap::new(),
            total_bytes: 0,
            revision,
            history: VecDeque::new(),
            history_after: revision,
            history_bytes: 0,
            leases: HashMap::new(),
            leases_granted: 0,
        };
        for entry in entries {
            state.total_bytes += entry.value.len();
            let held = Held {
                value: entry.value,
                revision: entry.revision,
                lease: None,
            };
            state.keys.insert(entry.key, held);
        }
        Self {
            writer: Mutex::new(journal),
            state: Arc::new(Mutex::new(state)),
            newest: watch::Sender::new(revision),
            epoch: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos(),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        let state = lock(&self.state);
        Ok(state.visible(key, Instant::now()).map(|held| held.entry(key)))
    }

    pub(crate) fn list(&self, prefix: &str) -> (Vec<Entry>, Revision) {
        let state = lock(&self.state);
        let now = Instant::now();
        let entries = state
            .keys
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, held)| state.alive(held, now))
            .map(|(key, held)| held.entry(key))
            .collect();
        (entries, state.revision)
    }

    pub(crate) fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError> {
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::TooLarge {
                bytes: value.len(),
                bytes_max: VALUE_BYTES_MAX,
            });
        }
        let mut journal = lock(&self.writer);
        self.expire_held(&mut journal)?;
        let (revision, recorded) = {
            let state = lock(&self.state);
            state.check(key, expect)?;
            if lease.is_some_and(|lease| !state.leases.contains_key(lease)) {
                return Err(StoreError::LeaseLost);
            }
            let held = state.keys.get(key);
            let replaced_bytes = held.map_or(0, |held| held.value.len());
            if state.total_bytes - replaced_bytes + value.len() > TOTAL_BYTES_MAX {
                return Err(StoreError::Unsupported(
                    "hold more than 512 MiB altogether".into(),
                ));
            }
            (state.next(), held.is_some_and(|held| held.lease.is_none()))
        };
        let record = match lease {
            None => Some(Record::Put { key, value: &value }),
            // The old durable value must not come back after a restart.
            Some(_) if recorded => Some(Record::Delete { key }),
            Some(_) => None,
        };
        journal.commit(revision, record)?;
        lock(&self.state).put(key, value, revision, lease);
        self.newest.send_replace(revision);
        Ok(revision)
    }

    pub(crate) fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        check_key(key)?;
        let mut journal = lock(&self.writer);
        self.expire_held(&mut journal)?;
        let (revision, recorded) = {
            let state = lock(&self.state);
            state.check(key, expect)?;
            let Some(held) = state.keys.get(key) else {
                return Ok(false);
            };
            (state.next(), held.lease.is_none())
        };
        journal.commit(revision, recorded.then_some(Record::Delete { key }))?;
        lock(&self.state).delete(key, revision);
        self.newest.send_replace(revision);
        Ok(true)
    }

    pub(crate) fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        if ttl.is_zero() || ttl > TTL_MAX {
            return Err(StoreError::Unsupported(
                "grant a lease of that length (0 s to 24 h)".into(),
            ));
        }
        let mut state = lock(&self.state);
        if state.leases.len() >= LEASES_MAX {
            return Err(StoreError::Unsupported("hold more than 10000 leases".into()));
        }
        state.leases_granted += 1;
        let id = LeaseId(format!("{:x}-{:x}", self.epoch, state.leases_granted));
        let lease = Lease {
            ttl,
            deadline: Instant::now() + ttl,
            keys: BTreeSet::new(),
        };
        state.leases.insert(id.clone(), lease);
        Ok(id)
    }

    pub(crate) fn renew(&self, id: &LeaseId) -> Result<(), StoreError> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        match state.leases.get_mut(id) {
            Some(lease) if lease.deadline > now => {
                lease.deadline = now + lease.ttl;
                Ok(())
            }
            _ => Err(StoreError::LeaseLost),
        }
    }

    pub(crate) fn revoke(&self, id: &LeaseId) -> Result<(), StoreError> {
        let mut journal = lock(&self.writer);
        if !lock(&self.state).leases.contains_key(id) {
            return Err(StoreError::LeaseLost);
        }
        self.end_lease(&mut journal, id)
    }

    /// When the lease ends unless it is renewed; `None` if it has ended.
    pub(crate) fn deadline(&self, id: &LeaseId) -> Option<Instant> {
        lock(&self.state).leases.get(id).map(|lease| lease.deadline)
    }

    /// Ends every lease whose time is over.
    pub(crate) fn expire(&self) -> Result<(), StoreError> {
        self.expire_held(&mut lock(&self.writer))
    }

    fn expire_held(&self, journal: &mut MutexGuard<'_, J>) -> Result<(), StoreError> {
        let now = Instant::now();
        let over: Vec<LeaseId> = lock(&self.state)
            .leases
            .iter()
            .filter(|(_, lease)| lease.deadline <= now)
            .map(|(id, _)| id.clone())
            .collect();
        over.iter().try_for_each(|id| self.end_lease(journal, id))
    }

    fn end_lease(&self, journal: &mut MutexGuard<'_, J>, id: &LeaseId) -> Result<(), StoreError> {
        let (keys, mut revision) = {
            let state = lock(&self.state);
            let keys = state.leases.get(id).map(|lease| lease.keys.clone());
            (keys.unwrap_or_default(), state.revision)
        };
        for key in &keys {
            revision = Revision(revision.0 + 1);
            journal.commit(revision, None)?;
            lock(&self.state).delete(key, revision);
        }
        lock(&self.state).leases.remove(id);
        self.newest.send_replace(revision);
        Ok(())
    }

    pub(crate) fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let cursor = Cursor {
            newest: self.newest.subscribe(),
            state: Arc::clone(&self.state),
            prefix: prefix.to_owned(),
            after,
            ready: VecDeque::new(),
            ended: false,
        };
        // Also refuses a place in a history that this store does not have (it was replaced by an older one).
        lock(&self.state).check_history(after)?;
        Ok(Box::pin(stream::unfold(cursor, |mut cursor| async move {
            let next = cursor.next().await?;
            Some((next, cursor))
        })))
    }
}

impl State {
    fn next(&self) -> Revision {
        Revision(self.revision.0 + 1)
    }

    fn alive(&self, held: &Held, now: Instant) -> bool {
        held.lease
            .as_ref()
            .is_none_or(|lease| self.leases.get(lease).is_some_and(|lease| lease.deadline > now))
    }

    fn visible(&self, key: &str, now: Instant) -> Option<&Held> {
        self.keys.get(key).filter(|held| self.alive(held, now))
    }

    fn check(&self, key: &str, expect: Expect) -> Result<(), StoreError> {
        let found = self.keys.get(key).map(|held| held.revision);
        let met = match expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::At(revision) => found == Some(revision),
        };
        if met {
            return Ok(());
        }
        Err(StoreError::Conflict {
            key: key.to_owned(),
            found,
        })
    }

    fn put(&mut self, key: &str, value: Bytes, revision: Revision, lease: Option<&LeaseId>) {
        self.forget(key);
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(lease)) {
            lease.keys.insert(key.to_owned());
        }
        let held = Held {
            value,
            revision,
            lease: lease.cloned(),
        };
        self.total_bytes += held.value.len();
        let change = Change::Put(held.entry(key));
        self.keys.insert(key.to_owned(), held);
        self.remember(change, revision);
    }

    fn delete(&mut self, key: &str, revision: Revision) {
        self.forget(key);
        let change = Change::Deleted {
            key: key.to_owned(),
            revision,
        };
        self.remember(change, revision);
    }

    fn forget(&mut self, key: &str) {
        let Some(held) = self.keys.remove(key) else { return };
        self.total_bytes -= held.value.len();
        if let Some(lease) = held.lease.and_then(|lease| self.leases.get_mut(&lease)) {
            lease.keys.remove(key);
        }
    }

    fn remember(&mut self, change: Change, revision: Revision) {
        self.revision = revision;
        self.history_bytes += bytes_of(&change);
        self.history.push_back(change);
        while self.history.len() > HISTORY_CHANGES_MAX || self.history_bytes > HISTORY_BYTES_MAX {
            let Some(oldest) = self.history.pop_front() else {
                break;
            };
            self.history_bytes -= bytes_of(&oldest);
            self.history_after = oldest.revision();
        }
    }

    fn check_history(&self, after: Revision) -> Result<(), StoreError> {
        if after < self.history_after || after > self.revision {
            return Err(StoreError::Compacted);
        }
        Ok(())
    }
}

impl Held {
    fn entry(&self, key: &str) -> Entry {
        Entry {
            key: key.to_owned(),
            value: self.value.clone(),
            revision: self.revision,
        }
    }
}

fn bytes_of(change: &Change) -> usize {
    match change {
        Change::Put(entry) => entry.key.len() + entry.value.len(),
        Change::Deleted { key, .. } => key.len(),
    }
}

/// A watch's place in the history.
struct Cursor {
    newest: watch::Receiver<Revision>,
    state: Arc<Mutex<State>>,
    prefix: String,
    after: Revision,
    ready: VecDeque<Change>,
    ended: bool,
}

impl Cursor {
    async fn next(&mut self) -> Option<Result<Change, StoreError>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(change) = self.ready.pop_front() {
                return Some(Ok(change));
            }
            // Marked as seen before the history is read: a change in between wakes us at once.
            self.newest.borrow_and_update();
            match self.take() {
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                Ok(true) => {}
                Ok(false) => self.newest.changed().await.ok()?,
            }
        }
    }

    /// Takes the next changes from the history; whether there were any, of this prefix or not.
    fn take(&mut self) -> Result<bool, StoreError> {
        let state = lock(&self.state);
        state.check_history(self.after)?;
        let start = state
            .history
            .partition_point(|change| change.revision() <= self.after);
        let mut any = false;
        for change in state.history.range(start..).take(WATCH_BATCH_MAX) {
            any = true;
            self.after = change.revision();
            if change.key().starts_with(&self.prefix) {
                self.ready.push_back(change.clone());
            }
        }
        Ok(any)
    }
}

/// A panic elsewhere leaves the maps as they were: every change of them is complete before a lock is given back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
