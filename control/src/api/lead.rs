//! Changes are for the control that leads.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header::RETRY_AFTER},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{Api, answer::ApiError, path::BASE};
use crate::leader;

/// What is asked with a body and changes nothing.
const QUESTIONS: [&str; 2] = ["/plan", "/explain"];

/// Refuses a change that this control may not make, with 503 and who may.
pub(super) async fn led(State(api): State<Api>, request: Request, next: Next) -> Response {
    if changes(&request)
        && let Err(reason) = leader::may_change(&api.state).await
    {
        let mut refusal = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
        refusal
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return refusal;
    }
    next.run(request).await
}

fn changes(request: &Request) -> bool {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let inside = request.uri().path().strip_prefix(BASE).unwrap_or_default();
    let is_trial = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("validate_only=true"));
    !is_safe && !is_trial && !QUESTIONS.contains(&inside)
}
