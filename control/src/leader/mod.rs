//! Which of several controls acts.
//!
//! **Job.** One control at a time holds `<prefix>/weir/leader` under a lease; it publishes and runs instances, the
//! others answer what they are asked and take no changes. When it dies its lease ends and another takes over.
//!
//! **Invariants.**
//! - Leadership ends by the holder's own clock before the lease ends in the store ([`MARGIN`]), so a control that was
//!   frozen finds itself without it when it wakes.
//! - A publication checks leadership after it has read where the manifest is, and writes only over that; whoever takes
//!   over first marks the manifest with its epoch. So a write that was under way when its writer froze meets another
//!   manifest and fails.
//! - A control whose artifacts are not those that were published does not lead: it would replace every gateway by what
//!   it happens to have ([`claim::Refused`]).
//! - While the store is away nobody can take over, and nothing can be published; changes are still taken then.
//!
//! **Absent.** Consensus: that is the store's. Stores that one process owns (embedded, file, memory) need no election.

mod claim;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::{bytes::Bytes, sync::CancellationToken};
use weir_store::{Expect, LeaseId, Revision, StoreError, protocol::ProtocolError};

use crate::{
    reconcile::chain,
    state::{State, now_ms},
};

/// How long the store waits for a sign of life.
const TTL: Duration = Duration::from_secs(5);
/// Leadership ends this much before the lease.
const MARGIN: Duration = Duration::from_secs(1);
/// Between two signs of life.
const RENEWAL: Duration = Duration::from_millis(1_250);
/// Between two looks whether the leader is gone.
const LOOK: Duration = Duration::from_millis(500);
/// Longest wait for an answer of the store.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The same for somebody who waits for us.
const CONFIRM_MAX: Duration = Duration::from_millis(700);

/// What the leader's key says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Who: an id that a restart keeps.
    pub(crate) control: String,
    /// Where its API is: `http://127.0.0.1:8080`.
    pub(crate) address: String,
    /// Number of its leadership.
    pub(crate) epoch: u64,
    /// Since when, milliseconds since the Unix epoch.
    pub(crate) since_ms: u64,
}

/// What this control is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// There is no election.
    Alone,
    /// It leads, until then at least.
    Leads { epoch: u64, until: Instant },
    /// Another leads, or nobody does yet.
    Follows {
        leader: Option<Record>,
        /// Why it does not lead itself, if it could.
        reason: Option<String>,
    },
}

/// What this control is at the moment, for everybody who acts.
#[derive(Debug)]
pub(crate) struct Leader(Mutex<Standing>);

impl Leader {
    /// Without an election.
    pub(crate) fn alone() -> Self {
        Self(Mutex::new(Standing::Alone))
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Every change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, standing: Standing) {
        *self.standing() = standing;
    }

    /// Whether this control may publish now.
    pub(crate) fn leads(&self) -> bool {
        match &*self.standing() {
            Standing::Alone => true,
            Standing::Leads { until, .. } => Instant::now() < *until,
            Standing::Follows { .. } => false,
        }
    }

    /// Number of its leadership, if it leads after an election.
    #[cfg(test)]
    fn epoch(&self) -> Option<u64> {
        match &*self.standing() {
            Standing::Leads { epoch, until } if Instant::now() < *until => Some(*epoch),
            _ => None,
        }
    }

    /// The epoch in which it led, if it could not hear from the store since its time was over.
    fn unsure(&self) -> Option<u64> {
        match &*self.standing() {
            Standing::Leads { epoch, until } if *until <= Instant::now() => Some(*epoch),
            _ => None,
        }
    }

    /// For `/info`.
    pub(crate) fn show(&self) -> serde_json::Value {
        match &*self.standing() {
            Standing::Alone => serde_json::json!({ "leads": true, "election": false }),
            Standing::Leads { epoch, until } => serde_json::json!({
                "leads": Instant::now() < *until,
                "election": true,
                "epoch": epoch,
            }),
            Standing::Follows { leader, reason } => serde_json::json!({
                "leads": false,
                "election": true,
                "leader": leader,
                "reason": reason,
            }),
        }
    }
}

