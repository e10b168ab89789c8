//! Changes are for the control that leads.

use axum::{
    extract::{Query, Request, State},
    http::{HeaderValue, Method, StatusCode, Uri, header::RETRY_AFTER},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{Api, answer::ApiError, path::BASE};
use crate::leader;

/// What is asked with a body and changes nothing.
const QUESTIONS: [&str; 2] = ["/plan", "/explain"];

/// What is done always: nothing below these, nor a command, can be tried out.
const DONE: [&str; 3] = ["tokens", "events", "vga"];
/// Paths of commands end so.
const COMMAND: &str = "/exec";

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
    !is_safe && !is_trial(request.uri()) && !QUESTIONS.contains(&inside)
}

/// Whether a request is only to be checked (`validate_only`), as whoever answers it reads that.
pub(super) fn is_trial(uri: &Uri) -> bool {
    let inside = uri.path().strip_prefix(BASE).unwrap_or_default();
    let first = inside
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default();
    if DONE.contains(&first) || inside.ends_with(COMMAND) {
        return false;
    }
    // One that cannot be read is refused.
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return false;
    };
    let mut asked = pairs.iter().rev().filter(|(name, _)| name == "validate_only");
    asked
        .next()
        .is_some_and(|(_, value)| matches!(value.as_str(), "true" | ""))
}

#[cfg(test)]
mod tests {
    use super::is_trial;

    #[test]
    fn a_trial_is_what_the_parameter_says_where_there_are_trials() {
        for (asked, expected) in [
            ("breeds", false),
            ("breeds?validate_only=true", true),
            ("breeds?validate_only", true),
            ("breeds?validate_only=false&validate_only=true", true),
            ("breeds?validate_only=true&validate_only=false", false),
            ("breeds?validate%5Fonly=true", true),
            ("breeds?validate_only=truely", false),
            ("breeds?note=validate_only=true", false),
            ("breeds?not_validate_only=true", false),
            ("breeds/tokens?validate_only=true", true),
            ("tokens?validate_only=true", false),
            ("tokens/x?validate_only=true", false),
            ("events?validate_only=true", false),
            ("vga/haproxy/1.7/template?validate_only=true", false),
            (
                "deployments/a/clusters/b/services/c/instances/d/exec?validate_only=true",
                false,
            ),
        ] {
            let uri = format!("/api/v1/{asked}").parse().unwrap();
            assert_eq!(is_trial(&uri), expected, "{asked}");
        }
    }
}
