//! `/config` (spec of the API §9).

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::Value;
use weir_persist::{EventDraft, Write};

use super::{
    Api,
    answer::{Answer, ApiError, ErrorBody},
    request::{Parameters, Submission},
};
use crate::{
    configuration::{self, Flat, KIND, Layers, Live, NAME, PREFIX},
    state::now_ms,
};

/// Shows settings.
#[utoipa::path(get, path = "/config", tag = "system",
    params(("type" = Option<String>, Query, description = "Layer: `applied` (default), `dynamic`, `system`, \
            `environment`, `application` or `reference`"),
        ("flatten" = Option<bool>, Query, description = "Dotted keys instead of a tree")),
    responses((status = 200, description = "Keys that begin with `vamp`", body = Value),
        (status = 400, description = "Wrong", body = ErrorBody)))]
pub(super) async fn read_all(State(api): State<Api>, parameters: Parameters) -> Result<Answer, ApiError> {
    let flat = asked(&api, &parameters).await?;
    Ok(Answer::ok(shown(flat, &parameters)?))
}

/// Shows one setting.
#[utoipa::path(get, path = "/config/{key}", tag = "system",
    params(("key" = String, Path, description = "Dotted key"),
        ("type" = Option<String>, Query, description = "As for all settings"),
        ("flatten" = Option<bool>, Query, description = "Dotted keys instead of a tree")),
    responses((status = 200, description = "The key alone", body = Value),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 404, description = "No such key", body = ErrorBody)))]
pub(super) async fn read_one(
    State(api): State<Api>,
    Path(key): Path<String>,
    parameters: Parameters,
) -> Result<Answer, ApiError> {
    let mut flat = asked(&api, &parameters).await?;
    flat.retain(|known, _| *known == key);
    if flat.is_empty() {
        return Err(ApiError::not_found());
    }
    Ok(Answer::ok(shown(flat, &parameters)?))
}

async fn asked(api: &Api, parameters: &Parameters) -> Result<Flat, ApiError> {
    let stored = api.state.stored(KIND, NAME).await?;
    let dynamic = match stored.map(|stored| stored.body) {
        Some(Value::Object(fields)) => fields.into_iter().collect(),
        _ => Flat::new(),
    };
    let layers = Layers::new(&api.state.config, dynamic);
    let mut flat = match parameters.one("type") {
        Some("dynamic") => layers.dynamic,
        // There is nothing like the properties of a Java process.
        Some("system") => Flat::new(),
        Some("environment") => layers.environment,
        Some("application") => layers.application,
        Some("reference") => layers.reference,
        _ => layers.applied(),
    };
    flat.retain(|key, _| key.starts_with(PREFIX));
    Ok(flat)
}

fn shown(flat: Flat, parameters: &Parameters) -> Result<Value, ApiError> {
    Ok(match parameters.flag("flatten")? {
        true => Value::Object(flat.into_iter().collect()),
        false => configuration::tree(&flat),
    })
}

/// Sets the dynamic layer. An empty body clears it.
#[utoipa::path(put, path = "/config", tag = "system",
    params(("validate_only" = Option<bool>, Query, description = "Check, but change nothing"),
        ("flatten" = Option<bool>, Query, description = "Answer dotted keys instead of a tree")),
    request_body(content = Option<Value>, description = "A tree, dotted keys, or lines of `key = value`"),
    responses((status = 202, description = "The dynamic layer", body = Value),
        (status = 400, description = "Wrong", body = ErrorBody)))]
pub(super) async fn update(asked: Submission) -> Result<Answer, ApiError> {
    set(&asked).await
}

/// Sets the dynamic layer. An empty body clears it.
#[utoipa::path(post, path = "/config", tag = "system",
    params(("validate_only" = Option<bool>, Query, description = "Check, but change nothing"),
        ("flatten" = Option<bool>, Query, description = "Answer dotted keys instead of a tree")),
    request_body(content = Option<Value>, description = "A tree, dotted keys, or lines of `key = value`"),
    responses((status = 202, description = "The dynamic layer", body = Value),
        (status = 400, description = "Wrong", body = ErrorBody)))]
pub(super) async fn create(asked: Submission) -> Result<Answer, ApiError> {
    set(&asked).await
}

async fn set(asked: &Submission) -> Result<Answer, ApiError> {
    let state = &*asked.api.state;
    let who = &asked.principal.name;
    let dynamic = configuration::read(&state.config, &asked.text)?;
    let answer = Answer::new(StatusCode::ACCEPTED, shown(dynamic.clone(), &asked.parameters)?);
    if asked.validate_only()? {
        return Ok(answer);
    }
    let layers = Layers::new(&state.config, dynamic.clone());
    let (live, problems) = Live::of(&state.config, &layers.applied());
    if !problems.is_empty() {
        return Err(problems.into());
    }
    let _guard = state.write_lock.lock().await;
    let before = state.stored(KIND, NAME).await?.map(|stored| stored.body);
    let body = Value::Object(dynamic.into_iter().collect());
    let told = EventDraft {
        tags: vec![
            "change:update".to_owned(),
            format!("artifact:{KIND}/{NAME}"),
            format!("who:{who}"),
        ],
        value: serde_json::json!({
            "who": who,
            "action": "update",
            "kind": KIND,
            "name": NAME,
            "before": before,
            "after": body,
        }),
        timestamp_ms: now_ms(),
        kind: "change".to_owned(),
    };
    let write = Write::Put {
        kind: KIND.to_owned(),
        name: NAME.to_owned(),
        body,
        expect: None,
    };
    state.commit(vec![write], vec![told]).await?;
    state.set_live(live);
    Ok(answer)
}