/// Whether this control may take a change.
///
/// # Errors
/// Who may, for people.
pub(crate) async fn may_change(state: &State) -> Result<(), String> {
    if state.leader.leads() {
        return Ok(());
    }
    if let Some(epoch) = state.leader.unsure() {
        // It was frozen, or the store is away. Nobody else leads in the latter case, as far as anybody can know.
        let key = key(state);
        let Ok(Ok(entry)) = timeout(CONFIRM_MAX, state.store.get(&key)).await else {
            return Ok(());
        };
        let leader: Option<Record> = entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        if leader.as_ref().is_some_and(|leader| leader.epoch == epoch) {
            return Ok(());
        }
        state.leader.set(Standing::Follows { leader, reason: None });
    }
    Err(match &*state.leader.standing() {
        Standing::Follows {
            leader: Some(leader), ..
        } => format!("Another control leads: ask {}.", leader.address),
        Standing::Follows {
            reason: Some(reason), ..
        } => format!("This control does not lead: {reason}."),
        _ => "No control leads yet; try again in a moment.".to_owned(),
    })
}

/// Whether this control may run and stop instances. While the store is away it may if its storage is its own: nobody
/// else can know of them then.
pub(crate) fn may_act(state: &State) -> bool {
    let is_shared = !matches!(state.persist.kind(), "sqlite" | "memory");
    state.leader.leads() || (state.leader.unsure().is_some() && !is_shared)
}

/// Starts the election, if there is one. `address`: where this control's API is. The task ends soon after `stop` is
/// cancelled and gives the leadership up then.
pub(crate) fn start(state: Arc<State>, address: String, stop: CancellationToken) -> JoinHandle<()> {
    let is_held = is_held(&state);
    if is_held {
        // At once: what is started after this must not act before the election is decided.
        state.leader.set(Standing::Follows {
            leader: None,
            reason: None,
        });
    }
    tokio::spawn(async move {
        if !is_held {
            return;
        }
        let mut candidate = Candidate {
            state: &state,
            address,
            held: None,
            is_told: false,
        };
        let running = async {
            loop {
                let pause = match candidate.step().await {
                    Ok(pause) => pause,
                    Err(error) => candidate.failed(&error),
                };
                sleep(pause).await;
            }
        };
        stop.run_until_cancelled(running).await;
        candidate.resign().await;
    })
}

/// Whether there is an election.
pub(crate) fn is_held(state: &State) -> bool {
    let capabilities = state.store.capabilities();
    let is_owned = matches!(state.store.kind(), "embedded" | "memory" | "file");
    capabilities.leases && capabilities.writable && (state.config.election || !is_owned)
}

fn key(state: &State) -> String {
    match state.config.prefix.trim_matches('/') {
        "" => "weir/leader".to_owned(),
        prefix => format!("{prefix}/weir/leader"),
    }
}

/// What went wrong with a step.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("what is stored could not be read")]
    Persist(#[from] weir_persist::PersistError),
    #[error("the store did not answer in time")]
    Late,
}

#[derive(Debug)]
struct Held {
    lease: LeaseId,
    epoch: u64,
}

struct Candidate<'a> {
    state: &'a Arc<State>,
    address: String,
    held: Option<Held>,
    /// The failure that lasts was logged.
    is_told: bool,
}

