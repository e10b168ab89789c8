//! A document that a person writes, shown as if it were a published snapshot.
//!
//! **Job.** Lets an agent serve a YAML or JSON file without any control: the file is read, checked and packed,
//! and appears under the keys of the protocol, below whatever prefix is asked for.
//!
//! **Invariants.** Each change of the content is a new generation, greater than those of an earlier process as
//! long as the clock does not go back (the first is the time in seconds). A document with a fault changes
//! nothing: watches hear all its faults as [`StoreError::Corrupt`], and what was read last stays. A file that
//! is gone is a fault, not an empty document.
//!
//! **Absent.** Nothing can be written, so agents do not acknowledge here.

mod document;
mod state;
mod watcher;
mod yaml;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Capabilities, Entry, Expect, LeaseId, Revision, Store, StoreError, Watch};

pub use document::read_gateways;

/// A document that a person writes, shown as if it were a published snapshot. Read only.
#[derive(Debug)]
pub struct FileStore {
    state: Arc<Mutex<state::State>>,
    /// Follows the file; ends with the store.
    watcher: watcher::Watcher,
}

impl FileStore {
    /// Reads the file and follows it. A file that is not there, or has faults, is not an error here: `get`
    /// tells, and the store goes on as soon as the file is right.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if no thread can be started.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let state = Arc::new(Mutex::new(state::State::default()));
        let watcher = watcher::Watcher::start(path, Arc::clone(&state))
            .map_err(|error| StoreError::Unavailable(error.into()))?;
        Ok(Self { state, watcher })
    }
}

const READ_ONLY: &str = "be written: the file is";

fn read_only<T>() -> Result<T, StoreError> {
    Err(StoreError::Unsupported(READ_ONLY.into()))
}

#[async_trait]
impl Store for FileStore {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            value_bytes_max: 0,
            leases: false,
            lease_ttl_min: std::time::Duration::ZERO,
            lease_factor_max: 1,
            history: true,
            writable: false,
        }
    }

    /// # Errors
    /// [`StoreError::Corrupt`] if the document never was right since this process began.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        state::lock(&self.state).get(key)
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        state::lock(&self.state).list(prefix)
    }

    async fn put(&self, _: &str, _: Bytes, _: Expect, _: Option<&LeaseId>) -> Result<Revision, StoreError> {
        read_only()
    }

    async fn delete(&self, _: &str, _: Expect) -> Result<bool, StoreError> {
        read_only()
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        Ok(state::watch(&self.state, self.watcher.newest(), prefix, after))
    }

    async fn grant(&self, _: Duration) -> Result<LeaseId, StoreError> {
        read_only()
    }

    async fn renew(&self, _: &LeaseId) -> Result<(), StoreError> {
        read_only()
    }

    async fn revoke(&self, _: &LeaseId) -> Result<(), StoreError> {
        read_only()
    }
}

#[cfg(test)]
mod tests;
