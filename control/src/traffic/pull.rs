//! Reading acknowledgements from the store and frames from the agents.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use tokio::time::timeout;
use weir_model::{Acknowledgement, Frame};
use weir_persist::EventDraft;
use weir_store::protocol;

use super::{AGENTS_MAX, log::AgentLog};
use crate::{
    reconcile::trouble,
    state::{State, now_ms},
};

/// Longest answer of an agent or the store.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Largest frame in bytes.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most agents that are asked at one time.
const ASKED_MAX: usize = 32;
/// An agent whose lease is over is forgotten after this time in milliseconds.
const FORGET_MS: u64 = 10 * 60 * 1000;

/// Reads from the store what every agent acknowledged.
pub(super) async fn acknowledgements(state: &State) {
    let acknowledged = timeout(ANSWER_MAX, protocol::agents(&*state.store, &state.config.prefix)).await;
    // While the store is away, what it said last stands: the lease may well go on.
    if let Ok(Ok(acknowledged)) = acknowledged {
        let refusals = note(state, acknowledged);
        if !refusals.is_empty()
            && let Err(error) = state.commit(Vec::new(), refusals).await
        {
            tracing::warn!(
                error = crate::reconcile::chain(&error),
                "an event could not be stored"
            );
        }
    }
}

/// Reads the frame of every live agent.
pub(super) async fn frames(state: &State) {
    let live: Vec<(String, String)> = state
        .traffic
        .agents()
        .iter()
        .filter(|(_, log)| log.live)
        .filter_map(|(id, log)| Some((id.clone(), log.acknowledgement.admin.clone()?)))
        .collect();
    let client = state.traffic.client.get_or_init(reqwest::Client::new);
    futures::stream::iter(live)
        .for_each_concurrent(ASKED_MAX, |(id, admin)| async move {
            match timeout(ANSWER_MAX, frame(client, &admin)).await {
                Ok(Ok(frame)) if frame.agent.as_str() == id => {
                    if let Some(log) = state.traffic.agents().get_mut(&id) {
                        log.add(Arc::new(frame));
                    }
                }
                Ok(Ok(frame)) => {
                    tracing::debug!(agent = id, other = %frame.agent, "another agent answers at its address");
                }
                Ok(Err(error)) => tracing::debug!(agent = id, error, "the agent's figures cannot be read"),
                Err(_) => tracing::debug!(agent = id, "the agent does not answer in time"),
            }
        })
        .await;
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
            Some(log) => {
                log.acknowledgement = acknowledgement;
                log.live = true;
            }
            None if room => {
                agents.insert(id, AgentLog::new(acknowledgement));
            }
            None => {}
        }
    }
    let now_ms = now_ms();
    agents.retain(|_, log| log.live || now_ms.saturating_sub(log.acknowledgement.at_ms) < FORGET_MS);
    events
}

async fn frame(client: &reqwest::Client, admin: &str) -> Result<Frame, String> {
    let said = |error: reqwest::Error| crate::reconcile::chain(&error);
    let mut answer = client
        .get(format!("http://{admin}/frames"))
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(said)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(said)? {
        if body.len() + chunk.len() > FRAME_BYTES_MAX {
            return Err(format!("it is longer than {FRAME_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}
