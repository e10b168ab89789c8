//! `/events` (spec of the API §7).

use axum::{extract::State, http::StatusCode};
use serde_json::{Value, json};
use weir_persist::AggregateKind;

use super::{
    Api,
    answer::{Answer, ApiError, ErrorBody},
    paging::Paging,
    request::{Parameters, Text, tree},
    tokens::no_trial,
};
use crate::{
    event::{
        draft,
        query::{self, Query},
        view,
    },
    state::now_ms,
};

/// Publishes an event.
#[utoipa::path(post, path = "/events", tag = "events",
    request_body(content = Value, description = "`{tags, type, value, timestamp}`; only tags are required"),
    responses((status = 201, description = "The event as it is stored, with expanded tags", body = EventBody),
        (status = 400, description = "Wrong", body = ErrorBody)))]
pub(super) async fn publish(
    State(api): State<Api>,
    parameters: Parameters,
    Text(text): Text,
) -> Result<Answer, ApiError> {
    no_trial(&parameters)?;
    let draft = draft::read(tree(&text)?.unwrap_or_default(), now_ms())?;
    let events = api.state.commit(Vec::new(), vec![draft]).await?;
    let event = events.first().ok_or_else(ApiError::internal)?;
    Ok(Answer::new(StatusCode::CREATED, view(event)))
}

/// Lists events, newest first, or sums up their values.
#[utoipa::path(get, path = "/events", tag = "events",
    params(("tag" = Option<Vec<String>>, Query, description = "All of these; `tags` is the same"),
        ("type" = Option<String>, Query), ("page" = Option<u64>, Query), ("per_page" = Option<u64>, Query)),
    request_body(content = Option<Value>, description = "`{tags, type, timestamp: {lt, lte, gt, gte}, \
        aggregator: {type: min|max|average|sum|count, field}}`; overrides the parameters"),
    responses((status = 200, description = "Events, or with an aggregator `{value}`", body = [EventBody]),
        (status = 400, description = "Wrong", body = ErrorBody)))]
pub(super) async fn list(
    State(api): State<Api>,
    parameters: Parameters,
    paging: Paging,
    Text(text): Text,
) -> Result<Answer, ApiError> {
    let Query { filter, aggregate } = asked(&parameters, &text)?;
    let persist = &api.state.persist;
    let Some(aggregate) = aggregate else {
        let (events, total) = persist.events(&filter, paging.part()).await?;
        return Ok(paging.answer(events.iter().map(view).collect(), total));
    };
    let sum = persist.aggregate(&filter, &aggregate).await?;
    let value = match (aggregate.kind, sum) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count is a whole number from 0"
        )]
        (AggregateKind::Count, Some(count)) => json!(count as u64),
        (_, sum) => json!(sum),
    };
    Ok(Answer::ok(json!({"value": value})))
}

/// What a request asks for: its body, else its parameters.
pub(super) fn asked(parameters: &Parameters, text: &str) -> Result<Query, ApiError> {
    Ok(match tree(text)? {
        Some(tree) if !text.trim().is_empty() => query::from_tree(tree, now_ms())?,
        _ => {
            let kind = parameters.one("type").map(str::to_owned);
            query::from_parameters(parameters.all(&["tag", "tags"]), kind)?
        }
    })
}

/// An event as it is shown.
#[derive(utoipa::ToSchema)]
#[schema(as = Event)]
#[expect(
    dead_code,
    reason = "the form of `event::view`, for the description of the interface"
)]
pub(super) struct EventBody {
    /// Ascending in the order of publishing.
    id: String,
    /// With expanded tags: `a:b` also has `a`.
    tags: Vec<String>,
    /// ISO 8601 in UTC.
    timestamp: String,
    /// `event`, `archive`, `metrics`, ...
    r#type: String,
    /// Anything; absent when the event says nothing more.
    value: Option<Value>,
}
