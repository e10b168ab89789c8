//! Everything in memory, gone with the process: for tests and trials.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    Aggregate, EVENT_BYTES_MIN, EVENTS_REMOVED_MAX, Event, EventBounds, EventDraft, EventQuery, EventTotals,
    HISTORY_MAX, Page, PersistError, Persistence, Stored, Write,
    event::{Accumulator, expand_tags},
};

type Key = (String, String);

/// Storage in memory.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    artifacts: BTreeMap<Key, Stored>,
    /// Oldest first; a removal is a version without a body.
    history: BTreeMap<Key, Vec<(Stored, bool)>>,
    events: Vec<Event>,
    last_event_id: u64,
}

impl Memory {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic inside leaves no half commit: checks come before changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn revision(&self, key: &Key) -> u64 {
        let versions = self.history.get(key);
        versions
            .and_then(|versions| versions.last())
            .map_or(0, |(version, _)| version.revision)
    }

    fn remember(&mut self, key: Key, version: Stored, removed: bool) {
        let versions = self.history.entry(key).or_default();
        versions.push((version, removed));
        let keep = usize::try_from(HISTORY_MAX).unwrap_or(usize::MAX);
        if versions.len() > keep {
            versions.remove(0);
        }
    }

    fn apply(&mut self, write: Write, at_ms: u64) -> Result<(), PersistError> {
        match write {
            Write::Put {
                kind,
                name,
                body,
                expect,
            } => {
                let key = (kind.clone(), name.clone());
                let found = self.artifacts.get(&key).map_or(0, |stored| stored.revision);
                if let Some(expected) = expect.filter(|expected| *expected != found) {
                    return Err(PersistError::Conflict {
                        kind,
                        name,
                        expected,
                        found,
                    });
                }
                let stored = Stored {
                    kind,
                    name,
                    revision: self.revision(&key) + 1,
                    body,
                    at_ms,
                };
                self.artifacts.insert(key.clone(), stored.clone());
                self.remember(key, stored, false);
            }
            Write::Delete { kind, name } => {
                let key = (kind.clone(), name.clone());
                if self.artifacts.remove(&key).is_some() {
                    let revision = self.revision(&key) + 1;
                    let gone = Stored {
                        kind,
                        name,
                        revision,
                        body: Value::Null,
                        at_ms,
                    };
                    self.remember(key, gone, true);
                }
            }
            Write::Require { kind, name, revision } => {
                let key = (kind.clone(), name.clone());
                let found = self.artifacts.get(&key).map_or(0, |stored| stored.revision);
                if found != revision {
                    return Err(PersistError::Conflict {
                        kind,
                        name,
                        expected: revision,
                        found,
                    });
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Persistence for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn get(&self, kind: &str, name: &str) -> Result<Option<Stored>, PersistError> {
        let key = (kind.to_owned(), name.to_owned());
        Ok(self.inner().artifacts.get(&key).cloned())
    }

    async fn kinds(&self) -> Result<Vec<String>, PersistError> {
        let mut kinds: Vec<String> = self
            .inner()
            .artifacts
            .keys()
            .map(|(kind, _)| kind.clone())
            .collect();
        kinds.dedup();
        Ok(kinds)
    }

    async fn list(&self, kind: &str, page: Page) -> Result<(Vec<Stored>, u64), PersistError> {
        let inner = self.inner();
        let all = || inner.artifacts.values().filter(|stored| stored.kind == kind);
        Ok((part(all().cloned(), page), all().count() as u64))
    }

    async fn history(&self, kind: &str, name: &str, page: Page) -> Result<Vec<Stored>, PersistError> {
        let key = (kind.to_owned(), name.to_owned());
        let inner = self.inner();
        let versions = inner.history.get(&key).into_iter().flatten().rev();
        let versions = versions
            .filter(|(_, removed)| !removed)
            .map(|(stored, _)| stored.clone());
        Ok(part(versions, page))
    }

    async fn commit(&self, writes: Vec<Write>, events: Vec<EventDraft>) -> Result<Vec<Event>, PersistError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut inner = self.inner();
        // A commit that fails must change nothing, so what it would touch is kept aside.
        let before: Vec<_> = writes
            .iter()
            .map(|write| match write {
                Write::Put { kind, name, .. }
                | Write::Delete { kind, name }
                | Write::Require { kind, name, .. } => (kind.clone(), name.clone()),
            })
            .map(|key| {
                let stored = inner.artifacts.get(&key).cloned();
                let history = inner.history.get(&key).cloned();
                (key, stored, history)
            })
            .collect();
        for write in writes {
            if let Err(error) = inner.apply(write, at_ms) {
                for (key, stored, history) in before {
                    match stored {
                        Some(stored) => inner.artifacts.insert(key.clone(), stored),
                        None => inner.artifacts.remove(&key),
                    };
                    match history {
                        Some(history) => inner.history.insert(key, history),
                        None => inner.history.remove(&key),
                    };
                }
                return Err(error);
            }
        }
        let mut appended = Vec::with_capacity(events.len());
        for draft in events {
            inner.last_event_id += 1;
            let event = Event {
                id: inner.last_event_id,
                tags: expand_tags(&draft.tags),
                value: draft.value,
                timestamp_ms: draft.timestamp_ms,
                kind: draft.kind,
            };
            inner.events.push(event.clone());
            appended.push(event);
        }
        Ok(appended)
    }

    async fn events(&self, query: &EventQuery, page: Page) -> Result<(Vec<Event>, u64), PersistError> {
        let inner = self.inner();
        let mut matching: Vec<&Event> = inner.events.iter().filter(|event| query.matches(event)).collect();
        matching.sort_by_key(|event| std::cmp::Reverse((event.timestamp_ms, event.id)));
        let total = matching.len() as u64;
        Ok((part(matching.into_iter().cloned(), page), total))
    }

    async fn events_in_order(&self, query: &EventQuery, limit: u64) -> Result<Vec<Event>, PersistError> {
        let inner = self.inner();
        let matching = inner.events.iter().filter(|event| query.matches(event)).cloned();
        Ok(part(matching, Page { offset: 0, limit }))
    }

    async fn aggregate(
        &self,
        query: &EventQuery,
        aggregate: &Aggregate,
    ) -> Result<Option<f64>, PersistError> {
        let inner = self.inner();
        let mut sum = Accumulator::new(aggregate);
        for event in inner.events.iter().filter(|event| query.matches(event)) {
            sum.add(&event.kind, &event.value);
        }
        Ok(sum.result())
    }

    async fn expire_events(&self, kind: Option<&str>, before_ms: u64) -> Result<u64, PersistError> {
        let mut inner = self.inner();
        let before = inner.events.len();
        inner
            .events
            .retain(|event| event.timestamp_ms >= before_ms || kind.is_some_and(|kind| kind != event.kind));
        Ok((before - inner.events.len()) as u64)
    }

    async fn event_totals(&self) -> Result<EventTotals, PersistError> {
        Ok(totals(&self.inner().events))
    }

    async fn trim_events(&self, bounds: EventBounds) -> Result<u64, PersistError> {
        let mut inner = self.inner();
        let mut left = totals(&inner.events);
        let mut oldest: Vec<(u64, u64, u64)> = inner
            .events
            .iter()
            .map(|event| (event.timestamp_ms, event.id, bytes(event)))
            .collect();
        oldest.sort_unstable();
        let mut gone = HashSet::new();
        for (_, id, bytes) in oldest {
            if gone.len() as u64 == EVENTS_REMOVED_MAX || !bounds.are_crossed_by(left) {
                break;
            }
            left.events -= 1;
            left.bytes -= bytes;
            gone.insert(id);
        }
        inner.events.retain(|event| !gone.contains(&event.id));
        Ok(gone.len() as u64)
    }
}

fn totals(events: &[Event]) -> EventTotals {
    EventTotals {
        events: events.len() as u64,
        bytes: events.iter().map(bytes).sum(),
    }
}

/// See [`EventTotals::bytes`].
fn bytes(event: &Event) -> u64 {
    let tags = Value::from(event.tags.clone()).to_string();
    (event.kind.len() + tags.len() + event.value.to_string().len()) as u64 + EVENT_BYTES_MIN
}

fn part<T>(items: impl Iterator<Item = T>, page: Page) -> Vec<T> {
    let offset = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    items.skip(offset).take(limit).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Memory;
    use crate::conformance;

    #[tokio::test]
    async fn conforms() {
        conformance::all(async || Arc::new(Memory::new()) as _).await;
    }
}
