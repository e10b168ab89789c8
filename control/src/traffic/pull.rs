//! Reading acknowledgements from the store and frames from the agents.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, timeout, timeout_at};
use weir_model::Acknowledgement;
use weir_persist::EventDraft;
use weir_store::protocol;

use super::{
    AGENTS_MAX,
    clients::{Clients, Unread},
    log::AgentLog,
};
use crate::{
    reconcile::trouble,
    state::{State, now_ms},
};

/// Longest answer of an agent.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// The same when it is only asked for the silence of its store.
const SILENCE_ANSWER_MAX: Duration = Duration::from_millis(400);
/// Most agents that are asked at one time.
const ASKED_MAX: usize = 32;
/// An agent whose lease is over, and that did not answer so often in a row, is not asked any more.
const GONE_FAILURES: u32 = 10;
/// An agent whose lease is over, and that does not answer, is forgotten after this time in milliseconds.
const FORGET_MS: u64 = 10 * 60 * 1000;

/// Reads from the store what every agent acknowledged; whether it answered in time.
pub(super) async fn acknowledgements(state: &State, until: Instant) -> bool {
    let acknowledged = timeout_at(until, protocol::agents(&*state.store, &state.config.prefix)).await;
    // While the store is away, what it said last stands: the lease may well go on.
    let Ok(Ok(acknowledged)) = acknowledged else {
        return false;
    };
    let refusals = note(state, acknowledged);
    commit(state, refusals).await;
    let published = state.traffic.publication.status();
    if let (Some(generation), Some(digest)) = (published.generation, published.digest)
        && state.traffic.is_ahead(generation, digest)
    {
        // The store was wiped, and control knew nothing of before: what is published is refused until its number is higher.
        state.wake.signal();
    }
    true
}

/// Looks whether the agents hear from their stores, and tells of those for which that has changed. One that does not answer is
/// a matter of [`frames`].
pub(super) async fn silences(state: &State) {
    let clients = clients(state);
    futures::stream::iter(known(state))
        .for_each_concurrent(ASKED_MAX, |(id, admin, _)| async move {
            let asked_at_ms = now_ms();
            let asking = clients.stale_ms(&id, &admin, state.config.agent_token.as_ref());
            let Ok(Ok(Some(stale_ms))) = timeout(SILENCE_ANSWER_MAX, asking).await else {
                return;
            };
            if let Some(log) = state.traffic.agents().get_mut(&id) {
                log.heard_of_its_store(Some(stale_ms), asked_at_ms);
            }
        })
        .await;
    tell(state).await;
}

/// The agents that are asked: id, address, time of the newest frame.
fn known(state: &State) -> Vec<(String, String, u64)> {
    let agents = state.traffic.agents();
    let asked = agents
        .iter()
        // One that is gone is not waited for again and again.
        .filter(|(_, log)| (log.live || log.failed < GONE_FAILURES) && !log.is_put_off());
    let known = asked.filter_map(|(id, log)| {
        let since_ms = log.latest().map_or(0, |frame| frame.at_ms);
        Some((id.clone(), log.acknowledgement.admin.clone()?, since_ms))
    });
    known.collect()
}

fn clients(state: &State) -> &Clients {
    state
        .traffic
        .clients
        .get_or_init(|| Clients::new(state.config.agent_authority.as_deref()))
}

/// Reads the frames of every agent, also of those whose leases are over: they may have lost the store alone. Tells of
/// those whose condition has changed.
pub(super) async fn frames(state: &State) {
    let clients = clients(state);
    futures::stream::iter(known(state))
        .for_each_concurrent(ASKED_MAX, |(id, admin, since_ms)| async move {
            let asked_at_ms = now_ms();
            let asking = clients.frames(&admin, since_ms, state.config.agent_token.as_ref());
            let answer = match timeout(ANSWER_MAX, asking).await {
                Ok(Ok(frames)) => match frames.iter().find(|frame| frame.agent.as_str() != id) {
                    None => Ok(frames),
                    Some(other) => {
                        let other = &other.agent;
                        Err(Unread::Failed(format!(
                            "another agent ({other}) answers at its address"
                        )))
                    }
                },
                Ok(Err(unread)) => Err(unread),
                Err(_) => Err(Unread::Failed("it does not answer in time".to_owned())),
            };
            let mut agents = state.traffic.agents();
            let Some(log) = agents.get_mut(&id) else { return };
            match answer {
                Ok(frames) => log.answered(frames, asked_at_ms),
                Err(unread) => log.unanswered(unread),
            }
        })
        .await;
    tell(state).await;
}

