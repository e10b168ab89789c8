//! What the API, the reconcilers and the publisher share.
//!
//! **Job.** Holds the ports (storage, store, driver), writes with their events ([`State::commit`]), typed
//! reading of artifacts ([`Shelf`]), changes of several artifacts as one ([`Transaction`]), and the signal that
//! wakes the reconcilers.
//!
//! **Invariants.**
//! - Everything that reads artifacts, decides and writes holds [`State::write_lock`] from the first reading
//!   to the commit: a [`Transaction`] from its beginning to its end, the reconcilers for each run.
//! - Every commit of artifacts wakes the reconcilers after it is durable, and subscribers receive its events
//!   in the order of their ids.
//! - `archive` events come from the API alone (it knows the source text); operations and reconcilers commit
//!   their own events only (`synchronization`, `deployed`, ...).
//!
//! **Absent.** No cache: storage is the one truth.

mod intent;
mod shelf;
mod transaction;

use std::{
    ops::Deref,
    sync::{Arc, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::{Mutex, broadcast, watch};
use weir_artifact::{Artifact, Kind, read};
use weir_driver::ContainerDriver;
use weir_persist::{Event, EventDraft, PersistError, Persistence, Stored, Write};
use weir_store::Store;

use crate::{Config, configuration::Live, reconcile::steps::step};

pub(crate) use self::{
    intent::{digest, intent},
    shelf::Shelf,
    transaction::{Difference, INTENTS, Transaction},
};

/// Events that a slow subscriber may be behind before it loses some.
const SUBSCRIBER_EVENTS_MAX: usize = 1024;

/// What the API, the reconcilers and the publisher share.
#[derive(Debug)]
pub(crate) struct State {
    /// Settings.
    pub(crate) config: Config,
    /// Artifacts and events.
    pub(crate) persist: Arc<dyn Persistence>,
    /// Where snapshots are published.
    pub(crate) store: Arc<dyn Store>,
    /// What runs instances.
    pub(crate) driver: Arc<dyn ContainerDriver>,
    /// Wakes the reconcilers.
    pub(crate) wake: Wake,
    /// Every event, as it is appended.
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    /// Serialises read-modify-write of artifacts.
    pub(crate) write_lock: Mutex<()>,
    /// What traffic did, as the frames of the agents say.
    pub(crate) traffic: crate::traffic::Traffic,
    /// Tokens.
    pub(crate) access: crate::access::Access,
    /// Whether this control acts.
    pub(crate) leader: crate::leader::Leader,
    /// Identity of this control; a restart keeps it.
    pub(crate) control_id: String,
    /// Events that came to their end.
    pub(crate) removed: crate::event::retention::Removed,
    /// When control started, milliseconds since the Unix epoch.
    pub(crate) started_at_ms: u64,
    shelf: Shelf,
    live: RwLock<Arc<Live>>,
    /// Held from the commit to the last broadcast of its events, so that subscribers see ids ascend.
    order: Mutex<()>,
}

impl State {
    /// Puts the parts together.
    pub(crate) fn new(
        config: Config,
        persist: Arc<dyn Persistence>,
        driver: Arc<dyn ContainerDriver>,
    ) -> Self {
        let control_id = crate::leader::identity(&config.data_dir);
        Self {
            store: Arc::clone(&config.store),
            live: RwLock::new(Arc::new(Live::started(&config))),
            config,
            shelf: Shelf::new(Arc::clone(&persist)),
            persist,
            driver,
            wake: Wake::default(),
            events: broadcast::Sender::new(SUBSCRIBER_EVENTS_MAX),
            write_lock: Mutex::new(()),
            traffic: crate::traffic::Traffic::default(),
            access: crate::access::Access::default(),
            leader: crate::leader::Leader::alone(),
            control_id,
            removed: crate::event::retention::Removed::default(),
            started_at_ms: now_ms(),
            order: Mutex::new(()),
        }
    }

    /// Settings that can change while control runs, as they are now.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes them hold, from the next look at them on.
    pub(crate) fn set_live(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        self.wake.signal();
    }

    /// Writes all of this or nothing (artifacts only while no other control leads); then tells the subscribers, and wakes
    /// the reconcilers if an artifact was written. Answers the events as they were appended.
    pub(crate) async fn commit(
        &self,
        writes: Vec<Write>,
        events: Vec<EventDraft>,
    ) -> Result<Vec<Event>, PersistError> {
        let wakes = !writes.is_empty();
        let mut writes = writes;
        if wakes {
            writes.extend(self.leader.fence());
        }
        let order = self.order.lock().await;
        step("before a commit");
        let committed = self.persist.commit(writes, events).await;
        let events = committed.inspect_err(|error| self.leader.refused(error))?;
        step("after a commit");
        for event in &events {
            // Nobody listening is fine.
            let _ = self.events.send(Arc::new(event.clone()));
        }
        drop(order);
        if wakes {
            self.wake.signal();
        }
        Ok(events)
    }
}

/// Artifacts are read from what is stored.
impl Deref for State {
    type Target = Shelf;

    fn deref(&self) -> &Shelf {
        &self.shelf
    }
}

/// Tells every listener that something changed. Takes no arguments: who is woken looks at everything.
#[derive(Debug)]
pub(crate) struct Wake(watch::Sender<u64>);

impl Default for Wake {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Wake {
    /// Wakes every listener. Signals that arrive while a listener works are one signal to it.
    pub(crate) fn signal(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A listener that misses no signal from now on.
    pub(crate) fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// Waits for signals.
#[derive(Debug)]
pub(crate) struct Listener(watch::Receiver<u64>);

impl Listener {
    /// Returns when there was a signal since the last return. Safe to drop while it waits.
    pub(crate) async fn woken(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left who could signal.
            std::future::pending::<()>().await;
        }
    }
}

/// Name of a kind in paths and in storage.
pub(crate) const fn plural(kind: Kind) -> &'static str {
    kind.plural()
}

/// Name of an artifact.
pub(crate) fn name_of(artifact: &Artifact) -> &str {
    artifact.name()
}

/// Kind of an artifact.
pub(crate) const fn kind_of(artifact: &Artifact) -> Kind {
    artifact.kind()
}

/// The write that stores an artifact. `expect` as in [`Write::Put`].
pub(crate) fn put(artifact: &Artifact, expect: Option<u64>) -> Write {
    Write::Put {
        kind: plural(kind_of(artifact)).to_owned(),
        name: name_of(artifact).to_owned(),
        body: weir_artifact::write::value(artifact),
        expect,
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What is stored, as an artifact.
pub(crate) fn typed(kind: Kind, stored: &Stored) -> Result<Artifact, PersistError> {
    // What is stored was printed by `weir_artifact::write`, so it reads back.
    read::stored(kind, &stored.body).map_err(|problems| {
        PersistError::Corrupt(format!(
            "{} `{}` revision {}: {}",
            stored.kind,
            stored.name,
            stored.revision,
            crate::error::messages(&problems)
        ))
    })
}
