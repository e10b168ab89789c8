//! Metrics, health and allocation as events: what Vamp's workflows of these names did.
//!
//! **Job.** Every [`PERIOD`] it says for each published gateway, its routes, and the deployments behind them what
//! happened in the last [`WINDOW`], with Vamp's types and tags (spec of metrics and events §2), and what is
//! allocated. What is new carries tags of its own, so that those who ask by Vamp's find what they always found.
//!
//! **Invariants.** Without a live agent there are no metrics and no health: what is not known is not told. A
//! deployed workflow of the same name takes over (`metrics`, `health`, `allocation`): then this one is silent.
//! Events of one round are one commit.
//!
//! **Absent.** No storage of series: events are kept as long as `Retention::figures_age` says.

mod allocation;
mod events;
mod health;

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use weir_artifact::{Artifact, Kind, WorkflowStatus};
use weir_persist::{EventDraft, PersistError};

use crate::{
    leader,
    reconcile::chain,
    state::{State, now_ms},
    traffic,
};

pub(crate) use self::health::{Healths, healths};

/// Types of events that are told here.
pub(crate) const TYPES: [&str; 3] = ["metrics", "health", "allocation"];
/// Time between two rounds.
const PERIOD: Duration = Duration::from_secs(5);
/// What figures are about.
const WINDOW: Duration = Duration::from_secs(30);

/// A metric by its name.
pub(crate) fn value_of(measured: &traffic::Measured, metric: &str) -> Option<f64> {
    let named = events::named(measured);
    named
        .iter()
        .find(|(name, _)| *name == metric)
        .map(|(_, value)| *value)
}

/// Starts the telling; the task ends soon after `stop` is cancelled.
pub(crate) fn start(state: Arc<State>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + PERIOD, PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // One of several controls tells.
            if !leader::may_act(&state) {
                continue;
            }
            if let Err(error) = round(&state).await {
                let error = chain(&error);
                tracing::warn!(error, "the figures could not be told; trying again");
            }
        }
    })
}

/// Tells once.
pub(crate) async fn round(state: &State) -> Result<(), PersistError> {
    let now_ms = now_ms();
    let mut drafts = Vec::new();
    let deployments = state.deployments().await?;
    let [tells_metrics, tells_health, tells_allocation] = ours(state).await?;
    if (tells_metrics || tells_health)
        && let Some(measured) = traffic::measured(state, WINDOW).await
    {
        let published = state.traffic.publication.gateways();
        if tells_metrics {
            events::metrics(&published, &measured, now_ms, &mut drafts);
        }
        if tells_health {
            events::health(&healths(&published, &measured, &deployments), now_ms, &mut drafts);
        }
    }
    if tells_allocation {
        for deployment in &deployments {
            drafts.push(EventDraft {
                tags: vec![
                    "allocation".to_owned(),
                    format!("deployments:{}", deployment.name),
                ],
                value: allocation::of(deployment),
                timestamp_ms: now_ms,
                kind: "allocation".to_owned(),
            });
        }
    }
    if !drafts.is_empty() {
        state.commit(Vec::new(), drafts).await?;
    }
    Ok(())
}

/// Which of [`TYPES`] no running workflow tells.
async fn ours(state: &State) -> Result<[bool; 3], PersistError> {
    let mut ours = [true; 3];
    for (name, ours) in TYPES.into_iter().zip(&mut ours) {
        if let Some(Artifact::Workflow(workflow)) = state.artifact(Kind::Workflow, name).await? {
            *ours = workflow.status != WorkflowStatus::Running;
        }
    }
    Ok(ours)
}
