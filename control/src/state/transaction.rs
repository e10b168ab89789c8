//! Changes of several artifacts as one.
//!
//! **Job.** Collects what is to be written and told; reading sees what was written before. At the end all of it
//! is committed, or nothing.
//!
//! **Invariants.** Holds the write lock from its beginning to its end, so that what was read is still true when it
//! is committed. Every artifact that differs afterwards is told by an event of type `change`: who, what, before,
//! after. A change that changes nothing is not told.

use std::ops::Deref;

use serde_json::{Value, json};
use tokio::sync::MutexGuard;
use weir_artifact::{Artifact, Kind};
use weir_persist::{EventDraft, PersistError, Write};

use super::{Shelf, State, digest, intent, now_ms};

/// Kind under which the wanted forms of deployments are kept: their own records also change with what runs, so
/// that their history is not what somebody wanted.
pub(crate) const INTENTS: &str = "deployment-intents";
/// Longest form of an artifact in an event, in bytes of JSON; of a longer one only its digest is told.
const TOLD_BYTES_MAX: usize = 64 * 1024;

/// Changes that are made as one.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    state: &'a State,
    shelf: Shelf,
    who: String,
    told: Vec<EventDraft>,
    _guard: MutexGuard<'a, ()>,
}

impl Deref for Transaction<'_> {
    type Target = Shelf;

    fn deref(&self) -> &Shelf {
        &self.shelf
    }
}

/// How an artifact differs after a transaction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// What was wanted; `None`: it was not there.
    pub(crate) before: Option<Value>,
    /// What is wanted; `None`: it is not there.
    pub(crate) after: Option<Value>,
}

impl<'a> Transaction<'a> {
    /// Waits for the lock. `who`: on whose behalf, for the events.
    pub(crate) async fn begin(state: &'a State, who: impl Into<String>) -> Self {
        Self {
            state,
            _guard: state.write_lock.lock().await,
            shelf: state.shelf.clone(),
            who: who.into(),
            told: Vec::new(),
        }
    }

    /// What everything shares.
    pub(crate) fn state(&self) -> &'a State {
        self.state
    }

    /// Stores an artifact.
    pub(crate) fn put(&mut self, artifact: &Artifact) {
        self.put_record(
            artifact.kind().plural(),
            artifact.name(),
            weir_artifact::write::value(artifact),
        );
    }

    /// Stores a record of any kind.
    pub(crate) fn put_record(&mut self, kind: &str, name: &str, body: Value) {
        let key = (kind.to_owned(), name.to_owned());
        self.shelf.pending.insert(key, Some(body));
    }

    /// Removes an artifact or a record.
    pub(crate) fn remove(&mut self, kind: &str, name: &str) {
        let key = (kind.to_owned(), name.to_owned());
        self.shelf.pending.insert(key, None);
    }

    /// Adds an event.
    pub(crate) fn tell(&mut self, event: EventDraft) {
        self.told.push(event);
    }

    /// Every artifact that was written, with what was wanted before and is wanted now; those of deployments whose
    /// gateways were written, too.
    pub(crate) async fn differences(&self) -> Result<Vec<Difference>, PersistError> {
        let mut touched: Vec<(Kind, &str)> = Vec::new();
        for (kind, name) in self.shelf.pending.keys() {
            let Some(kind) = Kind::from_plural(kind) else {
                continue;
            };
            if kind == Kind::Gateway
                && let Some((deployment, _)) = name.split_once('/')
            {
                touched.push((Kind::Deployment, deployment));
            }
            touched.push((kind, name));
        }
        touched.sort_unstable();
        touched.dedup();
        let mut differences = Vec::with_capacity(touched.len());
        for (kind, name) in touched {
            let before = intent(&self.state.shelf, kind, name).await?;
            let after = intent(&self.shelf, kind, name).await?;
            if before.is_none() && after.is_none() {
                continue;
            }
            differences.push(Difference {
                kind,
                name: name.to_owned(),
                before,
                after,
            });
        }
        Ok(differences)
    }

    /// Writes everything, or nothing.
    pub(crate) async fn commit(mut self) -> Result<(), PersistError> {
        let differences = self.differences().await?;
        for difference in differences {
            if difference.before == difference.after {
                continue;
            }
            self.told.push(change(&self.who, &difference));
            if difference.kind == Kind::Deployment
                && let Some(after) = difference.after
            {
                self.put_record(INTENTS, &difference.name, after);
            }
        }
        let mut writes = Vec::with_capacity(self.shelf.pending.len());
        for ((kind, name), body) in self.shelf.pending {
            let found = self.state.shelf.stored(&kind, &name).await?;
            match (body, found) {
                // A version that says the same is none.
                (Some(body), Some(found)) if found.body == body => {}
                (None, None) => {}
                (Some(body), found) => writes.push(Write::Put {
                    kind,
                    name,
                    body,
                    expect: Some(found.map_or(0, |found| found.revision)),
                }),
                (None, Some(_)) => writes.push(Write::Delete { kind, name }),
            }
        }
        if !writes.is_empty() || !self.told.is_empty() {
            self.state.commit(writes, self.told).await?;
        }
        Ok(())
    }
}

/// The event of a change. Its tags are its own, so that those who ask for the events of an artifact by Vamp's
/// tags find what they always found.
fn change(who: &str, difference: &Difference) -> EventDraft {
    let action = match (&difference.before, &difference.after) {
        (None, _) => "create",
        (_, None) => "delete",
        _ => "update",
    };
    let kind = difference.kind.plural();
    let told = |tree: &Option<Value>| match tree {
        Some(tree) if tree.to_string().len() > TOLD_BYTES_MAX => json!({"digest": digest(tree)}),
        Some(tree) => tree.clone(),
        None => Value::Null,
    };
    EventDraft {
        tags: vec![
            format!("change:{action}"),
            format!("artifact:{kind}/{}", difference.name),
            format!("who:{who}"),
        ],
        value: json!({
            "who": who,
            "action": action,
            "kind": kind,
            "name": difference.name,
            "before": told(&difference.before),
            "after": told(&difference.after),
        }),
        timestamp_ms: now_ms(),
        kind: "change".to_owned(),
    }
}
