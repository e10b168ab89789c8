//! The tokens that there are: made, listed, revoked, recognised.
//!
//! **Invariants.** Records are in storage under the kind [`KIND`]; what this process holds of them is at most
//! [`FRESH`] old, so that another control on the same storage revokes here, too; own changes are seen at once.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;
use weir_persist::{EventDraft, Page, PersistError, Write};

use super::{
    Principal, Role,
    token::{Hash, Token},
};
use crate::state::{State, now_ms};

/// Kind of the records in storage.
const KIND: &str = "tokens";
/// Most tokens.
const TOKENS_MAX: usize = 1_000;
/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest time for which a token of another control's making or revoking goes unnoticed.
const FRESH: Duration = Duration::from_secs(2);

/// What is known of a token. Its text is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    /// Public part of the token.
    #[serde(skip)]
    pub(crate) id: String,
    /// Whose it is; unique. The name of the principal.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: Role,
    /// Where; `*`: in every namespace.
    pub(crate) namespace: String,
    /// SHA-256 of the token in hexadecimal digits.
    hash: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub(crate) created_at_ms: u64,
    /// Who made it.
    pub(crate) created_by: String,
    /// When it ends, milliseconds since the Unix epoch; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at_ms: Option<u64>,
}

impl TokenRecord {
    fn is_over(&self) -> bool {
        self.expires_at_ms.is_some_and(|end| end <= now_ms())
    }

    /// Whether it can make other tokens in a namespace.
    pub(crate) fn is_admin_of(&self, namespace: &str) -> bool {
        self.role == Role::Admin && !self.is_over() && (self.namespace == "*" || self.namespace == namespace)
    }
}

/// A token that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    /// 1 to 64 letters, digits, `.`, `_`, `-`, `@`.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: Role,
    /// Where; `*`: in every namespace.
    pub(crate) namespace: String,
    /// How long; `None`: for ever.
    pub(crate) lifetime: Option<Duration>,
}

/// Why a token was not made.
#[derive(Debug, Error)]
pub(crate) enum CreateError {
    /// The name cannot be one.
    #[error(
        "a token's name has 1 to {NAME_BYTES_MAX} letters, digits or any of `.`, `_`, `-`, `@`; `{0}` does not"
    )]
    Name(String),
    /// There is one of this name.
    #[error("there is a token `{0}` already; revoke it first, or take another name")]
    Exists(String),
    /// There are too many.
    #[error("there are {TOKENS_MAX} tokens already")]
    TooMany,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// The storage failed.
    #[error(transparent)]
    Persist(#[from] PersistError),
}

/// Why a token is not accepted.
#[derive(Debug, Error)]
pub(crate) enum Denied {
    /// It is not one of ours, revoked, or its time is over. Which of them is not told.
    #[error("The token is not known, was revoked, or has expired.")]
    Unknown,
    /// It is for another namespace.
    #[error("The token is for namespace `{0}`.")]
    Namespace(String),
    /// The storage failed.
    #[error(transparent)]
    Persist(#[from] PersistError),
}

/// Everything of authentication that this process holds.
#[derive(Debug, Default)]
pub(crate) struct Access {
    known: RwLock<Known>,
    /// Counts own changes, so that a reading that began before one is not kept.
    changes: AtomicU64,
    /// Serialises making and revoking.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    read_at: Option<Instant>,
    by_id: Arc<HashMap<String, TokenRecord>>,
}

impl Access {
    /// Whose this token is.
    pub(crate) async fn authenticate(&self, state: &State, text: &str) -> Result<Principal, Denied> {
        let token = Token::read(text).ok_or(Denied::Unknown)?;
        let known = self.known(state).await?;
        let record = known.get(token.id()).ok_or(Denied::Unknown)?;
        let kept = Hash::read(&record.hash).ok_or(Denied::Unknown)?;
        if !kept.is(&token.hash()) || record.is_over() {
            return Err(Denied::Unknown);
        }
        if record.namespace != "*" && record.namespace != state.config.namespace {
            return Err(Denied::Namespace(record.namespace.clone()));
        }
        Ok(Principal {
            name: record.name.clone(),
            role: record.role,
            namespace: record.namespace.clone(),
        })
    }

