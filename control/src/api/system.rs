//! `/info`, `/stats`, `/agents`, `/traffic`: what there is and what it does.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{extract::State, http::StatusCode};
use serde_json::{Map, Value, json};
use weir_artifact::Kind;
use weir_persist::{EventQuery, Page};

use super::{
    Api,
    answer::{Answer, ApiError, ErrorBody},
    request::Parameters,
};
use crate::{event::timestamp, reconcile::chain, state::now_ms, traffic};

/// Time for a part to say that it is there.
pub(crate) const PART_TIMEOUT: Duration = Duration::from_secs(3);

/// Says what this control is and what it is made of.
#[utoipa::path(get, path = "/info", tag = "system",
    params(("on" = Option<Vec<String>>, Query, description = "Only these parts: `jvm`, `persistence`, \
        `key_value`, `pulse`, `gateway_driver`, `container_driver`, `workflow_driver`")),
    responses((status = 200, description = "What there is", body = Value),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 500, description = "The same, but a part does not answer", body = Value)))]
pub(super) async fn info(State(api): State<Api>, parameters: Parameters) -> Answer {
    let state = &api.state;
    let mut info = Map::new();
    info.insert("message".to_owned(), json!(state.live().message));
    info.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    info.insert("uuid".to_owned(), json!(api.uuid));
    info.insert("running_since".to_owned(), json!(timestamp(state.started_at_ms)));
    info.insert("namespace".to_owned(), json!(state.config.namespace));
    let storage = state.persist.kind();
    let publication = state.traffic.publication.status();
    let parts = [
        // The name is Vamp's; the fields say what is true of this process.
        (
            "jvm",
            json!({
                "operating_system": {
                    "name": std::env::consts::OS,
                    "architecture": std::env::consts::ARCH,
                    "available_processors": std::thread::available_parallelism().map_or(1, usize::from),
                },
                "runtime": {
                    "process": std::process::id().to_string(),
                    "start_time": timestamp(state.started_at_ms),
                    "up_time": now_ms().saturating_sub(state.started_at_ms),
                },
            }),
        ),
        ("persistence", json!({"database": {"type": storage}})),
        ("key_value", json!({"type": state.store.kind()})),
        ("pulse", json!({"type": storage})),
        (
            "gateway_driver",
            json!({
                "marshallers": marshallers(state),
                "generation": publication.generation,
                "published_at_ms": publication.published_at_ms,
                "error": publication.error,
            }),
        ),
        ("container_driver", json!({"type": state.driver.kind()})),
        ("workflow_driver", json!({})),
    ];
    let on = parameters.all(&["on"]);
    let is_asked = |name: &str| on.is_empty() || on.iter().any(|asked| asked == name);
    let mut status = StatusCode::OK;
    for (name, mut part) in parts {
        if !is_asked(name) {
            continue;
        }
        if let Some(why) = trouble(state, name).await {
            status = StatusCode::INTERNAL_SERVER_ERROR;
            part["error"] = json!(why);
        }
        info.insert(name.to_owned(), part);
    }
    Answer::new(status, Value::Object(info))
}

/// Why a part does not answer, if it does not.
async fn trouble(state: &crate::state::State, part: &str) -> Option<String> {
    let asked = async {
        match part {
            "persistence" | "pulse" => {
                let found = state.persist.get("breeds", "-").await;
                found.map(drop).map_err(|error| chain(&error))
            }
            "key_value" => {
                let manifest = weir_store::protocol::manifest_key(&state.config.prefix);
                let found = state.store.get(&manifest).await;
                found.map(drop).map_err(|error| chain(&error))
            }
            "container_driver" => state.driver.list().await.map(drop).map_err(|error| chain(&error)),
            _ => Ok(()),
        }
    };
    match tokio::time::timeout(PART_TIMEOUT, asked).await {
        Ok(answer) => answer.err(),
        Err(_) => Some(format!("no answer within {PART_TIMEOUT:?}")),
    }
}

