//! What the API, the reconcilers and the publisher share.
//!
//! **Job.** Holds the ports (storage, store, driver), writes with their events ([`State::commit`]), typed
//! reading of artifacts, and the signal that wakes the reconcilers.
//!
//! **Invariants.**
//! - Everything that reads artifacts, decides and writes holds [`State::write_lock`] from the first reading
//!   to the commit. The functions of `reconcile::operations` and the reconcilers take it themselves; the API
//!   takes it only around writes of its own, never while it calls an operation.
//! - Every commit of artifacts wakes the reconcilers after it is durable, and subscribers receive its events
//!   in the order of their ids.
//! - `archive` events come from the API alone (it knows the source text); operations and reconcilers commit
//!   their own events only (`synchronization`, `deployed`, ...).
//!
//! **Absent.** No cache: storage is the one truth.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::{Mutex, broadcast, watch};
use weir_artifact::{
    Artifact, Blueprint, Breed, Deployment, Gateway, Kind, NamedCondition, NamedScale, OrReference, read,
};
use weir_driver::ContainerDriver;
use weir_persist::{Event, EventDraft, Page, PersistError, Persistence, Stored, Write};
use weir_store::Store;

use crate::Config;

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
    /// When control started, milliseconds since the Unix epoch.
    pub(crate) started_at_ms: u64,
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
        Self {
            store: Arc::clone(&config.store),
            config,
            persist,
            driver,
            wake: Wake::default(),
            events: broadcast::Sender::new(SUBSCRIBER_EVENTS_MAX),
            write_lock: Mutex::new(()),
            traffic: crate::traffic::Traffic::default(),
            started_at_ms: now_ms(),
            order: Mutex::new(()),
        }
    }

    /// Writes all of this or nothing; then tells the subscribers, and wakes the reconcilers if an artifact
    /// was written. Answers the events as they were appended.
    pub(crate) async fn commit(
        &self,
        writes: Vec<Write>,
        events: Vec<EventDraft>,
    ) -> Result<Vec<Event>, PersistError> {
        let wakes = !writes.is_empty();
        let order = self.order.lock().await;
        let events = self.persist.commit(writes, events).await?;
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

    /// Reads one artifact of a kind.
    pub(crate) async fn artifact(&self, kind: Kind, name: &str) -> Result<Option<Artifact>, PersistError> {
        match self.persist.get(plural(kind), name).await? {
            Some(stored) => typed(kind, &stored).map(Some),
            None => Ok(None),
        }
    }

    /// Reads every artifact of a kind, in order of names.
    pub(crate) async fn artifacts(&self, kind: Kind) -> Result<Vec<Artifact>, PersistError> {
        let (stored, _) = self.persist.list(plural(kind), Page::ALL).await?;
        stored.iter().map(|stored| typed(kind, stored)).collect()
    }

    /// Reads a breed.
    pub(crate) async fn breed(&self, name: &str) -> Result<Option<Breed>, PersistError> {
        Ok(match self.artifact(Kind::Breed, name).await? {
            Some(Artifact::Breed(breed)) => Some(breed),
            _ => None,
        })
    }

    /// Reads a blueprint. Its inline breeds are as they are stored now (see [`State::refresh`]).
    pub(crate) async fn blueprint(&self, name: &str) -> Result<Option<Blueprint>, PersistError> {
        Ok(match self.artifact(Kind::Blueprint, name).await? {
            Some(Artifact::Blueprint(mut blueprint)) => {
                self.refresh(&mut blueprint).await?;
                Some(blueprint)
            }
            _ => None,
        })
    }

    /// Replaces the inline breeds of a stored blueprint by the breeds that have their names now; by
    /// references to them when those were removed (spec of the core behaviour §12).
    pub(crate) async fn refresh(&self, blueprint: &mut Blueprint) -> Result<(), PersistError> {
        for cluster in blueprint.clusters.values_mut() {
            for service in &mut cluster.services {
                if let OrReference::Inline(breed) = &service.breed {
                    service.breed = match self.breed(&breed.name).await? {
                        Some(breed) => OrReference::Inline(breed),
                        None => OrReference::Reference(breed.name.clone()),
                    };
                }
            }
        }
        Ok(())
    }

    /// Reads a scale.
    pub(crate) async fn scale(&self, name: &str) -> Result<Option<NamedScale>, PersistError> {
        Ok(match self.artifact(Kind::Scale, name).await? {
            Some(Artifact::Scale(scale)) => Some(scale),
            _ => None,
        })
    }

    /// Reads a condition.
    pub(crate) async fn condition(&self, name: &str) -> Result<Option<NamedCondition>, PersistError> {
        Ok(match self.artifact(Kind::Condition, name).await? {
            Some(Artifact::Condition(condition)) => Some(condition),
            _ => None,
        })
    }

    /// Reads a gateway as it is stored (`reconcile::operations::gateway_view` shows it as the API does).
    pub(crate) async fn gateway(&self, name: &str) -> Result<Option<Gateway>, PersistError> {
        Ok(match self.artifact(Kind::Gateway, name).await? {
            Some(Artifact::Gateway(gateway)) => Some(gateway),
            _ => None,
        })
    }

    /// Reads every gateway as it is stored, in order of names.
    pub(crate) async fn gateways(&self) -> Result<Vec<Gateway>, PersistError> {
        let all = self.artifacts(Kind::Gateway).await?;
        Ok(all
            .into_iter()
            .filter_map(|artifact| match artifact {
                Artifact::Gateway(gateway) => Some(gateway),
                _ => None,
            })
            .collect())
    }

    /// Reads a deployment.
    pub(crate) async fn deployment(&self, name: &str) -> Result<Option<Deployment>, PersistError> {
        Ok(match self.artifact(Kind::Deployment, name).await? {
            Some(Artifact::Deployment(deployment)) => Some(deployment),
            _ => None,
        })
    }

    /// Reads every deployment, in order of names.
    pub(crate) async fn deployments(&self) -> Result<Vec<Deployment>, PersistError> {
        let all = self.artifacts(Kind::Deployment).await?;
        Ok(all
            .into_iter()
            .filter_map(|artifact| match artifact {
                Artifact::Deployment(deployment) => Some(deployment),
                _ => None,
            })
            .collect())
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
    match kind {
        Kind::Breed => "breeds",
        Kind::Blueprint => "blueprints",
        Kind::Scale => "scales",
        Kind::Condition => "conditions",
        Kind::Gateway => "gateways",
        Kind::Deployment => "deployments",
    }
}

/// Name of an artifact.
pub(crate) fn name_of(artifact: &Artifact) -> &str {
    match artifact {
        Artifact::Breed(breed) => &breed.name,
        Artifact::Blueprint(blueprint) => &blueprint.name,
        Artifact::Scale(scale) => &scale.name,
        Artifact::Condition(condition) => &condition.name,
        Artifact::Gateway(gateway) => &gateway.name,
        Artifact::Deployment(deployment) => &deployment.name,
    }
}

/// Kind of an artifact.
pub(crate) const fn kind_of(artifact: &Artifact) -> Kind {
    match artifact {
        Artifact::Breed(_) => Kind::Breed,
        Artifact::Blueprint(_) => Kind::Blueprint,
        Artifact::Scale(_) => Kind::Scale,
        Artifact::Condition(_) => Kind::Condition,
        Artifact::Gateway(_) => Kind::Gateway,
        Artifact::Deployment(_) => Kind::Deployment,
    }
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
