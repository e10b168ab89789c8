//! In which forms clients send and want to have things (spec of the API §1).
//!
//! **Invariants.** Lenient where that harms nobody: a header that is missing is fine, and so is the form that
//! browsers and curl name when nobody told them one. What cannot be meant is 400, as it was in Vamp.

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, Method,
        header::{ACCEPT, CONTENT_TYPE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{answer::ApiError, path::BASE};

/// Forms of answers.
const ANSWERS: [&str; 9] = [
    "application/json",
    "application/x-yaml",
    "application/yaml",
    "text/yaml",
    "text/x-yaml",
    "application/*",
    "*/*",
    "application/javascript",
    "text/event-stream",
];
/// Forms of bodies.
const BODIES: [&str; 7] = [
    "application/json",
    "application/x-yaml",
    "application/yaml",
    "text/yaml",
    "text/x-yaml",
    // What curl says of any body, and browsers of any text.
    "application/x-www-form-urlencoded",
    "text/plain",
];
/// Paths whose answers and bodies have other forms.
const FREE: [&str; 9] = [
    "/events/stream",
    "/logs",
    "/log",
    "/vga",
    "/haproxy",
    "/config",
    "/configuration",
    "/openapi.json",
    "/docs",
];

/// Refuses forms that are not spoken here.
pub(super) async fn negotiated(request: Request, next: Next) -> Response {
    if let Some(path) = request.uri().path().strip_prefix(BASE)
        && !FREE.iter().any(|free| is_below(path, free))
        && let Err(refused) = check(request.method(), path, request.headers())
    {
        return refused.into_response();
    }
    next.run(request).await
}

fn is_below(path: &str, free: &str) -> bool {
    path.strip_prefix(free)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check(method: &Method, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let composes = path.starts_with("/docker-compose");
    if let Some(accept) = text(headers, &ACCEPT)
        && !accept
            .split(',')
            .map(essence)
            .any(|wanted| ANSWERS.contains(&wanted.as_str()) || (composes && wanted.starts_with("text/")))
    {
        return Err(ApiError::bad_request(format!(
            "Header `accept` is `{}`; answers are application/json or application/x-yaml.",
            shown(accept)
        )));
    }
    let has_body = matches!(*method, Method::POST | Method::PUT | Method::DELETE);
    if let Some(kind) = text(headers, &CONTENT_TYPE).filter(|_| has_body) {
        let kind = essence(kind);
        let is_script = kind == "application/javascript" && path.starts_with("/breeds/");
        if !is_script && !BODIES.contains(&kind.as_str()) {
            return Err(ApiError::bad_request(format!(
                "Header `content-type` is `{}`; bodies are application/json or application/x-yaml.",
                shown(&kind)
            )));
        }
    }
    Ok(())
}

/// A header that says something.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?;
    // What is no text names no form.
    let text = value.to_str().unwrap_or("?").trim();
    (!text.is_empty()).then_some(text)
}

/// Without parameters.
fn essence(kind: &str) -> String {
    let essence = kind.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// Short enough for a message.
fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    text.chars().take(CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, Method, header};

    use super::check;

    #[test]
    fn forms_that_are_spoken_here_pass() {
        let is_right = |method: Method, path: &str, accept: &'static str, kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            check(&method, path, &headers).is_ok()
        };
        for (accept, kind) in [
            ("", ""),
            ("*/*", "application/json; charset=utf-8"),
            (
                "text/html, application/xhtml+xml, */*;q=0.8",
                "application/x-yaml",
            ),
            ("application/x-yaml", "Application/JSON"),
            ("application/json;q=0.5", "application/x-www-form-urlencoded"),
        ] {
            assert!(is_right(Method::POST, "/breeds", accept, kind), "{accept} {kind}");
        }
        assert!(!is_right(Method::GET, "/breeds", "text/html", ""));
        assert!(!is_right(Method::POST, "/breeds", "*/*", "image/png"));
        assert!(!is_right(
            Method::POST,
            "/breeds",
            "*/*",
            "application/javascript"
        ));
        assert!(is_right(
            Method::PUT,
            "/breeds/a",
            "*/*",
            "application/javascript"
        ));
        assert!(
            is_right(Method::GET, "/breeds", "*/*", "image/png"),
            "there is no body"
        );
        assert!(is_right(
            Method::POST,
            "/docker-compose",
            "text/plain",
            "text/plain"
        ));
    }
}
