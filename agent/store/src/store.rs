//! The port: what Weir needs of a key-value store.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Place in the store's history; grows with every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// A key and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Full key, as written.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// When it was last changed.
    pub revision: Revision,
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// The key is not there.
    Absent,
    /// The key was last changed then.
    At(Revision),
}

/// A promise that its keys vanish unless it is renewed in time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId(pub String);

/// One change below a watched prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key was written.
    Put(Entry),
    /// A key was removed (by somebody, or with its lease).
    Deleted {
        /// Full key.
        key: String,
        /// When.
        revision: Revision,
    },
}

impl Change {
    /// Full key of what changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted { key, .. } => key,
        }
    }

    /// When it changed.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(entry) => entry.revision,
            Self::Deleted { revision, .. } => *revision,
        }
    }
}

/// Changes in order. Ends, or gives an error and ends, when the connection is lost: the reader then reads
/// again and watches anew.
pub type Watch = BoxStream<'static, Result<Change, StoreError>>;

/// What a store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Longest value in bytes.
    pub value_bytes_max: usize,
    /// Whether keys can be bound to a lease.
    pub leases: bool,
    /// Shortest lease that the store keeps; it lengthens shorter ones.
    pub lease_ttl_min: Duration,
    /// A lease that is not renewed ends between its length and this many times its length (Consul: 2), plus
    /// the moment that the store needs to notice.
    pub lease_factor_max: u32,
    /// Whether the store remembers changes: a watch can begin at any recent place and tells each of them.
    /// Without, a watch can begin only at the place of a recent listing of the same prefix by the same
    /// [`Store`], and of several changes of a key before it looked it tells the last.
    pub history: bool,
    /// Whether anything can be written.
    pub writable: bool,
}

/// What Weir needs of a key-value store. Keys are paths without a leading slash (`vamp/default/gateways`).
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// One word for people and configuration: `embedded`, `file`, `etcd`, ...
    fn kind(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Reads one key; `None` if it is not there.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Reads every key that begins with `prefix`, in order of keys, with the revision of the whole reading:
    /// a watch after it misses nothing.
    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError>;

    /// Where a key is in the store's history, without reading what it holds if the store can do that; `None`
    /// if it is not there. Also the question by which one finds out whether the store answers.
    async fn place(&self, key: &str) -> Result<Option<Revision>, StoreError> {
        Ok(self.get(key).await?.map(|entry| entry.revision))
    }

    /// The keys that begin with `prefix`, in order, without what they hold if the store can do that.
    async fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let (entries, _) = self.list(prefix).await?;
        Ok(entries.into_iter().map(|entry| entry.key).collect())
    }

    /// Writes one key if `expect` holds, bound to `lease` if given. Durable when it returns.
    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError>;

    /// Removes one key if `expect` holds. Whether there was one.
    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError>;

    /// Changes below `prefix` after `after`: the revision of a listing or of a write that the caller has seen.
    /// Several changes can have one revision (keys that end with their lease); revisions never go back
    /// within a watch. A store that cannot say what changed since (see [`Capabilities::history`]), or that
    /// was replaced by an older one, answers [`StoreError::Compacted`], here or as the watch's last word.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// Begins a lease of that length, within what [`Capabilities::lease_ttl_min`] says.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Renews a lease for its length.
    async fn renew(&self, lease: &LeaseId) -> Result<(), StoreError>;

    /// Ends a lease and removes its keys.
    async fn revoke(&self, lease: &LeaseId) -> Result<(), StoreError>;
}
