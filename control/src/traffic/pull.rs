//! Reading acknowledgements from the store and frames from the agents.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use tokio::time::timeout;
use weir_model::{Acknowledgement, Frame};
use weir_persist::EventDraft;
use weir_store::protocol;

use super::{AGENTS_MAX, in_flight::Busy, log::AgentLog};
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
/// An agent whose lease is over, and that did not answer so often in a row, is not asked any more.
const GONE_FAILURES: u32 = 10;
/// An agent whose lease is over is forgotten after this time in milliseconds.
const FORGET_MS: u64 = 10 * 60 * 1000;

/// Reads from the store what every agent acknowledged.
pub(super) async fn acknowledgements(state: &State) {
    let acknowledged = timeout(ANSWER_MAX, protocol::agents(&*state.store, &state.config.prefix)).await;
    // While the store is away, what it said last stands: the lease may well go on.
    if let Ok(Ok(acknowledged)) = acknowledged {
        let refusals = note(state, acknowledged);
        commit(state, refusals).await;
    }
}

/// What the agents are asked with.
#[derive(Debug)]
pub(super) struct Clients {
    /// For plain HTTP: it needs no certificates of the system, which need not be there.
    plain: reqwest::Client,
    /// For TLS, or why there is none.
    secure: Result<reqwest::Client, String>,
}

impl Clients {
    fn new(authority: Option<&std::path::Path>) -> Self {
        let plain = reqwest::Client::builder().tls_certs_only([]).build();
        let secure = match authority {
            None => reqwest::Client::builder()
                .build()
                .map_err(|error| error.to_string()),
            Some(path) => trusting(path).map_err(|error| {
                tracing::error!(path = %path.display(), error, "agents with TLS cannot be asked");
                error
            }),
        };
        Self {
            plain: plain.expect("a client without certificates needs nothing of the system"),
            secure,
        }
    }
}

/// A client that trusts what these certificates have signed, and nothing else.
fn trusting(path: &std::path::Path) -> Result<reqwest::Client, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string())?;
    let client = reqwest::Client::builder().tls_certs_only(certificates).build();
    client.map_err(|error| crate::reconcile::chain(&error))
}

/// Reads the frames of every agent, also of those whose leases are over: they may have lost the store alone. Tells of
/// those whose condition has changed.
pub(super) async fn frames(state: &State) {
    let known: Vec<(String, String, u64)> = state
        .traffic
        .agents()
        .iter()
        // One that is gone is not waited for again and again.
        .filter(|(_, log)| log.live || log.failed < GONE_FAILURES)
        .filter_map(|(id, log)| {
            let since_ms = log.latest().map_or(0, |frame| frame.at_ms);
            Some((id.clone(), log.acknowledgement.admin.clone()?, since_ms))
        })
        .collect();
    let clients = state
        .traffic
        .clients
        .get_or_init(|| Clients::new(state.config.agent_authority.as_deref()));
    futures::stream::iter(known)
        .for_each_concurrent(ASKED_MAX, |(id, admin, since_ms)| async move {
            let asked_at_ms = now_ms();
            let answer = match timeout(ANSWER_MAX, ask(state, clients, &admin, since_ms)).await {
                Ok(Ok(frames)) => match frames.iter().find(|frame| frame.agent.as_str() != id) {
                    None => Ok(frames),
                    Some(other) => Err(format!("another agent ({}) answers at its address", other.agent)),
                },
                Ok(Err(error)) => Err(error),
                Err(_) => Err("it does not answer in time".to_owned()),
            };
            let mut agents = state.traffic.agents();
            let Some(log) = agents.get_mut(&id) else { return };
            match answer {
                Ok(frames) => {
                    if let Some(newest) = frames.last() {
                        log.busy = Busy::of(newest, asked_at_ms);
                        log.failed = 0;
                        log.reached_at_ms = Some(now_ms());
                    }
                    for frame in frames {
                        log.add(Arc::new(frame));
                    }
                }
                Err(error) => {
                    log.failed = log.failed.saturating_add(1);
                    tracing::debug!(agent = id, error, "the agent's figures cannot be read");
                }
            }
        })
        .await;
    let told = conditions(state);
    commit(state, told).await;
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
                "stale_ms": log.stale_ms(),
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
            tell(word, serde_json::json!({ "admin": log.acknowledgement.admin }));
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

/// The frames of an agent after that time, oldest first.
async fn ask(state: &State, clients: &Clients, admin: &str, since_ms: u64) -> Result<Vec<Frame>, String> {
    let said = |error: reqwest::Error| crate::reconcile::chain(&error);
    let (client, base) = match admin.strip_prefix("https://") {
        Some(_) => (clients.secure.as_ref().map_err(Clone::clone)?, admin.to_owned()),
        None => (
            &clients.plain,
            format!("http://{}", admin.trim_start_matches("http://")),
        ),
    };
    let mut request = client.get(format!("{base}/frames?since={since_ms}"));
    if let Some(token) = &state.config.agent_token {
        request = request.bearer_auth(token.reveal());
    }
    let mut answer = request
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
    let wrong = |error: serde_json::Error| error.to_string();
    // One without a list is older than `since`.
    if body.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice(&body).map_err(wrong)
    } else {
        Ok(vec![serde_json::from_slice(&body).map_err(wrong)?])
    }
}
