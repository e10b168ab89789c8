//! What traffic did, as the agents tell.
//!
//! **Job.** Pulls the frames of every live agent each second, and on demand; looks twice a second whether their stores
//! answer them, and tells who has lost its store; answers `/agents` and `/traffic`.
//!
//! **Invariants.** A window is the difference of two frames of one run of an agent (`started_at_ms`); agents
//! are added. Totals never go back, whether an agent restarts or leaves the store. What is not known is `None`, never a
//! guess: an agent that did not answer for ten seconds says nothing about now. One that refuses the token is asked twice
//! a minute. At most [`log::FRAMES_MAX`] frames of at most
//! [`AGENTS_MAX`] agents are kept.
//!
//! **Absent.** No storage: this is the last two minutes.

mod clients;
mod in_flight;
mod log;
mod measure;
mod past;
mod pull;
mod view;
mod window;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout_at},
};
use tokio_util::sync::CancellationToken;
use weir_model::{Digest, Generation};

use crate::{
    publish::Publication,
    state::{State, now_ms},
};

use self::log::AgentLog;

pub(crate) use in_flight::in_flight;
#[cfg(test)]
pub(crate) use measure::MeasuredRoute;
pub(crate) use measure::{Measured, MeasuredGateway, measured};
pub(crate) use view::{AgentView, TrafficQuery, agents, traffic};

/// Agents that are kept, live or not.
const AGENTS_MAX: usize = 1_000;
/// Time between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// Time between two looks whether agents hear from their stores: somebody is to know within two seconds.
const LOOK: Duration = Duration::from_millis(500);
/// A reading of frames on demand that is younger than this is not repeated, in milliseconds.
const FRESH_MS: u64 = 200;
/// The same for acknowledgements: somebody may wait for them, and one look at the store is cheap.
const ACKNOWLEDGED_FRESH_MS: u64 = 10;
/// Longest wait for the store on demand: while it is silent, what it said last is told.
const ON_DEMAND_MAX: Duration = Duration::from_millis(300);

/// What gateways were told, and what they tell.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// What was published.
    pub(crate) publication: Publication,
    agents: Mutex<BTreeMap<String, AgentLog>>,
    clients: std::sync::OnceLock<clients::Clients>,
    /// When acknowledgements were read last, in milliseconds since the Unix epoch. Serialises readings.
    acknowledged_at_ms: tokio::sync::Mutex<u64>,
    /// The same for frames, which do not wait for a store that is silent.
    frames_at_ms: tokio::sync::Mutex<u64>,
}

impl Traffic {
    fn agents(&self) -> MutexGuard<'_, BTreeMap<String, AgentLog>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a live agent serves something of a later generation: it takes nothing of what is published then.
    pub(crate) fn is_ahead(&self, generation: Generation, digest: Digest) -> bool {
        self.agents().values().any(|log| {
            let said = &log.acknowledgement;
            log.live && said.generation > generation && said.digest != Some(digest)
        })
    }
}

/// Starts the pulling; the task ends soon after `stop` is cancelled.
pub(crate) fn start(state: Arc<State>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let pulling = async {
            read(&state, 0).await;
            let (mut store, mut figures, mut silences) = (every(PERIOD), every(PERIOD), every(LOOK));
            // Side by side: a store that is silent is no reason to know nothing of the agents.
            let store = async {
                loop {
                    store.tick().await;
                    acknowledgements(&state, 0, PERIOD).await;
                }
            };
            let figures = async {
                loop {
                    figures.tick().await;
                    frames(&state, 0).await;
                }
            };
            let silences = async {
                loop {
                    silences.tick().await;
                    pull::silences(&state).await;
                }
            };
            tokio::join!(store, figures, silences)
        };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = pulling => {}
        }
    })
}

/// The first tick is after a period.
fn every(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Reads all agents; their frames unless that was done within the last `fresh_ms` milliseconds.
async fn read(state: &State, fresh_ms: u64) {
    acknowledgements(state, fresh_ms.min(ACKNOWLEDGED_FRESH_MS), ON_DEMAND_MAX).await;
    frames(state, fresh_ms).await;
}

/// Waits at most that long.
async fn acknowledgements(state: &State, fresh_ms: u64, patience: Duration) {
    let until = Instant::now() + patience;
    let Ok(mut read_at_ms) = timeout_at(until, state.traffic.acknowledged_at_ms.lock()).await else {
        return;
    };
    if now_ms().saturating_sub(*read_at_ms) >= fresh_ms && pull::acknowledgements(state, until).await {
        *read_at_ms = now_ms();
    }
}

async fn frames(state: &State, fresh_ms: u64) {
    let mut read_at_ms = state.traffic.frames_at_ms.lock().await;
    if now_ms().saturating_sub(*read_at_ms) >= fresh_ms {
        pull::frames(state).await;
        *read_at_ms = now_ms();
    }
}

#[cfg(test)]
mod tests;
