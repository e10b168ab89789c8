//! What was read last, as keys of the protocol.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use futures::stream;
use tokio::sync::watch;
use weir_model::{Gateway, Generation, Snapshot};

use crate::{
    Change, Entry, Revision, StoreError, Watch,
    protocol::{Manifest, pack},
};

/// Namespace of a snapshot that no control made.
const NAMESPACE: &str = "file";
/// Where the protocol's keys begin, whatever the prefix.
const FOLDER: &str = "weir/snapshot/";
/// Name of the manifest's key there.
const MANIFEST: &str = "manifest";

#[derive(Debug, Default)]
pub(super) struct State {
    revision: Revision,
    good: Option<Good>,
    /// What is wrong with the document now, and since when.
    fault: Option<(String, Revision)>,
}

/// The last document without faults.
#[derive(Debug)]
struct Good {
    manifest: Manifest,
    /// As it is read.
    written: Bytes,
    /// What lies at each key that the manifest names.
    chunks: HashMap<String, Bytes>,
    revision: Revision,
}

impl State {
    /// Takes what the file holds now. The new revision, or `None` if nothing has changed.
    pub(super) fn take(&mut self, read: Result<Vec<Gateway>, Vec<String>>) -> Option<Revision> {
        let outcome = read.and_then(|gateways| {
            Snapshot::new(NAMESPACE, self.next_generation(), gateways)
                .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
        });
        let next = Revision(self.revision.0 + 1);
        match outcome.and_then(|snapshot| self.good(snapshot, next).map_err(|error| vec![error])) {
            Ok(None) => return None,
            Ok(Some(good)) => {
                self.good = Some(good);
                self.fault = None;
            }
            Err(reasons) => {
                let reasons = reasons.join("\n");
                if self.fault.as_ref().is_some_and(|(known, _)| *known == reasons) {
                    return None;
                }
                self.fault = Some((reasons, next));
            }
        }
        self.revision = next;
        Some(next)
    }

    pub(super) fn has_fault(&self) -> bool {
        self.fault.is_some()
    }

    /// `None` if it is what is there already.
    fn good(&mut self, snapshot: Snapshot, revision: Revision) -> Result<Option<Good>, String> {
        let same = |good: &Good| good.manifest.digest == snapshot.digest();
        if let Some(good) = self.good.take_if(|good| same(good)) {
            // Corrected back to what it was: told again, so that readers hear that the fault is over.
            let told = Good { revision, ..good };
            if self.fault.is_some() {
                return Ok(Some(told));
            }
            self.good = Some(Good {
                revision: self.revision,
                ..told
            });
            return Ok(None);
        }
        let before = self.good.as_ref();
        let packed = pack(&snapshot, usize::MAX, before.map(|good| &good.manifest), |_| true)
            .map_err(|error| error.to_string())?;
        let written = serde_json::to_vec(&packed.manifest).map_err(|error| error.to_string())?;
        let mut chunks: HashMap<String, Bytes> = packed.fresh.into_iter().collect();
        for chunk in &packed.manifest.chunks {
            if let Some(value) = before.and_then(|good| good.chunks.get(&chunk.key)) {
                chunks.entry(chunk.key.clone()).or_insert_with(|| value.clone());
            }
        }
        Ok(Some(Good {
            manifest: packed.manifest,
            written: written.into(),
            chunks,
            revision,
        }))
    }

    fn next_generation(&self) -> Generation {
        match &self.good {
            Some(good) => good.manifest.generation.next(),
            None => Generation(
                SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs(),
            ),
        }
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let Some((_, name)) = place(key) else {
            return Ok(None);
        };
        let Some(good) = self.readable()? else {
            return Ok(None);
        };
        let value = if name == MANIFEST {
            Some(&good.written)
        } else {
            good.chunks.get(name)
        };
        Ok(value.map(|value| good.entry(key.to_owned(), value)))
    }

    pub(super) fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        let mut found = Vec::new();
        if let Some((before, name)) = place(prefix)
            && let Some(good) = self.readable()?
        {
            found = good
                .entries()
                .filter(|(own, _)| own.starts_with(name))
                .map(|(own, value)| good.entry(format!("{before}{own}"), value))
                .collect();
            found.sort_by(|a, b| a.key.cmp(&b.key));
        }
        Ok((found, self.revision))
    }

    fn readable(&self) -> Result<Option<&Good>, StoreError> {
        match (&self.good, &self.fault) {
            (None, Some((reasons, _))) => Err(StoreError::Corrupt(reasons.clone())),
            (good, _) => Ok(good.as_ref()),
        }
    }

    /// What a watch after that place tells next.
    fn change(&self, prefix: &str, after: Revision) -> Option<Result<Change, StoreError>> {
        let (before, name) = place(prefix)?;
        if let Some((reasons, revision)) = &self.fault
            && *revision > after
        {
            return Some(Err(StoreError::Corrupt(reasons.clone())));
        }
        let good = self.good.as_ref().filter(|good| good.revision > after)?;
        MANIFEST.starts_with(name).then(|| {
            Ok(Change::Put(
                good.entry(format!("{before}manifest"), &good.written),
            ))
        })
    }
}

impl Good {
    /// Names below the folder, and values.
    fn entries(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        let chunks = self.chunks.iter().map(|(name, value)| (name.as_str(), value));
        std::iter::once((MANIFEST, &self.written)).chain(chunks)
    }

    fn entry(&self, key: String, value: &Bytes) -> Entry {
        Entry {
            key,
            value: value.clone(),
            revision: self.revision,
        }
    }
}

/// A key cut after the protocol's folder; `None` for other keys, which are not here.
fn place(key: &str) -> Option<(&str, &str)> {
    let at = key.rfind(FOLDER)?;
    let (before, name) = key.split_at_checked(at + FOLDER.len())?;
    let prefix = before.strip_suffix(FOLDER)?;
    (prefix.is_empty() || prefix.ends_with('/')).then_some((before, name))
}

pub(super) fn watch(
    state: &Arc<Mutex<State>>,
    newest: watch::Receiver<Revision>,
    prefix: &str,
    after: Revision,
) -> Watch {
    let cursor = (Arc::clone(state), newest, prefix.to_owned(), after, false);
    Box::pin(stream::unfold(
        cursor,
        |(state, mut newest, prefix, mut after, ended)| async move {
            loop {
                if ended {
                    return None;
                }
                newest.borrow_and_update();
                let (next, now) = {
                    let state = lock(&state);
                    (state.change(&prefix, after), state.revision)
                };
                after = now;
                if let Some(next) = next {
                    let ended = next.is_err();
                    return Some((next, (state, newest, prefix, after, ended)));
                }
                newest.changed().await.ok()?;
            }
        },
    ))
}

/// A panic elsewhere leaves the state as it was: it is replaced whole.
pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
