//! Who may ask.
//!
//! `/health` is for everybody: balancers ask it. Everything else wants the token, if there is one: as
//! `Authorization: Bearer TOKEN`, or as the password of HTTP Basic, which browsers can give. The statistics page may
//! have a name and a password of its own, as HAProxy's has.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::Secret;

/// What HAProxy's statistics ask for, under our name.
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"Basic realm="Weir Stats", charset="UTF-8""#);
/// Longest credentials that are looked at, in bytes.
const CREDENTIALS_BYTES_MAX: usize = 4 * 1024;

/// Credentials of the admin listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// Opens everything.
    pub(crate) token: Option<Secret>,
    /// Name and password that open the statistics.
    pub(crate) statistics: Option<(String, Secret)>,
}

impl Guard {
    /// Whether anything is asked of those who come.
    pub(crate) fn is_open(&self) -> bool {
        self.token.is_none()
    }

    fn admits(&self, path: &str, headers: &HeaderMap) -> bool {
        let is_statistics = matches!(path, "/" | "/stats" | "/stats.html" | "/stats.json");
        if path == "/health" {
            return true;
        }
        if self.token.is_none() && !(is_statistics && self.statistics.is_some()) {
            return true;
        }
        let Some(given) = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes) else {
            return false;
        };
        if given.len() > CREDENTIALS_BYTES_MAX {
            return false;
        }
        if let Some(token) = after(given, b"bearer ") {
            return self.token.as_ref().is_some_and(|secret| secret.is(token));
        }
        let Some(basic) = after(given, b"basic ").and_then(|text| STANDARD.decode(text).ok()) else {
            return false;
        };
        let Some(colon) = basic.iter().position(|byte| *byte == b':') else {
            return false;
        };
        let (name, password) = basic.split_at(colon);
        let password = password.get(1..).unwrap_or_default();
        let is_token = self.token.as_ref().is_some_and(|secret| secret.is(password));
        let is_of_statistics = is_statistics
            && self
                .statistics
                .as_ref()
                .is_some_and(|(user, secret)| secret.is(password) & (user.as_bytes() == name));
        is_token || is_of_statistics
    }
}

/// The credentials after a scheme, whose case does not matter (RFC 9110 §11.1).
fn after<'a>(given: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (front, rest) = given.split_at_checked(scheme.len())?;
    front.eq_ignore_ascii_case(scheme).then(|| rest.trim_ascii())
}

/// Lets those pass who may.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if guard.admits(request.uri().path(), request.headers()) {
        return next.run(request).await;
    }
    let headers = [(WWW_AUTHENTICATE, CHALLENGE)];
    (StatusCode::UNAUTHORIZED, headers, "The token is needed.\n").into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::Guard;
    use crate::Secret;

    fn admits(guard: &Guard, path: &str, credentials: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(credentials) = credentials {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(credentials).unwrap());
        }
        guard.admits(path, &headers)
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn without_credentials_everything_is_open() {
        assert!(admits(&Guard::default(), "/frames", None));
    }

    #[test]
    fn the_token_opens_everything_and_health_is_always_open() {
        let guard = Guard {
            token: Some(Secret::new("t0ken")),
            statistics: None,
        };
        assert!(admits(&guard, "/health", None));
        for path in ["/frames", "/metrics", "/status", "/", "/stats", "/healthy"] {
            assert!(!admits(&guard, path, None), "{path}");
            assert!(!admits(&guard, path, Some("Bearer other")), "{path}");
            assert!(!admits(&guard, path, Some("Bearer")), "{path}");
            assert!(!admits(&guard, path, Some("Basic !!")), "{path}");
            assert!(!admits(&guard, path, Some(&basic("t0ken"))), "{path}");
            assert!(admits(&guard, path, Some("bearer t0ken")), "{path}");
            assert!(admits(&guard, path, Some(&basic("anybody:t0ken"))), "{path}");
        }
    }

    #[test]
    fn the_password_of_the_statistics_opens_those_alone() {
        let mut guard = Guard {
            token: None,
            statistics: Some(("haproxy".to_owned(), Secret::new("haproxy"))),
        };
        let credentials = basic("haproxy:haproxy");
        assert!(!admits(&guard, "/", None));
        assert!(!admits(&guard, "/stats", Some(&basic("other:haproxy"))));
        assert!(admits(&guard, "/stats.html", Some(&credentials)));
        assert!(admits(&guard, "/metrics", None));
        guard.token = Some(Secret::new("t"));
        assert!(admits(&guard, "/", Some(&credentials)));
        assert!(!admits(&guard, "/metrics", Some(&credentials)));
    }
}