    /// Every token, in order of names.
    pub(crate) async fn list(&self, state: &State) -> Result<Vec<TokenRecord>, PersistError> {
        let known = self.read(state).await?;
        let mut all: Vec<TokenRecord> = known.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Makes one. `by`: who asks for it.
    pub(crate) async fn create(
        &self,
        state: &State,
        asked: NewToken,
        by: &str,
    ) -> Result<(Token, TokenRecord), CreateError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
        if asked.name.is_empty() || asked.name.len() > NAME_BYTES_MAX || !asked.name.bytes().all(allowed) {
            return Err(CreateError::Name(
                asked.name.chars().take(NAME_BYTES_MAX).collect(),
            ));
        }
        let _one_at_a_time = self.writing.lock().await;
        let known = self.read(state).await?;
        if known.values().any(|record| record.name == asked.name) {
            return Err(CreateError::Exists(asked.name));
        }
        if known.len() >= TOKENS_MAX {
            return Err(CreateError::TooMany);
        }
        let token = Token::random().map_err(CreateError::Random)?;
        let now = now_ms();
        let record = TokenRecord {
            id: token.id().to_owned(),
            name: asked.name,
            role: asked.role,
            namespace: asked.namespace,
            hash: token.hash().to_text(),
            created_at_ms: now,
            created_by: by.to_owned(),
            expires_at_ms: asked
                .lifetime
                .map(|lifetime| now.saturating_add(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX))),
        };
        let write = Write::Put {
            kind: KIND.to_owned(),
            name: record.id.clone(),
            body: serde_json::to_value(&record).map_err(|error| PersistError::Corrupt(error.to_string()))?,
            expect: Some(0),
        };
        state
            .commit(vec![write], vec![told(&record, "create", by)])
            .await?;
        self.forget();
        Ok((token, record))
    }

    /// Ends one, named by its name or id; `None` if there is none.
    pub(crate) async fn revoke(
        &self,
        state: &State,
        which: &str,
        by: &str,
    ) -> Result<Option<TokenRecord>, PersistError> {
        let _one_at_a_time = self.writing.lock().await;
        let known = self.read(state).await?;
        let found = known
            .values()
            .find(|record| record.name == which)
            .or_else(|| known.get(which));
        let Some(record) = found else {
            return Ok(None);
        };
        let write = Write::Delete {
            kind: KIND.to_owned(),
            name: record.id.clone(),
        };
        state
            .commit(vec![write], vec![told(record, "delete", by)])
            .await?;
        self.forget();
        Ok(Some(record.clone()))
    }

    fn forget(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.known.write().unwrap_or_else(PoisonError::into_inner).read_at = None;
    }

    /// The tokens as they were at most [`FRESH`] ago.
    async fn known(&self, state: &State) -> Result<Arc<HashMap<String, TokenRecord>>, PersistError> {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.read_at.is_some_and(|at| at.elapsed() < FRESH) {
                return Ok(Arc::clone(&known.by_id));
            }
        }
        self.read(state).await
    }

    /// The tokens as they are.
    async fn read(&self, state: &State) -> Result<Arc<HashMap<String, TokenRecord>>, PersistError> {
        let (changes, read_at) = (self.changes.load(Ordering::SeqCst), Instant::now());
        let (stored, _) = state.persist.list(KIND, Page::ALL).await?;
        let mut by_id = HashMap::with_capacity(stored.len());
        for stored in stored {
            let mut record: TokenRecord = serde_json::from_value(stored.body)
                .map_err(|error| PersistError::Corrupt(format!("token `{}`: {error}", stored.name)))?;
            record.id.clone_from(&stored.name);
            by_id.insert(stored.name, record);
        }
        let by_id = Arc::new(by_id);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if self.changes.load(Ordering::SeqCst) == changes {
            *known = Known {
                read_at: Some(read_at),
                by_id: Arc::clone(&by_id),
            };
        }
        Ok(by_id)
    }
}

/// The event of a token that was made or revoked; nothing of the token itself is in it.
fn told(record: &TokenRecord, what: &str, by: &str) -> EventDraft {
    EventDraft {
        tags: vec![format!("{KIND}:{}", record.name), format!("archive:{what}")],
        value: json!({
            "who": by,
            "name": record.name,
            "role": record.role,
            "namespace": record.namespace,
        }),
        timestamp_ms: now_ms(),
        kind: "archive".to_owned(),
    }
}
