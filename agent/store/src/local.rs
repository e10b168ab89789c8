//! A store in this process: an [`Index`] behind the port.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    Capabilities, Entry, Expect, LeaseId, Revision, Store, StoreError, Watch,
    index::{CAPABILITIES, Index, Journal},
};

/// Pause before an expiry that could not be made durable is tried again.
const EXPIRE_RETRY: Duration = Duration::from_secs(1);

/// A store in this process, durable as far as its journal is.
#[derive(Debug)]
pub struct Local<J: Journal> {
    index: Arc<Index<J>>,
}

impl<J: Journal> Local<J> {
    pub(crate) fn over(index: Index<J>) -> Self {
        Self {
            index: Arc::new(index),
        }
    }

    /// Runs a change to its end, even if the caller goes away meanwhile: what is on disk and what is in
    /// memory must not part.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Index<J>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if !J::BLOCKING {
            return change(&self.index);
        }
        let index = Arc::clone(&self.index);
        match tokio::task::spawn_blocking(move || change(&index)).await {
            Ok(outcome) => outcome,
            Err(lost) => Err(StoreError::Unavailable(lost.into())),
        }
    }
}

/// Removes a lease's keys when its time is over, so that watches hear of it. Reads do not depend on this
/// task: they hide what is over.
async fn expire<J: Journal>(index: Weak<Index<J>>, lease: LeaseId) {
    loop {
        let Some(held) = index.upgrade() else { return };
        let Some(deadline) = held.deadline(&lease) else {
            return;
        };
        if deadline > Instant::now() {
            drop(held);
            sleep_until(deadline).await;
            continue;
        }
        let outcome = tokio::task::spawn_blocking(move || held.expire()).await;
        if let Ok(Err(error)) = outcome {
            tracing::warn!(%error, "a lease is over, but its keys could not be removed yet");
            sleep(EXPIRE_RETRY).await;
        }
    }
}

#[async_trait]
impl<J: Journal> Store for Local<J> {
    fn kind(&self) -> &'static str {
        J::KIND
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.index.get(key)
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        Ok(self.index.list(prefix))
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError> {
        let (key, lease) = (key.to_owned(), lease.cloned());
        self.change(move |index| index.put(&key, value, expect, lease.as_ref()))
            .await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        let key = key.to_owned();
        self.change(move |index| index.delete(&key, expect)).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.index.watch(prefix, after)
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let lease = self.index.grant(ttl)?;
        tokio::spawn(expire(Arc::downgrade(&self.index), lease.clone()));
        Ok(lease)
    }

    async fn renew(&self, lease: &LeaseId) -> Result<(), StoreError> {
        self.index.renew(lease)
    }

    async fn revoke(&self, lease: &LeaseId) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.change(move |index| index.revoke(&lease)).await
    }
}
