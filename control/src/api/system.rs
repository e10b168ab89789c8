//! `/info`, `/agents`, `/traffic`: what there is and what it does.

use axum::extract::State;
use serde_json::{Map, Value, json};

use super::{
    Api,
    answer::{Answer, ApiError, ErrorBody},
    request::Parameters,
};
use crate::{event::timestamp, state::now_ms, traffic};

/// Greets.
const MESSAGE: &str = "Hi, I'm Weir! How are you?";

/// Says what this control is and what it is made of.
#[utoipa::path(get, path = "/info", tag = "system",
    params(("on" = Option<Vec<String>>, Query, description = "Only these parts: `jvm`, `persistence`, \
        `key_value`, `pulse`, `gateway_driver`, `container_driver`, `workflow_driver`")),
    responses((status = 200, description = "What there is", body = Value)))]
pub(super) async fn info(State(api): State<Api>, parameters: Parameters) -> Answer {
    let state = &api.state;
    let mut info = Map::new();
    info.insert("message".to_owned(), json!(MESSAGE));
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
                "marshallers": {"weir": {"type": "weir"}},
                "generation": publication.generation,
                "published_at_ms": publication.published_at_ms,
                "error": publication.error,
            }),
        ),
        ("container_driver", json!({"type": state.driver.kind()})),
        ("workflow_driver", json!({})),
    ];
    let on = parameters.all(&["on"]);
    for (name, part) in parts {
        if on.is_empty() || on.iter().any(|asked| asked == name) {
            info.insert(name.to_owned(), part);
        }
    }
    Answer::ok(Value::Object(info))
}

/// Lists the agents: what each serves and what it refused.
#[utoipa::path(get, path = "/agents", tag = "system",
    responses((status = 200, description = "`{agent, admin, generation, digest, seen, refused: [{gateway, \
        reason}], version, started_at_ms, at_ms, live}` of each", body = [Value])))]
pub(super) async fn agents(State(api): State<Api>) -> Result<Answer, ApiError> {
    let agents = traffic::agents(&api.state).await?;
    Ok(Answer::ok(tree(agents)?))
}

/// Shows for every gateway and route what is intended, what agents acknowledged, and what traffic did.
#[utoipa::path(get, path = "/traffic", tag = "system",
    params(("gateway" = Option<String>, Query, description = "Only this one"),
        ("window" = Option<u64>, Query, description = "Seconds, default 10")),
    responses((status = 200, description = "See docs/api.md", body = Value),
        (status = 400, description = "Wrong", body = ErrorBody)))]
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