/// Counts what happened.
#[utoipa::path(get, path = "/stats", tag = "system",
    responses((status = 200, description = "`{jvm, system, persistence, pulse}`; the names are Vamp's", body = Value)))]
pub(super) async fn stats(State(api): State<Api>) -> Result<Answer, ApiError> {
    let state = &*api.state;
    let mut artifacts = Map::new();
    for kind in Kind::ALL {
        let (_, total) = state.persist.list(kind.plural(), NOTHING).await?;
        artifacts.insert(kind.plural().to_owned(), json!(total));
    }
    let mut system = Map::new();
    for (name, tags) in [
        ("escalation-count", &["sla:escalate"][..]),
        ("de-escalation-count", &["sla:deescalate"]),
        ("deployed-services", &["synchronization:deployed"]),
        ("redeployed-services", &["synchronization:redeploy"]),
        ("undeployed-services", &["synchronization:undeployed"]),
        ("scheduled-workflows", &["workflows", "scheduled"]),
        ("unscheduled-workflows", &["workflows", "unscheduled"]),
    ] {
        let query = EventQuery {
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..EventQuery::default()
        };
        let (_, total) = state.persist.events(&query, NOTHING).await?;
        system.insert(name.to_owned(), json!(total));
    }
    let events = state.persist.event_totals().await?;
    let removed = &state.removed;
    Ok(Answer::ok(json!({
        "jvm": {"up_time": now_ms().saturating_sub(state.started_at_ms)},
        "system": system,
        "persistence": {"artifacts": artifacts},
        "pulse": {
            "events": events.events,
            "bytes": events.bytes,
            // Since this control was started.
            "removed": {
                "age": removed.by_age.load(Ordering::Relaxed),
                "size": removed.by_size.load(Ordering::Relaxed),
            },
            "streams": state.events.receiver_count(),
        },
    })))
}

/// A count alone.
const NOTHING: Page = Page { offset: 0, limit: 0 };

/// Weir's own, and those that are written for others.
fn marshallers(state: &crate::state::State) -> Map<String, Value> {
    let mut marshallers = Map::new();
    marshallers.insert("weir".to_owned(), json!({"type": "weir"}));
    for name in &state.config.haproxy {
        marshallers.insert(name.clone(), json!({"type": crate::vga::HAPROXY}));
    }
    marshallers
}

/// Says whether this control leads, and which one does if it does not.
#[utoipa::path(get, path = "/leader", tag = "system",
    responses((status = 200, description = "`{leads, election, epoch?, leader?: {control, address, epoch, \
        since_ms}, reason?}`", body = Value)))]
pub(super) async fn leader(State(api): State<Api>) -> Answer {
    Answer::ok(api.state.leader.show())
}

/// Lists the agents: what each serves and what it refused.
#[utoipa::path(get, path = "/agents", tag = "system",
    responses((status = 200, description = "Each with what it serves and since when", body = [traffic::AgentView])))]
pub(super) async fn agents(State(api): State<Api>) -> Result<Answer, ApiError> {
    let agents = traffic::agents(&api.state).await?;
    Ok(Answer::ok(tree(agents)?))
}

/// Shows for every gateway and route what is intended, what agents acknowledged, and what traffic did.
#[utoipa::path(get, path = "/traffic", tag = "system",
    params(("gateway" = Option<String>, Query, description = "Only this one"),
        ("window" = Option<u64>, Query, description = "Seconds, default 10")),
    responses((status = 200, description = "See docs/api.md", body = Value),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 404, description = "No such gateway", body = ErrorBody)))]
pub(super) async fn traffic(State(api): State<Api>, parameters: Parameters) -> Result<Answer, ApiError> {
    let query = traffic::TrafficQuery {
        gateway: parameters.one("gateway").map(str::to_owned),
        window_s: parameters.number("window")?,
    };
    let traffic = traffic::traffic(&api.state, query).await?;
    Ok(Answer::ok(tree(traffic)?))
}

fn tree(value: impl serde::Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| {
        tracing::error!(%error, "an answer has no JSON form");
        ApiError::internal()
    })
}
