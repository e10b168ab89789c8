//! One control's part in the election: it renews what it has, or looks whether it can lead.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use weir_persist::PersistError;
use weir_store::{Expect, Revision, StoreError, protocol::ProtocolError};

use super::{
    MARGIN, Record, Standing, TTL,
    claim::{self, Fence},
    key,
    sign::{self, Sign, Silence},
};
use crate::{
    configuration,
    reconcile::chain,
    state::{State, now_ms},
};

/// Between two signs of life.
const RENEWAL: Duration = Duration::from_millis(1_250);
/// Between two looks whether the leader is gone.
const LOOK: Duration = Duration::from_millis(500);
/// Longest wait for an answer of the store.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What went wrong with a step.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("the storage could not be used")]
    Persist(#[from] PersistError),
    #[error("another control was faster")]
    Overtaken,
    #[error("the store did not answer in time")]
    Late,
}

impl StepError {
    /// Somebody else wrote meanwhile.
    fn is_race(&self) -> bool {
        matches!(
            self,
            Self::Overtaken
                | Self::Store(StoreError::Conflict { .. })
                | Self::Protocol(ProtocolError::Store(StoreError::Conflict { .. }))
                | Self::Persist(PersistError::Conflict { .. })
        )
    }
}

#[derive(Debug)]
struct Held {
    sign: Sign,
    epoch: u64,
}

pub(super) struct Candidate<'a> {
    state: &'a Arc<State>,
    address: String,
    held: Option<Held>,
    /// Of whoever leads.
    silence: Silence,
    /// Of whoever led a store that was wiped or set back: nobody has taken the storage since.
    replaced: Silence,
    /// Number of its own last leadership in this run.
    led: u64,
    /// The failure that lasts was logged.
    is_told: bool,
    /// The store did not answer.
    is_away: bool,
}

impl<'a> Candidate<'a> {
    /// One whose API is at an address.
    pub(super) fn new(state: &'a Arc<State>, address: String) -> Self {
        Self {
            state,
            address,
            held: None,
            silence: Silence::default(),
            replaced: Silence::default(),
            led: 0,
            is_told: false,
            is_away: false,
        }
    }

    /// Renews, or looks whether it can lead. Gives the pause before the next step.
    pub(super) async fn step(&mut self) -> Result<Duration, StepError> {
        let pause = match &self.held {
            Some(_) => self.renew().await?,
            None => self.stand().await?,
        };
        self.is_told = false;
        if std::mem::take(&mut self.is_away) {
            self.state.leader.back.signal();
        }
        Ok(pause)
    }

    pub(super) fn failed(&mut self, error: &StepError) -> Duration {
        if matches!(error, StepError::Store(StoreError::LeaseLost)) {
            tracing::warn!("the leadership was lost");
            self.held = None;
            self.state.leader.set(Standing::Follows {
                leader: None,
                reason: None,
            });
            return Duration::ZERO;
        }
        self.is_away = true;
        self.silence.interrupted();
        self.replaced.interrupted();
        if !std::mem::replace(&mut self.is_told, true) {
            let error = chain(error);
            tracing::warn!(error, "the store does not say who leads; trying again");
        }
        LOOK
    }

    async fn renew(&mut self) -> Result<Duration, StepError> {
        if self.state.leader.is_fenced() {
            // Nothing can be committed any more, and nobody else could lead as long as this one holds on.
            tracing::warn!("the storage was set back, or another control took it; standing again");
            self.leave("its storage was set back, or another control took it")
                .await;
            return Ok(Duration::ZERO);
        }
        let Some(Held { sign, epoch }) = &self.held else {
            return Ok(Duration::ZERO);
        };
        let (store, key) = (&*self.state.store, key(self.state));
        let begun = Instant::now();
        if let Sign::Lease(lease) = sign {
            asked(store.renew(lease)).await?;
        }
        // A wiped store may have kept the lease and lost the key.
        let entry = asked(store.get(&key)).await?.ok_or(StoreError::LeaseLost)?;
        let record = Record::of(&entry.value)
            .filter(|record| record.epoch == *epoch && record.address == self.address)
            .ok_or(StoreError::LeaseLost)?;
        if let Sign::Key = sign {
            let next = Record {
                beat: Some(record.beat.unwrap_or_default().wrapping_add(1)),
                ..record
            };
            match asked(store.put(&key, next.bytes(), Expect::At(entry.revision), None)).await {
                // One that was taken for lost has arrived, or somebody took over: the next look tells.
                Err(StepError::Store(StoreError::Conflict { .. })) => return Ok(Duration::ZERO),
                written => written?,
            };
        }
        let was_unsure = self.state.leader.unsure().is_some();
        self.state.leader.set(Standing::Leads {
            epoch: *epoch,
            until: begun + TTL - MARGIN,
        });
        if was_unsure {
            // What waits for that goes on.
            self.state.leader.back.signal();
        }
        Ok(RENEWAL)
    }

