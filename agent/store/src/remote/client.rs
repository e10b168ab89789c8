//! The side that uses a store of another process.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::{
    connection::{Connection, unexpected},
    wire::{Base64, Call, Reply},
};
use crate::{Capabilities, Entry, Expect, LeaseId, Revision, Store, StoreError, Watch, index::CAPABILITIES};

/// A store that another process of this host [serves](super::serve).
#[derive(Debug)]
pub struct Remote {
    address: String,
    /// The newest connection; replaced at the next use once it is lost.
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Remote {
    /// A store at `host:port` that is connected to at its first use.
    pub fn lazy(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            connection: Mutex::new(None),
        }
    }

    /// A store at `host:port`, connected.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if nobody answers there, [`StoreError::Corrupt`] if it is no such store.
    pub async fn connect(address: impl ToString) -> Result<Self, StoreError> {
        let remote = Self::lazy(address.to_string());
        remote.connection().await?;
        Ok(remote)
    }

    async fn connection(&self) -> Result<Arc<Connection>, StoreError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = connection.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        let opened = Arc::new(Connection::open(self.address.as_str()).await?);
        *connection = Some(Arc::clone(&opened));
        Ok(opened)
    }

    async fn ask(&self, call: Call) -> Result<Reply, StoreError> {
        self.connection().await?.ask(call).await
    }
}

#[async_trait]
impl Store for Remote {
    fn kind(&self) -> &'static str {
        "remote"
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_owned();
        match self.ask(Call::Get { key }).await? {
            Reply::Entry(entry) => Ok(entry.map(Entry::from)),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        let prefix = prefix.to_owned();
        match self.ask(Call::List { prefix }).await? {
            Reply::Entries {
                entries, revision, ..
            } => Ok((entries.into_iter().map(Entry::from).collect(), revision)),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError> {
        if value.len() > CAPABILITIES.value_bytes_max {
            return Err(StoreError::TooLarge {
                bytes: value.len(),
                bytes_max: CAPABILITIES.value_bytes_max,
            });
        }
        let call = Call::Put {
            key: key.to_owned(),
            value: Base64(value),
            expect: expect.into(),
            lease: lease.map(|lease| lease.0.clone()),
        };
        match self.ask(call).await? {
            Reply::Written(revision) => Ok(revision),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        let (key, expect) = (key.to_owned(), expect.into());
        match self.ask(Call::Delete { key, expect }).await? {
            Reply::Deleted(found) => Ok(found),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.connection().await?.watch(prefix, after).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        match self.ask(Call::Grant { ttl_ms }).await? {
            Reply::Lease(lease) => Ok(LeaseId(lease)),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn renew(&self, lease: &LeaseId) -> Result<(), StoreError> {
        let lease = lease.0.clone();
        match self.ask(Call::Renew { lease }).await? {
            Reply::Done => Ok(()),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn revoke(&self, lease: &LeaseId) -> Result<(), StoreError> {
        let lease = lease.0.clone();
        match self.ask(Call::Revoke { lease }).await? {
            Reply::Done => Ok(()),
            reply => Err(unexpected(&reply)),
        }
    }
}
