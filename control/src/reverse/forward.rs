//! One request to its target, and the answer back.

use std::{io, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version,
        header::{
            AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, EXPECT, HOST, LOCATION,
            TRANSFER_ENCODING, UPGRADE,
        },
    },
};
use futures::{Stream, StreamExt as _, stream};
use hyper::{body::Body as _, client::conn::http1};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{target::Target, tunnel::relay};

/// Time to connect, the name's look-up included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time from the request to the head of its answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest pause inside a body.
const PAUSE_MAX: Duration = Duration::from_secs(10 * 60);
/// Longest silence of a tunnel.
const TUNNEL_IDLE_MAX: Duration = Duration::from_secs(60 * 60);
/// Longest head of an answer in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Pages that pass are of the same origin as ours: a sandbox without `allow-same-origin` takes that away from
/// them.
const SANDBOX: HeaderValue =
    HeaderValue::from_static("sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads");
/// What is for one hop only (RFC 9110 §7.6.1), beside what `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("te"),
    HeaderName::from_static("trailer"),
];
/// Begins every token of ours.
const OUR_TOKEN: &[u8] = b"Bearer weir_";

/// Why there is no answer. REST answers 502.
#[derive(Debug, Error)]
pub(crate) enum ForwardError {
    /// No connection.
    #[error("{0} cannot be reached: {1}.")]
    Unreachable(String, io::Error),
    /// No answer in time.
    #[error("{0} did not answer within {1:?}.")]
    TimedOut(String, Duration),
    /// Something that is no answer.
    #[error("{0} did not answer as HTTP says: {1}.")]
    Broken(String, hyper::Error),
}

/// What goes along with a request.
#[derive(Debug)]
pub(crate) struct Way {
    /// Address of the client.
    pub(crate) client: Option<String>,
    /// Whether the client speaks TLS with us.
    pub(crate) secure: bool,
    /// Ends tunnels and answers.
    pub(crate) stop: CancellationToken,
    /// Held until all has passed.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Passes a request on and answers what comes back.
pub(crate) async fn forward(
    target: &Target,
    mut request: Request<Body>,
    way: Way,
) -> Result<Response<Body>, ForwardError> {
    let authority = if target.host.contains(':') {
        format!("[{}]:{}", target.host, target.port)
    } else {
        format!("{}:{}", target.host, target.port)
    };
    let unreachable = |error| ForwardError::Unreachable(authority.clone(), error);
    let connecting = TcpStream::connect((target.host.trim_matches(['[', ']']), target.port));
    let stream = timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| ForwardError::TimedOut(authority.clone(), CONNECT_TIMEOUT))?
        .map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let broken = |error| ForwardError::Broken(authority.clone(), error);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Ends when the answer has passed, or its reader has gone.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended early");
        }
    });

    let upgrade = asked_upgrade(request.headers());
    let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let passed = dressed(request, target, &authority, &way, upgrade.as_ref());
    let answering = sender.send_request(passed);
    let mut answer = timeout(HEAD_TIMEOUT, answering)
        .await
        .map_err(|_| ForwardError::TimedOut(authority.clone(), HEAD_TIMEOUT))?
        .map_err(broken)?;

    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = answer.headers().get(UPGRADE).cloned();
    let tunnel = match (switched, client_side) {
        (true, Some(client_side)) => Some((client_side, hyper::upgrade::on(&mut answer))),
        (true, None) => {
            // It switched without being asked: there is nobody to talk its protocol with.
            let unasked = io::Error::other("it changed the protocol unasked");
            return Err(ForwardError::Unreachable(authority, unasked));
        }
        (false, _) => None,
    };
    let (mut parts, body) = answer.into_parts();
    strip(&mut parts.headers);
    parts.version = Version::HTTP_11;
    parts.headers.append(CONTENT_SECURITY_POLICY, SANDBOX);
    if let Some(location) = parts.headers.get(LOCATION)
        && let Some(location) = relocated(location, target, &authority)
    {
        parts.headers.insert(LOCATION, location);
    }
    let Some((client_side, target_side)) = tunnel else {
        let body = passing(Body::new(body), way.stop, Some(way.permit));
        return Ok(Response::from_parts(parts, body));
    };
    parts
        .headers
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        parts.headers.insert(UPGRADE, protocol);
    }
    tokio::spawn(async move {
        let relaying = async {
            let (client, target) = tokio::try_join!(client_side, target_side).map_err(io::Error::other)?;
            relay(TokioIo::new(client), TokioIo::new(target), TUNNEL_IDLE_MAX).await
        };
        tokio::select! {
            relayed = relaying => if let Err(error) = relayed {
                tracing::debug!(%error, "a tunnel ended early");
            },
            () = way.stop.cancelled() => {}
        }
        drop(way.permit);
    });
    Ok(Response::from_parts(parts, Body::empty()))
}

