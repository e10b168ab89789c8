//! `X-Request-Id`: one id for a request in its answer and in every line of the log.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::Instrument as _;
use uuid::Uuid;

/// Name of the header.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id of a client's own, in bytes.
const ID_BYTES_MAX: usize = 128;

/// Gives the request an id, unless it has one that can be printed.
pub(super) async fn identified(mut request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(&X_REQUEST_ID)
        .filter(|id| is_printable(id.as_bytes()))
        .cloned();
    let id = given.unwrap_or_else(|| {
        HeaderValue::from_str(&Uuid::new_v4().to_string()).expect("a uuid is a header's value")
    });
    request.headers_mut().insert(X_REQUEST_ID, id.clone());
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

fn is_printable(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= ID_BYTES_MAX
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::is_printable;

    #[test]
    fn only_harmless_ids_are_taken_over() {
        assert!(is_printable(b"7b3c-1:a/b"));
        for wrong in [&b""[..], b"a b", b"\x1b[31m", "é".as_bytes(), &[b'a'; 129]] {
            assert!(!is_printable(wrong));
        }
    }
}
