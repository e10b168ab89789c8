//! Who is there, and may they: the layer in front of every path (`crate::access` has the rules).
//!
//! **Invariants.** A request that passed has a [`Principal`] in its extensions. A stream ends soon after its
//! token was revoked. Tokens are in no log, event or answer: that in a query is taken out before anything else
//! sees it.

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
        uri::PathAndQuery,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::StreamExt as _;
use serde_json::json;
use weir_persist::EventDraft;

use super::{Api, answer::ApiError, path::BASE};
use crate::{
    access::{Denied, Principal, Role, is_public, needed},
    reconcile::chain,
    state::now_ms,
};

/// Time after which a stream asks again whether its token is still good.
const STREAM_CHECK: Duration = Duration::from_secs(2);
/// Streams: what browsers cannot send a header with.
const STREAMS: [&str; 3] = ["/events/stream", "/logs", "/log"];

/// Who is at the other end of a connection; an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// Whether it speaks TLS with us.
    pub(super) secure: bool,
}

/// The token of a request; an extension of it, for those who have to ask again.
#[derive(Clone)]
pub(super) struct GivenToken(String);

/// Lets requests of the API pass that have a right to.
pub(super) async fn gate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    if !api.state.config.authentication {
        request.extensions_mut().insert(Principal::anonymous());
        return next.run(request).await;
    }
    let path = request.uri().path();
    let inside = path.strip_prefix(BASE);
    if inside.is_some_and(|inside| is_public(request.method(), inside)) {
        // Whoever it is: they may read this, and nothing else.
        request.extensions_mut().insert(Principal {
            role: Role::Viewer,
            ..Principal::anonymous()
        });
        return next.run(request).await;
    }
    let streams = inside.is_some_and(|inside| STREAMS.contains(&inside));
    // What is no path of the API gets its 404, but from those alone who are known.
    let role = inside.map_or(Role::Viewer, |inside| needed(request.method(), inside));
    if let Err(refused) = admit(&api, &mut request, role, streams).await {
        return refused;
    }
    let given = request.extensions().get::<GivenToken>().cloned();
    let response = next.run(request).await;
    match given {
        Some(given) if streams => response.map(|body| {
            let ends = revoked(api, given);
            Body::from_stream(body.into_data_stream().take_until(Box::pin(ends)))
        }),
        _ => response,
    }
}

/// Finds out whose request this is and whether they have the role. `from_query`: whether the token may also be
/// a parameter.
pub(super) async fn admit(
    api: &Api,
    request: &mut Request,
    role: Role,
    from_query: bool,
) -> Result<(), Response> {
    if !api.state.config.authentication {
        request.extensions_mut().insert(Principal::anonymous());
        return Ok(());
    }
    let mut given = bearer(request.headers());
    if from_query && let Some(token) = take_from_query(request.uri_mut()) {
        given = given.or(Some(token));
    }
    let Some(given) = given else {
        tracing::debug!(
            path = request.uri().path(),
            "a request without a token was refused"
        );
        return Err(unauthorized(
            "Say who you are: send a token as `Authorization: Bearer TOKEN`.",
            HeaderValue::from_static("Bearer realm=\"weir\""),
        ));
    };
    let principal = match api.state.access.authenticate(&api.state, &given).await {
        Ok(principal) => principal,
        Err(Denied::Persist(error)) => return Err(ApiError::from(error).into_response()),
        Err(denied @ Denied::Unknown) => {
            tell(api, told(request, None, StatusCode::UNAUTHORIZED, role)).await;
            return Err(unauthorized(
                &denied.to_string(),
                HeaderValue::from_static("Bearer realm=\"weir\", error=\"invalid_token\""),
            ));
        }
        Err(denied @ Denied::Namespace(_)) => {
            tell(api, told(request, None, StatusCode::FORBIDDEN, role)).await;
            return Err(ApiError::new(StatusCode::FORBIDDEN, denied.to_string()).into_response());
        }
    };
    if principal.role < role {
        tell(api, told(request, Some(&principal), StatusCode::FORBIDDEN, role)).await;
        let message = format!(
            "This needs the role `{role}`; the token `{}` has the role `{}`.",
            principal.name, principal.role
        );
        return Err(ApiError::new(StatusCode::FORBIDDEN, message).into_response());
    }
    // The proxy and the pages behind it have no business with it.
    request.headers_mut().remove(AUTHORIZATION);
    request.extensions_mut().insert(principal);
    request.extensions_mut().insert(GivenToken(given));
    Ok(())
}

/// Returns when the token is no longer good.
pub(super) async fn revoked(api: Api, given: GivenToken) {
    loop {
        tokio::time::sleep(STREAM_CHECK).await;
        match api.state.access.authenticate(&api.state, &given.0).await {
            Ok(_) => {}
            Err(Denied::Persist(error)) => {
                tracing::warn!(
                    error = chain(&error),
                    "whether a token is still good is not known"
                );
            }
            Err(_) => return,
        }
    }
}

impl GivenToken {
    /// As a header says it.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

fn unauthorized(message: &str, challenge: HeaderValue) -> Response {
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, message).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
        .filter(|token| !token.is_empty())
}

/// Takes the parameter `token` out of a query.
fn take_from_query(uri: &mut Uri) -> Option<String> {
    let query = uri.query()?;
    let mut token = None;
    let left: Vec<&str> = query
        .split('&')
        .filter(|pair| match pair.strip_prefix("token=") {
            Some(value) => {
                token = Some(value.to_owned());
                false
            }
            None => true,
        })
        .collect();
    let token = token?;
    let path = uri.path();
    let with_query = if left.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", left.join("&"))
    };
    // A part of a valid query is one, too.
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(with_query.parse::<PathAndQuery>().ok()?);
    *uri = Uri::from_parts(parts).ok()?;
    Some(token).filter(|token| !token.is_empty())
}

/// The event about somebody who was not let in.
fn told(request: &Request, who: Option<&Principal>, status: StatusCode, role: Role) -> EventDraft {
    let who_name = who.map(|principal| principal.name.as_str());
    let peer = request
        .extensions()
        .get::<Peer>()
        .map(|peer| peer.address.to_string());
    tracing::info!(
        method = %request.method(), path = request.uri().path(), who = who_name, peer, %role,
        "a request was refused"
    );
    let mut tags = vec!["access:denied".to_owned()];
    tags.extend(who_name.map(|name| format!("tokens:{name}")));
    EventDraft {
        tags,
        value: json!({
            "method": method(request.method()),
            "path": request.uri().path(),
            "status": status.as_u16(),
            "who": who_name,
            "role": who.map(|principal| principal.role),
            "needs": role,
            "address": peer,
        }),
        timestamp_ms: now_ms(),
        kind: "access".to_owned(),
    }
}

/// Appends it, unless there are many.
async fn tell(api: &Api, event: EventDraft) {
    if !api.denials.may_tell(now_ms()) {
        return;
    }
    if let Err(error) = api.state.commit(Vec::new(), vec![event]).await {
        tracing::warn!(error = chain(&error), "an event could not be stored");
    }
}

/// Methods are whatever a client sends: unknown ones are not repeated.
fn method(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS
        | Method::PATCH => method.as_str(),
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
