//! Promises of clusters, and what happens when they are not kept (spec of the core behaviour, §9).
//!
//! **Job.** Two steps each [`Config::sla_period`](crate::Config). First each cluster with a sliding window whose services
//! are all as wanted is measured and judged; what is out of bounds becomes an event (`sla`, `sla:escalate`). Then every
//! new event of that form, also one that somebody posted, is acted on: the escalations of the cluster change scales.
//! Measuring and deciding are pure (`weir_plan::sla`).
//!
//! **Invariants.** Each event is acted on once: the new scales, the event that tells of them with the numbers used, and
//! the place in the order of events are one commit. Events from before the first start are not acted on.
//!
//! **Absent.** No scale of its own: a scale has one place, the deployment.

mod measure;
mod resolve;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use weir_artifact::{Artifact, Deployment, Intention, Phase, Scale, SlaRule};
use weir_persist::{Event, EventDraft, EventQuery, Page, PersistError};
use weir_plan::sla::{Decision, Direction, escalate, judge};

use crate::{
    error::OperationError,
    reconcile::{chain, operations, quota, settings},
    state::{State, Transaction, now_ms},
};

/// Kind of single numbers in storage, and the name of the newest event that was acted on.
const COUNTERS: &str = "counters";
const LAST_EVENT: &str = "sla-event";
/// Most events that are acted on in one round.
const EVENTS_MAX: u64 = 100;
/// On whose behalf scales are changed, in events.
const WHO: &str = "sla";

/// Starts the loop; the task ends soon after `stop` is cancelled.
pub(crate) fn start(state: Arc<State>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let period = state.config.sla_period;
        if period.is_zero() {
            return;
        }
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                result = round(&state) => if let Err(error) = result {
                    let error = chain(&error);
                    tracing::warn!(error, "the promises could not be looked at; trying again");
                }
            }
        }
    })
}

/// Judges, then acts.
pub(crate) async fn round(state: &State) -> Result<(), OperationError> {
    let after = match last_event(state).await? {
        Some(id) => id,
        None => begin(state).await?,
    };
    judge_all(state).await?;
    let query = EventQuery {
        tags: vec!["sla".to_owned()],
        after_id: Some(after),
        ..EventQuery::default()
    };
    for event in state.persist.events_in_order(&query, EVENTS_MAX).await? {
        act(state, &event).await?;
    }
    Ok(())
}

async fn last_event(state: &State) -> Result<Option<u64>, PersistError> {
    let stored = state.persist.get(COUNTERS, LAST_EVENT).await?;
    Ok(stored.and_then(|stored| stored.body.as_u64()))
}

/// The first start: what was said before is history.
async fn begin(state: &State) -> Result<u64, PersistError> {
    let query = EventQuery {
        tags: vec!["sla".to_owned()],
        ..EventQuery::default()
    };
    let (events, _) = state.persist.events(&query, Page::ALL).await?;
    let newest = events.iter().map(|event| event.id).max().unwrap_or_default();
    let mut tx = Transaction::begin(state, WHO).await;
    tx.put_record(COUNTERS, LAST_EVENT, newest.into());
    tx.commit().await?;
    Ok(newest)
}

/// Tells of every promise that is not kept.
async fn judge_all(state: &State) -> Result<(), PersistError> {
    let now_ms = now_ms();
    for deployment in state.deployments().await? {
        for (name, cluster) in &deployment.clusters {
            let Some(given) = &cluster.sla else { continue };
            let Some(sla) = resolve::sla(state, given).await? else {
                continue;
            };
            let SlaRule::ResponseTimeSlidingWindow {
                upper_ms,
                lower_ms,
                interval_s,
                cooldown_s,
            } = sla.rule
            else {
                continue;
            };
            let is_quiet = cluster.services.iter().all(|service| {
                service.runtime.as_ref().is_some_and(|runtime| {
                    runtime.status.phase == Phase::Done && runtime.status.intention == Intention::Deployment
                })
            });
            let tags = [
                "sla".to_owned(),
                format!("deployment:{}", deployment.name),
                format!("cluster:{name}"),
            ];
            let pause_ms = (u64::from(interval_s) + u64::from(cooldown_s)).saturating_mul(1_000);
            if !is_quiet || happened(state, &tags, now_ms.saturating_sub(pause_ms)).await? {
                continue;
            }
            let readings = measure::readings(state, &deployment.name, name, interval_s, now_ms).await?;
            let Some((direction, slowest)) = judge(upper_ms, lower_ms, &readings) else {
                continue;
            };
            let mut tags = tags.to_vec();
            tags.insert(1, format!("sla:{}", direction.word()));
            let event = EventDraft {
                tags,
                value: json!({
                    "gateway": slowest.gateway,
                    "response_time_ms": slowest.mean_ms,
                    "upper_ms": upper_ms,
                    "lower_ms": lower_ms,
                    "interval_s": interval_s,
                    "cooldown_s": cooldown_s,
                    "readings": readings,
                }),
                timestamp_ms: now_ms,
                kind: "event".to_owned(),
            };
            state.commit(Vec::new(), vec![event]).await?;
        }
    }
    Ok(())
}