/// Tells what has changed since it was told last. Of several controls one tells; what changes while there is none, as after
/// the store was wiped, is told afterwards.
async fn tell(state: &State) {
    if crate::leader::may_act(state) {
        let told = conditions(state);
        commit(state, told).await;
    }
}

/// Events for agents whose condition has changed.
fn conditions(state: &State) -> Vec<EventDraft> {
    let mut events = Vec::new();
    for (id, log) in state.traffic.agents().iter_mut() {
        let (before, now) = (log.told, log.condition());
        if before == now {
            continue;
        }
        let mut tell = |word: &str, value: serde_json::Value| {
            events.push(EventDraft {
                tags: vec![
                    "info".to_owned(),
                    format!("gateway_agent:{word}"),
                    format!("agents:{id}"),
                ],
                value,
                timestamp_ms: now_ms(),
                kind: "event".to_owned(),
            });
        };
        if before.is_stale != now.is_stale {
            let word = if now.is_stale { "stale" } else { "fresh" };
            let value = serde_json::json!({
                "stale_ms": log.stale_ms,
                "generation": log.acknowledgement.generation,
            });
            tell(word, value);
        }
        if before.is_unreachable != now.is_unreachable {
            let word = match (now.is_unreachable, log.live) {
                (true, true) => "unreachable",
                (true, false) => "gone",
                (false, _) => "reachable",
            };
            if now.is_unreachable {
                let reason = log.problem.as_deref();
                tracing::warn!(agent = id, reason, "the agent's figures cannot be read");
            }
            let (admin, reason) = (&log.acknowledgement.admin, &log.problem);
            tell(word, serde_json::json!({ "admin": admin, "reason": reason }));
        }
        log.told = now;
    }
    events
}

async fn commit(state: &State, events: Vec<EventDraft>) {
    // Of several controls one tells.
    if events.is_empty() || !crate::leader::may_act(state) {
        return;
    }
    if let Err(error) = state.commit(Vec::new(), events).await {
        let error = crate::reconcile::chain(&error);
        tracing::warn!(error, "an event could not be stored");
    }
}

/// Notes what the agents acknowledged. Gives an event for each refusal that is new.
fn note(state: &State, acknowledged: Vec<Acknowledgement>) -> Vec<EventDraft> {
    let mut events = Vec::new();
    let mut agents = state.traffic.agents();
    for log in agents.values_mut() {
        log.live = false;
    }
    for acknowledgement in acknowledged {
        let room = agents.len() < AGENTS_MAX;
        let id = acknowledgement.agent.to_string();
        let known = agents
            .get(&id)
            .map_or(&[][..], |log| &log.acknowledgement.refused);
        let new = acknowledgement
            .refused
            .iter()
            .filter(|refusal| !known.contains(refusal));
        events.extend(new.map(|refusal| {
            let mut tags = vec![format!("agents:{id}")];
            if !refusal.gateway.is_empty() {
                tags.push(format!("gateways:{}", refusal.gateway));
            }
            trouble("gateway_agent", tags, &format!("refused: {}", refusal.reason))
        }));
        match agents.get_mut(&id) {
            Some(log) => log.acknowledged(acknowledgement),
            None if room => {
                agents.insert(id, AgentLog::new(acknowledgement));
            }
            None => {}
        }
    }
    let now_ms = now_ms();
    agents.retain(|_, log| {
        let heard_at_ms = log.acknowledgement.at_ms.max(log.reached_at_ms.unwrap_or(0));
        log.live || now_ms.saturating_sub(heard_at_ms) < FORGET_MS
    });
    events
}