impl Candidate<'_> {
    /// Renews, or looks whether it can lead. Gives the pause before the next step.
    async fn step(&mut self) -> Result<Duration, StepError> {
        let pause = match &self.held {
            Some(_) => self.renew().await?,
            None => self.stand().await?,
        };
        self.is_told = false;
        Ok(pause)
    }

    fn failed(&mut self, error: &StepError) -> Duration {
        if matches!(error, StepError::Store(StoreError::LeaseLost)) {
            tracing::warn!("the leadership was lost");
            self.held = None;
            self.state.leader.set(Standing::Follows {
                leader: None,
                reason: None,
            });
            return Duration::ZERO;
        }
        if !std::mem::replace(&mut self.is_told, true) {
            let error = chain(error);
            tracing::warn!(error, "the store does not say who leads; trying again");
        }
        LOOK
    }

    async fn renew(&mut self) -> Result<Duration, StepError> {
        let Some(Held { lease, epoch }) = &self.held else {
            return Ok(Duration::ZERO);
        };
        let begun = Instant::now();
        asked(self.state.store.renew(lease)).await?;
        // A wiped store may have kept the lease and lost the key.
        let entry = asked(self.state.store.get(&key(self.state))).await?;
        let record: Option<Record> = entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        if !record.is_some_and(|record| record.epoch == *epoch && record.address == self.address) {
            return Err(StoreError::LeaseLost.into());
        }
        self.state.leader.set(Standing::Leads {
            epoch: *epoch,
            until: begun + TTL - MARGIN,
        });
        Ok(RENEWAL)
    }

    async fn stand(&mut self) -> Result<Duration, StepError> {
        let state = self.state;
        let (store, key) = (&*state.store, key(state));
        let follows = |leader, reason| state.leader.set(Standing::Follows { leader, reason });
        let expect = match asked(store.get(&key)).await? {
            None => Expect::Absent,
            Some(entry) => match serde_json::from_slice::<Record>(&entry.value) {
                // Its own, of a run that ended without leave. A copy of its folder elsewhere is another.
                Ok(record) if record.control == state.control_id && record.address == self.address => {
                    Expect::At(entry.revision)
                }
                Ok(record) => {
                    follows(Some(record), None);
                    return Ok(LOOK);
                }
                Err(error) => {
                    follows(None, Some(format!("the key {key} cannot be read: {error}")));
                    return Ok(LOOK);
                }
            },
        };
        if let Err(refused) = asked_of(claim::check(state)).await? {
            let reason = refused.to_string();
            if !std::mem::replace(&mut self.is_told, true) {
                tracing::error!(reason, "this control does not lead");
            }
            follows(None, Some(reason));
            return Ok(TTL);
        }
        let begun = Instant::now();
        let lease = asked(store.grant(TTL)).await?;
        match self.take(&key, expect, &lease).await {
            Ok(epoch) => {
                tracing::info!(epoch, "this control leads");
                self.held = Some(Held { lease, epoch });
                state.leader.set(Standing::Leads {
                    epoch,
                    until: begun + TTL - MARGIN,
                });
                state.wake.signal();
                Ok(RENEWAL)
            }
            Err(error) => {
                // Without it the lease ends by itself.
                let _ = asked(store.revoke(&lease)).await;
                match error {
                    StepError::Store(StoreError::Conflict { .. }) => Ok(LOOK),
                    error => Err(error),
                }
            }
        }
    }

    /// Takes the key, then the manifest. Gives the epoch.
    async fn take(&self, key: &str, expect: Expect, lease: &LeaseId) -> Result<u64, StepError> {
        let epoch = asked_of(claim::next_epoch(self.state)).await?;
        let record = Record {
            control: self.state.control_id.clone(),
            address: self.address.clone(),
            epoch,
            since_ms: now_ms(),
        };
        let value = serde_json::to_vec(&record).expect("plain data with text keys always serialises");
        let _: Revision = asked(self.state.store.put(key, Bytes::from(value), expect, Some(lease))).await?;
        asked_of(claim::mark(self.state, epoch)).await?;
        Ok(epoch)
    }

    async fn resign(&mut self) {
        self.state.leader.set(Standing::Follows {
            leader: None,
            reason: Some("it is ending".to_owned()),
        });
        if let Some(held) = self.held.take() {
            let _ = asked(self.state.store.revoke(&held.lease)).await;
        }
    }
}

async fn asked<T>(asking: impl Future<Output = Result<T, StoreError>>) -> Result<T, StepError> {
    match timeout(ANSWER_MAX, asking).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StepError::Late),
    }
}

async fn asked_of<T>(asking: impl Future<Output = Result<T, StepError>>) -> Result<T, StepError> {
    timeout(ANSWER_MAX, asking).await.map_err(|_| StepError::Late)?
}

/// The identity of this control: a restart keeps it, so that it need not wait for its own lease to end. Without a folder
/// that can be written it is made up.
pub(crate) fn identity(data_dir: &std::path::Path) -> String {
    let path = data_dir.join("control-id");
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Ok(id) = text.trim().parse::<uuid::Uuid>()
    {
        return id.to_string();
    }
    let id = uuid::Uuid::new_v4().to_string();
    if let Err(error) = std::fs::write(&path, &id) {
        tracing::debug!(%error, "the identity of this control is for this run alone");
    }
    id
}

#[cfg(test)]
mod tests;