async fn happened(state: &State, tags: &[String], from_ms: u64) -> Result<bool, PersistError> {
    let query = EventQuery {
        tags: tags.to_vec(),
        from_ms: Some(from_ms),
        ..EventQuery::default()
    };
    let one = Page { offset: 0, limit: 1 };
    Ok(state.persist.events(&query, one).await?.1 > 0)
}

/// Acts on one event, and tells what came of it.
async fn act(state: &State, event: &Event) -> Result<(), OperationError> {
    let named = |group: &str| {
        let mut tags = event.tags.iter();
        tags.find_map(|tag| tag.strip_prefix(group)?.strip_prefix(':'))
    };
    let direction = match named("sla") {
        Some("escalate") => Some(Direction::Escalate),
        Some("deescalate") => Some(Direction::Deescalate),
        _ => None,
    };
    let mut tx = Transaction::begin(state, WHO).await;
    tx.put_record(COUNTERS, LAST_EVENT, event.id.into());
    if let (Some(direction), Some(deployment), Some(cluster)) =
        (direction, named("deployment"), named("cluster"))
    {
        let outcome = escalated(&mut tx, direction, deployment, cluster).await?;
        tx.tell(EventDraft {
            tags: vec![
                format!("escalation:{}", if outcome.changed { "done" } else { "nothing" }),
                format!("deployments:{deployment}"),
                format!("clusters:{cluster}"),
            ],
            value: json!({
                "direction": direction,
                "event": event.id,
                "because": event.value,
                "changes": outcome.changes,
                "passed_over": outcome.passed_over,
            }),
            timestamp_ms: now_ms(),
            kind: "event".to_owned(),
        });
    }
    tx.commit().await?;
    Ok(())
}

/// What came of an event.
#[derive(Debug, Default)]
struct Outcome {
    changed: bool,
    changes: Vec<Value>,
    passed_over: Vec<String>,
}

impl Outcome {
    fn nothing(why: String) -> Self {
        Self {
            passed_over: vec![why],
            ..Self::default()
        }
    }
}

async fn escalated(
    tx: &mut Transaction<'_>,
    direction: Direction,
    deployment: &str,
    cluster: &str,
) -> Result<Outcome, OperationError> {
    let Some(existing) = tx.deployment(deployment).await? else {
        return Ok(Outcome::nothing(format!("there is no deployment `{deployment}`")));
    };
    let Some(given) = existing
        .clusters
        .get(cluster)
        .and_then(|cluster| cluster.sla.as_ref())
    else {
        return Ok(Outcome::nothing(format!("cluster `{cluster}` has no sla")));
    };
    let Some(sla) = resolve::sla(tx, given).await? else {
        return Ok(Outcome::nothing(
            "the sla that it names does not exist".to_owned(),
        ));
    };
    let Some(escalation) = sla.escalation else {
        return Ok(Outcome::nothing("its sla has no escalations".to_owned()));
    };
    let Some(escalation) = resolve::escalation(tx, escalation).await? else {
        return Ok(Outcome::nothing(
            "the escalation that it names does not exist".to_owned(),
        ));
    };
    let decision = escalate(&escalation, direction, cluster, &existing, &settings(tx.state()));
    rescale(tx, existing, decision).await
}

/// Changes the scales, if there is room for them.
async fn rescale(
    tx: &mut Transaction<'_>,
    existing: Deployment,
    decision: Decision,
) -> Result<Outcome, OperationError> {
    let mut outcome = Outcome {
        passed_over: decision.passed_over,
        ..Outcome::default()
    };
    let mut wanted = existing.clone();
    for rescaling in &decision.rescalings {
        operations::rescale(&mut wanted, &rescaling.cluster, &rescaling.service, rescaling.to);
        outcome.changes.push(json!({
            "cluster": rescaling.cluster,
            "service": rescaling.service,
            "from": shown(&rescaling.from),
            "to": shown(&rescaling.to),
        }));
    }
    match quota::check(tx, Some(&existing), &wanted).await {
        Ok(()) => {}
        Err(OperationError::Problems(problems)) => {
            outcome
                .passed_over
                .extend(problems.into_iter().map(|problem| problem.message));
            outcome.changes.clear();
            return Ok(outcome);
        }
        Err(error) => return Err(error),
    }
    if !outcome.changes.is_empty() {
        outcome.changed = true;
        tx.put(&Artifact::Deployment(wanted));
    }
    Ok(outcome)
}

fn shown(scale: &Scale) -> Value {
    json!({"instances": scale.instances, "cpu": scale.cpu, "memory_mb": scale.memory_mb})
}

#[cfg(test)]
mod tests;
