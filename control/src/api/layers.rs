//! What happens around every request.

use std::{net::IpAddr, time::Duration};

use axum::{
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{self, CACHE_CONTROL, CONTENT_TYPE, PRAGMA},
        request::Parts,
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{
    Api,
    answer::{ApiError, Format, formed},
};
use crate::config::Origins;

/// Longest message of a refusal that the framework words, in bytes.
const REFUSAL_BYTES_MAX: usize = 4 * 1024;
/// Time that browsers keep the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_secs(1800);

/// Gives answers their form, and says that nobody keeps them.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let format = Format::accepted(request.headers());
    let response = next.run(request).await;
    let mut response = formed(worded(response).await, format);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Refusals that the framework words as plain text (a path that is not UTF-8) get the form of all others.
async fn worded(response: Response) -> Response {
    let status = response.status();
    let plain = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !plain || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), REFUSAL_BYTES_MAX).await;
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    ApiError::new(status, text).into_response()
}

/// Runs the request to its end, whatever its client does, so that a change is made and told or neither; gives
/// up waiting in time; a panic is this request's alone.
pub(super) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let running = tokio::spawn(next.run(request));
    let bound = api.state.config.request_timeout;
    match tokio::time::timeout(bound, running).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::error!(%method, path, %error, "a request failed");
            ApiError::internal().into_response()
        }
        Err(_) => {
            tracing::error!(%method, path, ?bound, "a request took too long");
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("The answer took longer than {bound:?}."),
            )
            .into_response()
        }
    }
}

/// Refuses changes that a browser asks for on behalf of a page from elsewhere. Control runs commands, so that
/// otherwise any page could run commands on the host of whoever reads it.
pub(super) async fn origin(State(api): State<Api>, request: Request, next: Next) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe && let Err(refused) = foreign(&api, &request) {
        return refused.into_response();
    }
    next.run(request).await
}

/// Refuses a request that a browser makes on behalf of a page from elsewhere.
pub(super) fn foreign(api: &Api, request: &Request) -> Result<(), ApiError> {
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return Ok(());
    };
    let host = request.headers().get(header::HOST);
    if is_allowed(api.state.config.origins, api.address.ip(), origin, host) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "Pages from elsewhere may not change anything here (see the setting for origins).",
    ))
}

/// Tells browsers what pages from elsewhere may read (spec of the API §1).
pub(super) fn cors(api: &Api) -> CorsLayer {
    let (origins, address) = (api.state.config.origins, api.address.ip());
    let allowed = move |origin: &HeaderValue, parts: &Parts| {
        is_allowed(origins, address, origin, parts.headers.get(header::HOST))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_credentials(true)
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::HEAD,
            Method::OPTIONS,
            Method::DELETE,
            Method::PUT,
        ])
        .expose_headers([
            header::ETAG,
            header::LINK,
            HeaderName::from_static("x-total-count"),
        ])
        .max_age(PREFLIGHT_AGE)
}

fn is_allowed(origins: Origins, listening: IpAddr, origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    if origins == Origins::Any {
        return true;
    }
    let Some(page) = authority(origin) else {
        return false;
    };
    if is_loopback(page.host()) {
        return true;
    }
    // A name that leads to the loopback address was not put there by a friend.
    !listening.is_loopback()
        && host.and_then(|host| host.to_str().ok()?.parse::<Authority>().ok()) == Some(page)
}

fn authority(origin: &HeaderValue) -> Option<Authority> {
    let (_, authority) = origin.to_str().ok()?.split_once("://")?;
    authority.parse().ok()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc, time::Duration};

    use axum::{
        Router,
        body::Body,
        http::{HeaderValue, Request},
        middleware::{from_fn, from_fn_with_state},
        routing::get,
    };
    use tokio::sync::Notify;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt;

    use super::{Api, finish, guard, is_allowed};
    use crate::{Config, config::Origins, state::State};

    /// Status and body of a handler's answer, through the layers.
    async fn answer(path: &str, paths: Router) -> (u16, String) {
        let mut config = Config::new("unused", Arc::new(weir_store::memory::Memory::new()));
        config.request_timeout = Duration::from_secs(5);
        let state = State::new(
            config,
            Arc::new(weir_persist::memory::Memory::new()),
            Arc::new(weir_driver::fake::Fake::new()),
        );
        let api = Api::new(
            Arc::new(state),
            ([127, 0, 0, 1], 1).into(),
            CancellationToken::new(),
        );
        let router = paths.layer(from_fn_with_state(api, guard)).layer(from_fn(finish));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        async fn broken() {
            panic!("on purpose");
        }
        let (status, body) = answer("/", Router::new().route("/", get(broken))).await;
        assert_eq!(status, 500);
        assert_eq!(body, r#"{"message":"Internal server error."}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_answered_and_goes_on() {
        let finished = Arc::new(Notify::new());
        let inner = Arc::clone(&finished);
        let slow = move || async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            inner.notify_one();
        };
        let (status, body) = answer("/", Router::new().route("/", get(slow))).await;
        assert_eq!(status, 503);
        assert_eq!(body, r#"{"message":"The answer took longer than 5s."}"#);
        finished.notified().await;
    }

    #[test]
    fn pages_of_this_host_may_and_others_may_not() {
        let allowed = |origins, listening: &str, origin: &'static str, host: &'static str| {
            is_allowed(
                origins,
                listening.parse::<IpAddr>().unwrap(),
                &HeaderValue::from_static(origin),
                Some(&HeaderValue::from_static(host)),
            )
        };
        use Origins::{Any, Local};
        for origin in [
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://[::1]:1",
            "http://a.localhost",
        ] {
            assert!(allowed(Local, "127.0.0.1", origin, "127.0.0.1:8080"), "{origin}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "file://",
            "http://localhost.evil.example",
        ] {
            assert!(!allowed(Local, "127.0.0.1", origin, "127.0.0.1:8080"), "{origin}");
            assert!(allowed(Any, "127.0.0.1", origin, "127.0.0.1:8080"), "{origin}");
        }
        assert!(allowed(
            Local,
            "10.0.0.1",
            "http://weir.example:80",
            "weir.example:80"
        ));
        assert!(!allowed(
            Local,
            "10.0.0.1",
            "http://weir.example:81",
            "weir.example:80"
        ));
        assert!(!allowed(
            Local,
            "127.0.0.1",
            "http://rebound.example:80",
            "rebound.example:80"
        ));
    }
}
