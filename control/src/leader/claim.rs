//! What a control must show before it leads, and the mark that it puts on what is published.

use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;
use tokio_util::bytes::Bytes;
use weir_persist::{PersistError, Write};
use weir_store::{Entry, Expect, StoreError, protocol};

use super::candidate::StepError;
use crate::state::State;

/// Kind and name under which a storage keeps its own identity.
const KIND: &str = "weir-storage";
const NAME: &str = "identity";
/// Name of the record that every commit of a leader requires to be as it left it.
const FENCE: &str = "leader";
/// Attempts to mark the manifest while somebody else writes.
const ATTEMPTS_MAX: usize = 5;

/// What `<prefix>/weir/epoch` says: who has led last, with whose artifacts. It has no lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Epoch {
    epoch: u64,
    /// Identity of the storage.
    storage: String,
}

/// Why a control may not lead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Refused {
    /// The gateways that are published come from other artifacts.
    #[error(
        "what is published below `{prefix}` comes from another storage of artifacts ({theirs}, not {ours}); use that \
         storage, or another prefix, or remove the key `{key}` to let this control replace every gateway"
    )]
    OtherStorage {
        prefix: String,
        theirs: String,
        ours: String,
        key: String,
    },
}

fn key(state: &State) -> String {
    match state.config.prefix.trim_matches('/') {
        "" => "weir/epoch".to_owned(),
        prefix => format!("{prefix}/weir/epoch"),
    }
}

/// Whether this control has the artifacts of what is published.
pub(super) async fn check(state: &State) -> Result<Result<(), Refused>, StepError> {
    let key = key(state);
    let Some(entry) = state.store.get(&key).await? else {
        return Ok(Ok(()));
    };
    let last: Epoch = serde_json::from_slice(&entry.value).unwrap_or_default();
    let ours = storage(state).await?;
    if last.storage.is_empty() || last.storage == ours {
        return Ok(Ok(()));
    }
    Ok(Err(Refused::OtherStorage {
        prefix: state.config.prefix.clone(),
        theirs: last.storage,
        ours,
        key,
    }))
}

/// The identity of the storage, made when it is first asked for.
async fn storage(state: &State) -> Result<String, StepError> {
    let _guard = state.write_lock.lock().await;
    let known = state.persist.get(KIND, NAME).await?;
    if let Some(id) = known.and_then(|stored| stored.body["id"].as_str().map(str::to_owned)) {
        return Ok(id);
    }
    let id = uuid::Uuid::new_v4().to_string();
    let write = Write::Put {
        kind: KIND.to_owned(),
        name: NAME.to_owned(),
        body: json!({ "id": id }),
        expect: None,
    };
    state.persist.commit(vec![write], Vec::new()).await?;
    Ok(id)
}

/// What the fence of a shared storage says, beside what commits require of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Fence {
    /// Revision of the record, 0 before the first.
    #[serde(skip)]
    pub(super) revision: u64,
    /// Who has led last.
    pub(super) control: String,
    /// In which leadership.
    pub(super) epoch: u64,
}

/// The fence of a storage that several controls share; `None`: this control has it alone.
pub(super) async fn fence(state: &State) -> Result<Option<Fence>, StepError> {
    if state.persist.kind() == "sqlite" {
        return Ok(None);
    }
    let Some(stored) = state.persist.get(KIND, FENCE).await? else {
        return Ok(Some(Fence::default()));
    };
    let fence: Fence = serde_json::from_value(stored.body).unwrap_or_default();
    Ok(Some(Fence {
        revision: stored.revision,
        ..fence
    }))
}

/// Moves the fence on from how it was found: whatever the leader of before still commits is refused from now on. Fails if
/// another one has moved it meanwhile.
pub(super) async fn take_storage(state: &State, found: &Fence, epoch: u64) -> Result<(), StepError> {
    // What began under an earlier leadership of this control ends before.
    let _guard = state.write_lock.lock().await;
    let body = json!({ "control": state.control_id, "epoch": epoch, "run": uuid::Uuid::new_v4() });
    let write = Write::Put {
        kind: KIND.to_owned(),
        name: FENCE.to_owned(),
        body: body.clone(),
        expect: Some(found.revision),
    };
    state.persist.commit(vec![write], Vec::new()).await?;
    let stored = state.persist.get(KIND, FENCE).await?;
    let revision = stored
        .filter(|stored| stored.body == body)
        .map(|stored| stored.revision);
    let revision = revision.ok_or(StepError::Overtaken)?;
    state.leader.set_fence(Some(Write::Require {
        kind: KIND.to_owned(),
        name: FENCE.to_owned(),
        revision,
    }));
    Ok(())
}

/// Whether a commit was refused since another control leads.
pub(crate) fn is_fence(error: &PersistError) -> bool {
    matches!(error, PersistError::Conflict { kind, name, .. } if kind == KIND && name == FENCE)
}

/// Number of the last leadership that the store knows of.
pub(super) async fn last_epoch(state: &State) -> Result<u64, StepError> {
    let entry = state.store.get(&key(state)).await?;
    Ok(last(entry.as_ref()).epoch)
}

fn last(entry: Option<&Entry>) -> Epoch {
    entry
        .and_then(|entry| serde_json::from_slice(&entry.value).ok())
        .unwrap_or_default()
}

/// Draws the number of the next leadership. `known`: one that must be below it.
pub(super) async fn next_epoch(state: &State, known: u64) -> Result<u64, StepError> {
    let key = key(state);
    let entry = state.store.get(&key).await?;
    let last = last(entry.as_ref());
    let published = protocol::epoch(&*state.store, &state.config.prefix).await?;
    let next = Epoch {
        // A wiped store forgets; a manifest may remember.
        epoch: last
            .epoch
            .max(published.unwrap_or_default())
            .max(known)
            .saturating_add(1),
        storage: storage(state).await?,
    };
    let value = serde_json::to_vec(&next).expect("plain data with text keys always serialises");
    let expect = entry.map_or(Expect::Absent, |entry| Expect::At(entry.revision));
    state.store.put(&key, Bytes::from(value), expect, None).await?;
    Ok(next.epoch)
}

/// Marks the manifest with the epoch: whoever read it before can no longer write over it. It stays as it is otherwise.
pub(super) async fn mark(state: &State, epoch: u64) -> Result<(), StepError> {
    let mut attempts = 1;
    loop {
        match protocol::mark(&*state.store, &state.config.prefix, epoch).await {
            Err(protocol::ProtocolError::Store(StoreError::Conflict { .. })) if attempts < ATTEMPTS_MAX => {
                attempts += 1;
            }
            marked => return Ok(marked?),
        }
    }
}
