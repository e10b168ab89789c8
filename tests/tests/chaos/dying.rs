//! A writer that dies: a store that takes so many writes and then none.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use weir_store::{Capabilities, Entry, Expect, LeaseId, Revision, Store, StoreError, Watch};

/// Values are short, so that a snapshot has several chunks.
const VALUE_BYTES_MAX: usize = 100;

#[derive(Debug)]
pub struct Dying {
    store: Arc<dyn Store>,
    left: AtomicUsize,
}

impl Dying {
    pub fn after(writes: usize, store: &Arc<dyn Store>) -> Self {
        Self {
            store: Arc::clone(store),
            left: AtomicUsize::new(writes),
        }
    }

    fn one_less(&self) -> Result<(), StoreError> {
        self.left
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .map(drop)
            .map_err(|_| StoreError::Unavailable("the writer is dead".into()))
    }
}

#[async_trait]
impl Store for Dying {
    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            value_bytes_max: VALUE_BYTES_MAX,
            ..self.store.capabilities()
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        self.store.list(prefix).await
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError> {
        self.one_less()?;
        self.store.put(key, value, expect, lease).await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        self.one_less()?;
        self.store.delete(key, expect).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.store.watch(prefix, after).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store.grant(ttl).await
    }

    async fn renew(&self, lease: &LeaseId) -> Result<(), StoreError> {
        self.store.renew(lease).await
    }

    async fn revoke(&self, lease: &LeaseId) -> Result<(), StoreError> {
        self.store.revoke(lease).await
    }
}