/// The request as the target gets it.
fn dressed(
    request: Request<Body>,
    target: &Target,
    authority: &str,
    way: &Way,
    upgrade: Option<&HeaderValue>,
) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    let headers = &mut parts.headers;
    strip(headers);
    headers.remove(EXPECT);
    if headers
        .get(AUTHORIZATION)
        .is_some_and(|value| value.as_bytes().starts_with(OUR_TOKEN))
    {
        headers.remove(AUTHORIZATION);
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert("x-forwarded-host", host);
    }
    let scheme = if way.secure { "https" } else { "http" };
    headers.insert("x-forwarded-proto", HeaderValue::from_static(scheme));
    for (name, value) in [
        ("x-forwarded-prefix", Some(target.prefix.as_str())),
        ("x-forwarded-for", way.client.as_deref()),
        ("host", Some(authority)),
    ] {
        // What is no header's value is left out.
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let body = if body.is_end_stream() {
        Body::empty()
    } else {
        passing(body, way.stop.clone(), None)
    };
    let with_query = match parts.uri.query() {
        Some(query) => format!("{}?{query}", target.path),
        None => target.path.clone(),
    };
    // A part of a valid path is one, too.
    parts.uri = with_query.parse().unwrap_or_else(|_| Uri::from_static("/"));
    parts.version = Version::HTTP_11;
    let mut passed = Request::new(body);
    *passed.method_mut() = parts.method;
    *passed.uri_mut() = parts.uri;
    *passed.headers_mut() = parts.headers;
    passed
}

/// The protocol that a client wants to change to.
fn asked_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    // A body before the change would have nowhere to go.
    let body = headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes() != b"0");
    (asked && !body).then(|| headers.get(UPGRADE).cloned()).flatten()
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
}

/// Takes away what is for one hop only.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| token.parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// A redirection inside the target, as a path of the proxy.
fn relocated(location: &HeaderValue, target: &Target, authority: &str) -> Option<HeaderValue> {
    let location = location.to_str().ok()?;
    let path = match location
        .strip_prefix("http://")
        .and_then(|rest| rest.strip_prefix(authority))
    {
        Some("") => "/",
        Some(path) if path.starts_with('/') => path,
        Some(_) => return None,
        None if location.starts_with('/') && !location.starts_with("//") => location,
        None => return None,
    };
    HeaderValue::from_str(&format!("{}{path}", target.prefix)).ok()
}

/// A body in pieces, each awaited for a bounded time.
fn passing(body: Body, stop: CancellationToken, permit: Option<OwnedSemaphorePermit>) -> Body {
    Body::from_stream(pieces(body.into_data_stream(), stop, permit))
}

fn pieces(
    stream: impl Stream<Item = Result<Bytes, axum::Error>> + Send + Unpin + 'static,
    stop: CancellationToken,
    permit: Option<OwnedSemaphorePermit>,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    stream::unfold(Some((stream, stop, permit)), |state| async move {
        let (mut stream, stop, permit) = state?;
        let next = tokio::select! {
            next = timeout(PAUSE_MAX, stream.next()) => next,
            () = stop.cancelled() => return None,
        };
        match next {
            Ok(None) => None,
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some((stream, stop, permit)))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Err(_) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "the body paused for too long");
                Some((Err(error), None))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Target, asked_upgrade, relocated, strip};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn what_is_for_one_hop_is_taken_away() {
        let mut all = headers(&[
            ("connection", "keep-alive, X-Own"),
            ("keep-alive", "timeout=5"),
            ("x-own", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
        ]);
        strip(&mut all);
        assert_eq!(all, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn an_upgrade_is_asked_for_with_both_headers_and_without_a_body() {
        let asked = |pairs| asked_upgrade(&headers(pairs)).is_some();
        assert!(asked(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket")
        ]));
        assert!(!asked(&[("upgrade", "websocket")]));
        assert!(!asked(&[("connection", "upgrade")]));
        assert!(!asked(&[
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("content-length", "3")
        ]));
    }

    #[test]
    fn redirections_stay_behind_the_proxy() {
        let target = Target {
            host: "10.0.0.1".to_owned(),
            port: 80,
            prefix: "/proxy/gateways/shop/80".to_owned(),
            path: "/".to_owned(),
        };
        for (location, expected) in [
            ("/login?a=b", Some("/proxy/gateways/shop/80/login?a=b")),
            ("http://10.0.0.1:80/login", Some("/proxy/gateways/shop/80/login")),
            ("http://10.0.0.1:80", Some("/proxy/gateways/shop/80/")),
            ("http://10.0.0.1:8080/login", None),
            ("//evil.example/", None),
            ("https://elsewhere.example/", None),
            ("login", None),
        ] {
            let relocated = relocated(&HeaderValue::from_static(location), &target, "10.0.0.1:80");
            let relocated = relocated.map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(relocated.as_deref(), expected, "{location}");
        }
    }
}