    async fn stand(&mut self) -> Result<Duration, StepError> {
        let state = self.state;
        let (store, key) = (&*state.store, key(state));
        let follows = |leader, reason| state.leader.set(Standing::Follows { leader, reason });
        let entry = asked(store.get(&key)).await?;
        let record = entry.as_ref().map(|entry| Record::of(&entry.value));
        if let Some(None) = record {
            follows(None, Some(format!("the key {key} cannot be read")));
            return Ok(LOOK);
        }
        let record = record.flatten();
        let place = entry.map(|entry| entry.revision);
        let silent = self.silence.seen_at(place.unwrap_or_default(), Instant::now());
        let is_free = record.as_ref().is_none_or(|record| {
            // Its own, of a run that ended without leave. A copy of its folder elsewhere is another.
            let is_own = record.control == state.control_id && record.address == self.address;
            let ttl = record.ttl_ms.map(Duration::from_millis);
            is_own || ttl.is_some_and(|ttl| silent >= ttl)
        });
        let is_older = record.as_ref().is_some_and(|record| record.epoch < self.led);
        if !is_free && !is_older {
            follows(record, None);
            return Ok(LOOK);
        }
        if let Err(refused) = asked_of(claim::check(state)).await? {
            let reason = refused.to_string();
            if !std::mem::replace(&mut self.is_told, true) {
                tracing::error!(reason, "this control does not lead");
            }
            follows(None, Some(reason));
            return Ok(TTL);
        }
        let fence = asked_of(claim::fence(state)).await?;
        // The storage knows of a leadership that the store does not: that was wiped or set back, and who led has not found out
        // yet. It may lead on, at once; another one only when it must have found out.
        let is_behind = match &fence {
            Some(fence) => asked_of(claim::last_epoch(state)).await? < fence.epoch,
            None => false,
        };
        let behind_for = match &fence {
            Some(fence) if is_behind => self.replaced.seen_at(Revision(fence.revision), Instant::now()),
            _ => {
                self.replaced = Silence::default();
                Duration::ZERO
            }
        };
        let led_last = fence
            .as_ref()
            .is_some_and(|fence| fence.control == state.control_id);
        let may_take = if is_behind {
            led_last || (is_free && behind_for >= TTL)
        } else {
            is_free
        };
        if !may_take {
            follows(
                record,
                Some("who led may not know yet that the store was replaced".to_owned()),
            );
            return Ok(LOOK);
        }
        let expect = place.map_or(Expect::Absent, Expect::At);
        let begun = Instant::now();
        let sign = if sign::is_by_lease(store) {
            Sign::Lease(asked(store.grant(TTL)).await?)
        } else {
            Sign::Key
        };
        match self.take(&key, expect, &sign, fence).await {
            Ok(epoch) => {
                self.led = epoch;
                tracing::info!(epoch, "this control leads");
                self.held = Some(Held { sign, epoch });
                state.leader.set(Standing::Leads {
                    epoch,
                    until: begun + TTL - MARGIN,
                });
                state.wake.signal();
                Ok(RENEWAL)
            }
            Err(error) => {
                // Without it the lease ends by itself, and a key of its own is taken up again.
                self.give_back(&sign).await;
                if error.is_race() { Ok(LOOK) } else { Err(error) }
            }
        }
    }

    /// Takes the key, then the storage, then the manifest, and reads the dynamic settings. Gives the epoch.
    ///
    /// `fence` was read before the key is taken: who took it earlier and is late with the rest is found out by it.
    async fn take(
        &self,
        key: &str,
        expect: Expect,
        sign: &Sign,
        fence: Option<Fence>,
    ) -> Result<u64, StepError> {
        let state = self.state;
        let known = fence.as_ref().map_or(0, |fence| fence.epoch);
        let epoch = asked_of(claim::next_epoch(state, known)).await?;
        let (lease, ttl) = match sign {
            Sign::Lease(lease) => (Some(lease), None),
            Sign::Key => (None, Some(TTL)),
        };
        let record = Record {
            control: state.control_id.clone(),
            address: self.address.clone(),
            epoch,
            since_ms: now_ms(),
            ttl_ms: ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            beat: ttl.map(|_| 0),
        };
        asked(state.store.put(key, record.bytes(), expect, lease)).await?;
        if let Some(fence) = &fence {
            asked_of(claim::take_storage(state, fence, epoch)).await?;
        }
        asked_of(claim::mark(state, epoch)).await?;
        // Who led before may have changed them.
        asked_of(async { Ok(configuration::load(state).await?) }).await?;
        Ok(epoch)
    }

    async fn give_back(&self, sign: &Sign) {
        let (store, key) = (&*self.state.store, key(self.state));
        match sign {
            Sign::Lease(lease) => {
                let _ = asked(store.revoke(lease)).await;
            }
            Sign::Key => {
                let Ok(Some(entry)) = asked(store.get(&key)).await else {
                    return;
                };
                let is_own = Record::of(&entry.value).is_some_and(|record| {
                    record.control == self.state.control_id && record.address == self.address
                });
                if is_own {
                    let _ = asked(store.delete(&key, Expect::At(entry.revision))).await;
                }
            }
        }
    }

    pub(super) async fn resign(&mut self) {
        self.leave("it is ending").await;
    }

    async fn leave(&mut self, reason: &str) {
        self.state.leader.set(Standing::Follows {
            leader: None,
            reason: Some(reason.to_owned()),
        });
        if let Some(held) = &self.held {
            self.give_back(&held.sign).await;
        }
        self.held = None;
    }
}

async fn asked<T>(asking: impl Future<Output = Result<T, StoreError>>) -> Result<T, StepError> {
    match timeout(ANSWER_MAX, asking).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StepError::Late),
    }
}

async fn asked_of<T>(asking: impl Future<Output = Result<T, StepError>>) -> Result<T, StepError> {
    timeout(ANSWER_MAX, asking).await.map_err(|_| StepError::Late)?
}
