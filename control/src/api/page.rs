//! `/docs`: the description of the interface to look at. Self-made, from `/openapi.json`; nothing is loaded from
//! elsewhere.

use axum::{
    extract::Path,
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    response::{IntoResponse, Response},
};

use super::answer::ApiError;

const INDEX: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/page.js");
const STYLE: &str = include_str!("page/page.css");
/// Nothing from elsewhere, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// `GET /docs`
pub(super) async fn index() -> Response {
    shown("text/html; charset=utf-8", INDEX)
}

/// `GET /docs/{file}`
pub(super) async fn file(Path(file): Path<String>) -> Result<Response, ApiError> {
    match file.as_str() {
        "page.js" => Ok(shown("text/javascript; charset=utf-8", SCRIPT)),
        "page.css" => Ok(shown("text/css; charset=utf-8", STYLE)),
        _ => Err(ApiError::not_found()),
    }
}

fn shown(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}
