//! Which of several controls acts.
//!
//! **Job.** One control at a time holds `<prefix>/weir/leader` under a lease; it publishes and runs instances, the
//! others answer what they are asked and take no changes. When it dies its lease ends and another takes over.
//!
//! **Invariants.**
//! - Leadership ends by the holder's own clock before the lease ends in the store ([`MARGIN`]), so a control that was
//!   frozen finds itself without it when it wakes.
//! - Where the store ends leases too late, the key itself is the sign of life ([`sign`]), with the same times.
//! - A publication checks leadership after it has read where the manifest is, and writes only over that; whoever takes
//!   over first marks the manifest with its epoch. So a write that was under way when its writer froze meets another
//!   manifest and fails.
//! - A control whose artifacts are not those that were published does not lead: it would replace every gateway by what
//!   it happens to have ([`claim::Refused`]).
//! - A storage that several controls share is fenced as well: whoever takes over changes a record in it that every commit
//!   of a leader requires to be as it left it ([`claim::fence`]). It also tells a store that was wiped or set back: there who
//!   led last leads on, and others wait as long as it may take itself for the leader.
//! - Who leads and is refused by that record gives the leadership up and stands again: the storage may have been set back.
//! - Who takes over reads the dynamic settings before it acts.
//! - While the store is away nobody can take over, and nothing can be published; changes are still taken then.
//!
//! **Absent.** Consensus: that is the store's. Stores that one process owns (embedded, file, memory) need no election.

mod candidate;
mod claim;
mod sign;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::{bytes::Bytes, sync::CancellationToken};
use weir_persist::{PersistError, Write};

use self::candidate::Candidate;
use crate::state::{Listener, State, Wake};

pub(crate) use self::claim::is_fence;

/// How long the store waits for a sign of life.
const TTL: Duration = Duration::from_secs(5);
/// Leadership ends this much before the lease.
const MARGIN: Duration = Duration::from_secs(1);
/// Longest wait for an answer of the store while somebody waits for us.
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
    /// The key is not bound to a lease: its leader is gone when it has been the same for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_ms: Option<u64>,
    /// How often such a key was written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) beat: Option<u64>,
}

impl Record {
    fn of(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    fn bytes(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("plain data with text keys always serialises")
            .into()
    }
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
pub(crate) struct Leader {
    standing: Mutex<Standing>,
    /// What commits require of the storage, as of the last leadership; kept when that is over.
    fence: Mutex<Option<Write>>,
    /// The storage has refused what requires that. Changes while `fence` is locked.
    fenced: AtomicBool,
    /// The store answers again.
    back: Wake,
}

impl Leader {
    /// Without an election.
    pub(crate) fn alone() -> Self {
        Self {
            standing: Mutex::new(Standing::Alone),
            fence: Mutex::new(None),
            fenced: AtomicBool::new(false),
            back: Wake::default(),
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Every change is one assignment.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a commit of artifacts must require, so that nothing is written once another leads.
    pub(crate) fn fence(&self) -> Option<Write> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_fence(&self, fence: Option<Write>) {
        let mut held = self.fence.lock().unwrap_or_else(PoisonError::into_inner);
        *held = fence;
        self.fenced.store(false, Ordering::Relaxed);
    }

    /// Takes note that a commit failed. What an earlier leadership of this control required does not matter.
    pub(crate) fn refused(&self, error: &PersistError) {
        let PersistError::Conflict { expected, .. } = error else {
            return;
        };
        let held = self.fence.lock().unwrap_or_else(PoisonError::into_inner);
        if is_fence(error) && matches!(&*held, Some(Write::Require { revision, .. }) if revision == expected)
        {
            self.fenced.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the storage has refused a commit of the last leadership.
    fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Relaxed)
    }

    /// Is told when the store answers again after it did not.
    pub(crate) fn listen_for_the_store(&self) -> Listener {
        self.back.listen()
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
        let leader = entry.and_then(|entry| Record::of(&entry.value));
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
        let mut candidate = Candidate::new(&state, address);
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
