//! Publishes what gateways are to serve.
//!
//! **Job.** On each signal: load, lower, seal, compare with what is published, publish by compare-and-set.
//! It is a task of its own, so that a changed weight does not wait behind a slow driver.
//!
//! **Invariants.** An equal digest is not published again. Each generation is above the published one and
//! above all that agents acknowledge (an agent never goes back). A gateway that cannot be served is left out
//! and said, once per change. While the store is away the newest state is tried again at least once a second, and at once
//! when the election hears of the store; what the store holds is looked at as often, since it may have been wiped or set back.
//!
//! **Absent.** No decision about instances; see [`crate::reconcile`].

mod history;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use weir_artifact::{Artifact, Gateway};
use weir_model::{Digest, Generation, Snapshot, SnapshotProblem};
use weir_persist::{EventDraft, PersistError};
use weir_plan::LoweringProblem;
use weir_store::{
    Revision,
    protocol::{self, ProtocolError},
};

use crate::{
    reconcile::{load::Loader, settings, steps::step},
    state::{State, now_ms},
};

pub(crate) use status::Publication;

/// Without a signal everything is compared this often.
const REFRESH: Duration = Duration::from_secs(5);
/// Longest time between two looks where the manifest is, in a store that others reach.
const LOOK: Duration = Duration::from_secs(1);
/// First wait after a failure; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What went wrong with a publication.
#[derive(Debug, Error)]
enum PublishError {
    #[error("what is stored could not be loaded")]
    Load(#[source] PersistError),
    #[error("the store did not take the snapshot")]
    Store(#[source] ProtocolError),
    #[error("an event could not be stored")]
    Event(#[source] PersistError),
    #[error("another control leads")]
    NotLeading,
}

/// Publishes until it is told to stop.
pub(crate) async fn run(state: Arc<State>, stop: CancellationToken) {
    let mut publisher = Publisher::new(&state);
    let mut signal = state.wake.listen();
    let mut back = state.leader.listen_for_the_store();
    let mut retry = RETRY_MIN;
    loop {
        let failed_for = match publisher.cycle().await {
            Ok(()) => {
                retry = RETRY_MIN;
                state.traffic.publication.set_error(None);
                None
            }
            Err(error) => {
                let error = crate::reconcile::chain(&error);
                if state.traffic.publication.set_error(Some(error.clone())) {
                    tracing::warn!(
                        error,
                        "the gateways' snapshot could not be published; trying again"
                    );
                }
                let wait = jittered(retry);
                retry = (retry * 2).min(RETRY_MAX);
                Some(wait)
            }
        };
        let rest = async {
            match failed_for {
                Some(wait) => sleep(wait).await,
                None => publisher.rest().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            // After a failure the wait holds also against signals: they do not bring the store back.
            () = signal.woken(), if failed_for.is_none() => {}
            () = back.woken() => {}
            () = rest => {}
        }
    }
}

/// Half of it to all of it: several controls and their tasks do not ask a store that comes back all at once.
fn jittered(wait: Duration) -> Duration {
    let part = RandomState::new().hash_one(()) % 512;
    wait - wait * u32::try_from(part).unwrap_or_default() / 1024
}

struct Publisher<'a> {
    state: &'a State,
    loader: Loader,
    /// Where the manifest is, when it is known to hold what `history` has as its newest.
    place: Option<Revision>,
    adopted: bool,
    /// What is published cannot be read whole, here or by an agent: everything is to be written anew.
    is_broken: bool,
    /// What was sealed last: the next one shares what is equal.
    before: Option<Snapshot>,
    /// When the published generation was last compared with those of the agents.
    compared: Option<Instant>,
    said: BTreeSet<(String, String)>,
    /// Published gateways by name, for the events.
    gateways: BTreeMap<String, Gateway>,
}

impl<'a> Publisher<'a> {
    fn new(state: &'a State) -> Self {
        Self {
            state,
            loader: Loader::default(),
            place: None,
            adopted: false,
            is_broken: false,
            before: None,
            compared: None,
            said: BTreeSet::new(),
            gateways: BTreeMap::new(),
        }
    }

    /// Waits until the manifest is elsewhere, or the store does not say where; [`REFRESH`] at most.
    async fn rest(&self) {
        let until = Instant::now() + REFRESH;
        // A store that this process has alone changes by its own hand only.
        if self.adopted && crate::leader::is_held(self.state) {
            while Instant::now() + LOOK < until {
                sleep(jittered(LOOK)).await;
                let place = protocol::place(&*self.state.store, &self.state.config.prefix).await;
                if !place.is_ok_and(|place| place == self.place) {
                    return;
                }
            }
        }
        sleep_until(until).await;
    }

    async fn cycle(&mut self) -> Result<(), PublishError> {
        if !crate::leader::may_act(self.state) {
            // What is published was not published by this control: it is read anew when this one leads.
            self.adopted = false;
            return Ok(());
        }
        let publication = &self.state.traffic.publication;
        // The number is drawn under the lock: a cycle with a higher number has seen every commit before.
        let guard = self.state.write_lock.lock().await;
        let cycle = publication.begin();
        let world = self
            .loader
            .routing(self.state)
            .await
            .map_err(PublishError::Load)?;
        drop(guard);
        let lowered = weir_plan::lower(&world.gateways, &world.deployments, &settings(self.state));
        let namespace = &*self.state.config.namespace;
        let (snapshot, refused) = match &self.before {
            Some(before) => Snapshot::sound_part_after(before, namespace, Generation(0), lowered.gateways),
            None => Snapshot::sound_part(namespace, Generation(0), lowered.gateways),
        };
        self.before = Some(snapshot.clone());
        self.say(&lowered.problems, &refused).await?;
        self.publish(snapshot, &world.gateways).await?;
        publication.complete(cycle);
        Ok(())
    }

    /// Publishes if that is something new, or if the store has lost it.
    async fn publish(&mut self, snapshot: Snapshot, gateways: &[Gateway]) -> Result<(), PublishError> {
        let (store, prefix) = (&*self.state.store, self.state.config.prefix.as_str());
        let publication = &self.state.traffic.publication;
        if !self.adopted {
            self.adopt().await?;
        }
        let published = match protocol::manifest(store, prefix).await {
            Ok(published) => published,
            // It is replaced: nobody can read it.
            Err(error) if error.is_content() => {
                tracing::warn!(%error, "the published manifest cannot be read and is replaced");
                let entry = store.get(&protocol::manifest_key(prefix)).await;
                let entry = entry.map_err(|error| PublishError::Store(error.into()))?;
                return self
                    .write(snapshot, None, entry.map(|entry| entry.revision), gateways)
                    .await;
            }
            Err(error) => return Err(PublishError::Store(error)),
        };
        let place = published.as_ref().map(|(_, revision)| *revision);
        if let Some((manifest, _)) = &published
            && manifest.digest == snapshot.digest()
            && !self.is_broken
            && !self.is_behind(manifest.generation, manifest.digest).await?
        {
            publication.remember(&snapshot.with_generation(manifest.generation), now_ms());
            self.place = place;
            return self.announce(gateways).await;
        }
        let generation = published.map(|(manifest, _)| manifest.generation);
        self.write(snapshot, generation, place, gateways).await
    }

    /// Whether an agent serves something newer, and so takes nothing of what is published: the store was wiped, and this
    /// control knew nothing of before. Agents are asked once in [`REFRESH`].
    async fn is_behind(&mut self, generation: Generation, digest: Digest) -> Result<bool, PublishError> {
        // What was read of them lately costs nothing; who reads it wakes this when it says so.
        if self.state.traffic.is_ahead(generation, digest) {
            return Ok(true);
        }
        let now = Instant::now();
        if self.compared.is_some_and(|compared| now - compared < REFRESH) {
            return Ok(false);
        }
        let agents = protocol::agents(&*self.state.store, &self.state.config.prefix)
            .await
            .map_err(PublishError::Store)?;
        self.compared = Some(now);
        Ok(agents
            .iter()
            .any(|agent| agent.generation > generation && agent.digest != Some(digest)))
    }

    async fn write(
        &mut self,
        snapshot: Snapshot,
        published: Option<Generation>,
        place: Option<Revision>,
        gateways: &[Gateway],
    ) -> Result<(), PublishError> {
        // After the manifest's place was read and before it is written: whoever leads meanwhile marks the manifest first.
        if !self.state.leader.leads() {
            return Err(PublishError::NotLeading);
        }
        let (store, prefix) = (&*self.state.store, self.state.config.prefix.as_str());
        let publication = &self.state.traffic.publication;
        let agents = protocol::agents(store, prefix)
            .await
            .map_err(PublishError::Store)?;
        let taken = agents
            .iter()
            .flat_map(|agent| [agent.generation, agent.seen])
            .chain(published)
            .max()
            .unwrap_or_default();
        let generation = publication.next_generation(taken, snapshot.digest());
        let snapshot = snapshot.with_generation(generation);
        // Before it is written: from the first moment an agent may serve it, it is known what it holds.
        publication.offer(&snapshot);
        step("before a publication");
        // An agent that can use nothing of what is published may have met a damaged chunk.
        let is_useless = agents
            .iter()
            .any(|agent| agent.refused.iter().any(|refusal| refusal.gateway.is_empty()));
        let outcome = if self.is_broken || is_useless {
            protocol::publish_anew(store, prefix, &snapshot, place).await
        } else {
            protocol::publish(store, prefix, &snapshot, place).await
        };
        match outcome {
            Ok(revision) => {
                self.is_broken = false;
                step("after a publication");
                self.place = Some(revision);
                publication.remember(&snapshot, now_ms());
                tracing::info!(
                    generation = %snapshot.generation(),
                    gateways = snapshot.gateways().len(),
                    "published the gateways' snapshot"
                );
                self.announce(gateways).await
            }
            Err(error) => Err(PublishError::Store(error)),
        }
    }

    /// After a start: what is published already is known, so that it is not said to be new.
    async fn adopt(&mut self) -> Result<(), PublishError> {
        let (store, prefix) = (&*self.state.store, self.state.config.prefix.as_str());
        let published = match protocol::read(store, prefix).await {
            Ok(published) => published,
            Err(error) if error.is_content() || matches!(error, ProtocolError::Chunk { .. }) => {
                tracing::warn!(%error, "what is published cannot be read whole and is written anew");
                self.is_broken = true;
                None
            }
            Err(error) => return Err(PublishError::Store(error)),
        };
        let reading = published.and_then(|published| weir_model::wire::v1::read(&published.bytes).ok());
        if let Some(reading) = reading {
            self.state
                .traffic
                .publication
                .remember(&reading.snapshot, now_ms());
            for gateway in reading.snapshot.gateways() {
                self.gateways.insert(gateway.name.to_string(), Gateway::default());
            }
        }
        self.adopted = true;
        Ok(())
    }

    /// Events for gateways that came or went with the published snapshot.
    async fn announce(&mut self, gateways: &[Gateway]) -> Result<(), PublishError> {
        let names = self.state.traffic.publication.gateways();
        let event = |gateway: &Gateway, name: &str, what: &str| EventDraft {
            tags: vec![format!("gateways:{name}"), what.to_owned()],
            value: weir_artifact::write::value(&Artifact::Gateway(gateway.clone())),
            timestamp_ms: now_ms(),
            kind: "event".to_owned(),
        };
        let mut events = Vec::new();
        for (name, gateway) in &self.gateways {
            if !names.contains(name) {
                let mut gateway = gateway.clone();
                gateway.name.clone_from(name);
                events.push(event(&gateway, name, "undeployed"));
            }
        }
        let mut now = BTreeMap::new();
        for gateway in gateways.iter().filter(|gateway| names.contains(&gateway.name)) {
            let mut gateway = gateway.clone();
            gateway.deployed = true;
            if !self.gateways.contains_key(&gateway.name) {
                events.push(event(&gateway, &gateway.name, "deployed"));
            }
            now.insert(gateway.name.clone(), gateway);
        }
        if !events.is_empty() {
            self.state
                .commit(Vec::new(), events)
                .await
                .map_err(PublishError::Event)?;
        }
        self.gateways = now;
        Ok(())
    }

    /// Says each problem when it appears, not while it stays.
    async fn say(
        &mut self,
        problems: &[LoweringProblem],
        refused: &[SnapshotProblem],
    ) -> Result<(), PublishError> {
        let lowering = problems
            .iter()
            .map(|problem| (problem.gateway.clone(), problem.message.clone()));
        let sealing = refused.iter().map(|problem| {
            let text = format!("the gateway is not published: {}", problem.kind);
            (problem.gateway.to_string(), text)
        });
        let now: BTreeSet<(String, String)> = lowering.chain(sealing).collect();
        let events: Vec<EventDraft> = now
            .difference(&self.said)
            .map(|(gateway, message)| {
                tracing::warn!(gateway, message, "a gateway cannot be served as written");
                EventDraft {
                    tags: vec![
                        "info".to_owned(),
                        "gateway_publisher:ERROR".to_owned(),
                        format!("gateways:{gateway}"),
                    ],
                    value: message.as_str().into(),
                    timestamp_ms: now_ms(),
                    kind: "event".to_owned(),
                }
            })
            .collect();
        if !events.is_empty() {
            self.state
                .commit(Vec::new(), events)
                .await
                .map_err(PublishError::Event)?;
        }
        self.state.traffic.publication.set_problems(now.clone());
        self.said = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
