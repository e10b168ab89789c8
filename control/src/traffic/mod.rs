//! What traffic did, as the agents tell.
//!
//! **Job.** Pulls the frames of every live agent each second, and on demand; answers `/agents` and `/traffic`.
//!
//! **Invariants.** A window is the difference of two frames of one run of an agent (`started_at_ms`); agents
//! are added. What is not known is `None`, never a guess. At most [`log::FRAMES_MAX`] frames of at most
//! [`AGENTS_MAX`] agents are kept.
//!
//! **Absent.** No storage: this is the last two minutes.

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

use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    publish::Publication,
    state::{State, now_ms},
};

use self::log::AgentLog;

pub(crate) use in_flight::in_flight;
#[cfg(test)]
pub(crate) use measure::MeasuredRoute;
pub(crate) use measure::{Measured, MeasuredGateway, measured};
pub(crate) use view::{TrafficQuery, agents, traffic};

/// Agents that are kept, live or not.
const AGENTS_MAX: usize = 1_000;
/// Time between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// A reading of frames on demand that is younger than this is not repeated, in milliseconds.
const FRESH_MS: u64 = 200;
/// The same for acknowledgements: somebody may wait for them, and one look at the store is cheap.
const ACKNOWLEDGED_FRESH_MS: u64 = 10;

/// What gateways were told, and what they tell.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// What was published.
    pub(crate) publication: Publication,
    agents: Mutex<BTreeMap<String, AgentLog>>,
    clients: std::sync::OnceLock<pull::Clients>,
    /// Serialises readings.
    read_at_ms: tokio::sync::Mutex<ReadAt>,
}

/// When the last readings ended, in milliseconds since the Unix epoch.
#[derive(Debug, Default)]
struct ReadAt {
    acknowledgements: u64,
    frames: u64,
}

impl Traffic {
    fn agents(&self) -> MutexGuard<'_, BTreeMap<String, AgentLog>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the pulling; the task ends soon after `stop` is cancelled.
pub(crate) fn start(state: Arc<State>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = read(&state, 0) => {}
            }
        }
    })
}

/// Reads all agents; their frames unless that was done within the last `fresh_ms` milliseconds.
async fn read(state: &State, fresh_ms: u64) {
    let mut read_at_ms = state.traffic.read_at_ms.lock().await;
    let is_due = |at_ms: u64, fresh_ms: u64| now_ms().saturating_sub(at_ms) >= fresh_ms;
    if is_due(read_at_ms.acknowledgements, fresh_ms.min(ACKNOWLEDGED_FRESH_MS)) {
        pull::acknowledgements(state).await;
        read_at_ms.acknowledgements = now_ms();
    }
    if is_due(read_at_ms.frames, fresh_ms) {
        pull::frames(state).await;
        read_at_ms.frames = now_ms();
    }
}

#[cfg(test)]
mod tests;
