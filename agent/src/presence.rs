//! Tells the store that this agent lives and what it serves, under a lease.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use weir_store::{
    LeaseId, Store, StoreError,
    protocol::{self, ProtocolError},
};

use crate::{
    backoff::Backoff,
    follow::{chain, within},
    status::Status,
};

/// Longest wait for the end of the lease when the agent ends.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Presence {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) prefix: String,
    pub(crate) status: Arc<Status>,
    pub(crate) ttl: Duration,
}

impl Presence {
    /// Until `shutdown`, then the lease is ended.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut lease = None;
        let mut backoff = Backoff::new();
        let living = async {
            loop {
                let Err(error) = self.live(&mut lease, &mut backoff).await;
                if matches!(error, ProtocolError::Store(StoreError::LeaseLost)) {
                    tracing::warn!("the lease was lost; a new one is taken");
                    lease = None;
                    // The store answers.
                    backoff.reset();
                    self.status.told(Ok(()));
                } else {
                    let reason = chain(&error);
                    tracing::warn!(reason, "the store could not be told what is served");
                    self.status.told(Err(reason));
                }
                sleep(backoff.next()).await;
            }
        };
        shutdown.run_until_cancelled(living).await;
        if let Some(lease) = lease
            && !matches!(
                timeout(REVOKE_TIMEOUT, self.store.revoke(&lease)).await,
                Ok(Ok(()))
            )
        {
            tracing::debug!("the lease could not be ended; it ends with its time");
        }
    }

    /// Takes a lease if need be, tells what is served at once, with every change, and anew whenever it is
    /// not there any more (a wiped store).
    async fn live(
        &self,
        lease: &mut Option<LeaseId>,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, ProtocolError> {
        let mut changes = self.status.changes();
        let held = match lease {
            Some(held) => held.clone(),
            None => lease
                .insert(within(self.ttl, self.store.grant(self.ttl)).await?)
                .clone(),
        };
        let key = protocol::acknowledgement_key(&self.prefix, &self.status.acknowledgement().agent)?;
        let third = self.ttl / 3;
        let mut renewal = interval_at(Instant::now() + third, third);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            changes.borrow_and_update();
            let now = self.status.acknowledgement();
            within(
                self.ttl,
                protocol::acknowledge(&*self.store, &self.prefix, &held, &now),
            )
            .await?;
            self.status.told(Ok(()));
            backoff.reset();
            loop {
                tokio::select! {
                    changed = changes.changed() => {
                        // The sender is ours: it cannot be gone.
                        if changed.is_ok() {
                            break;
                        }
                    }
                    _ = renewal.tick() => {
                        within(self.ttl, self.store.renew(&held)).await?;
                        self.status.told(Ok(()));
                        // Gone (a wiped store), or what it says of the age of the snapshot is not true any more.
                        let is_there = within(self.ttl, self.store.place(&key)).await?.is_some();
                        if !is_there || now.stale_ms > 0 || !self.status.stale().is_zero() {
                            break;
                        }
                    }
                }
            }
        }
    }
}
