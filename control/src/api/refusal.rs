//! Refused changes are events too: somebody else may have to find out why a release did not happen.

use std::sync::{Mutex, PoisonError};

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};
use serde_json::{Value, json};

use super::{Api, answer, lead};
use crate::{
    reconcile::{chain, trouble},
    state::now_ms,
};

/// Most events of this kind in a second: a client in a loop must not fill the storage.
const EVENTS_A_SECOND_MAX: u32 = 10;
/// Longest answer that is kept whole; of a longer one only the beginning of its message is.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Characters of that message.
const MESSAGE_CHARACTERS_MAX: usize = 2_000;

/// How many events this second has seen.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<(u64, u32)>);

impl Refusals {
    /// Whether one more may be told in the second of `now_ms`.
    pub(super) fn may_tell(&self, now_ms: u64) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now_ms / 1_000;
        if told.0 != second {
            *told = (second, 0);
        }
        told.1 += 1;
        told.1 <= EVENTS_A_SECOND_MAX
    }
}

/// Appends an event when a change is refused for what it says (400, 413). Trying out (`validate_only`) and
/// publishing events is not told.
pub(super) async fn told(State(api): State<Api>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let trying = lead::is_trial(request.uri());
    let changes = matches!(method, Method::POST | Method::PUT | Method::DELETE);
    let response = next.run(request).await;
    let refused = matches!(
        response.status(),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE
    );
    if refused && changes && !trying && !path.ends_with("/events") && api.refusals.may_tell(now_ms()) {
        let mut event = trouble("http_api", Vec::new(), "");
        event.value = value(&method, &path, response.status(), answer::tree(&response));
        if let Err(error) = api.state.commit(Vec::new(), vec![event]).await {
            tracing::warn!(error = chain(&error), "an event could not be stored");
        }
    }
    response
}

fn value(method: &Method, path: &str, status: StatusCode, answer: Option<&Value>) -> Value {
    let message = answer
        .and_then(|answer| answer.get("message")?.as_str())
        .unwrap_or_default();
    let mut value = json!({
        "method": method.as_str(),
        "path": path,
        "status": status.as_u16(),
        "message": message.chars().take(MESSAGE_CHARACTERS_MAX).collect::<String>(),
    });
    if let Some(problems) = answer.and_then(|answer| answer.get("problems"))
        && problems.to_string().len() <= ANSWER_BYTES_MAX
    {
        value["problems"] = problems.clone();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::{EVENTS_A_SECOND_MAX, Refusals};

    #[test]
    fn a_loop_of_refusals_is_told_a_few_times_each_second() {
        let refusals = Refusals::default();
        let told = |now_ms| (0..100).filter(|_| refusals.may_tell(now_ms)).count();
        assert_eq!(told(5_000), EVENTS_A_SECOND_MAX as usize);
        assert_eq!(told(5_999), 0);
        assert_eq!(told(6_000), EVENTS_A_SECOND_MAX as usize);
    }
}
