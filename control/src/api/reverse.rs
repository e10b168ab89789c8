//! `/proxy/...`: who may pass (`crate::reverse` says where to, and passes).
//!
//! Reading (GET, HEAD, OPTIONS) needs the role `viewer`, everything else and tunnels `operator`.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode, header::UPGRADE},
    response::{IntoResponse, Response},
};

use super::{
    Api,
    answer::{ApiError, Format, formed, sentence},
    gate::{Peer, admit},
    layers,
    path::PROXY,
};
use crate::{
    access::Role,
    reverse::{
        forward::{Way, forward},
        target::{TargetError, find},
    },
};

/// Requests and tunnels at the same time.
pub(super) const PROXIED_MAX: usize = 512;

/// `ANY /proxy/...`
pub(super) async fn pass(State(api): State<Api>, request: Request) -> Response {
    let format = Format::accepted(request.headers());
    match Box::pin(passed(&api, request)).await {
        Ok(response) => response,
        Err(refused) => formed(refused, format),
    }
}

async fn passed(api: &Api, mut request: Request) -> Result<Response, Response> {
    let upgrade = request.headers().contains_key(UPGRADE);
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && !upgrade;
    if !reads {
        layers::foreign(api, &request).map_err(IntoResponse::into_response)?;
    }
    let role = if reads { Role::Viewer } else { Role::Operator };
    admit(api, &mut request, role, upgrade).await?;
    let path = request.uri().path();
    let path = path.strip_prefix(PROXY).unwrap_or(path);
    let target = find(&api.state, path).await.map_err(|error| {
        let status = match &error {
            TargetError::Form => StatusCode::NOT_FOUND,
            TargetError::Forbidden { .. } => StatusCode::FORBIDDEN,
            TargetError::Unavailable(_) => StatusCode::BAD_GATEWAY,
            TargetError::Persist(_) => return internal(error),
        };
        ApiError::new(status, error.to_string()).into_response()
    })?;
    let permit = Arc::clone(&api.proxied).try_acquire_owned().map_err(|_| {
        let message = format!("There are {PROXIED_MAX} requests under way already.");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response()
    })?;
    let peer = request.extensions().get::<Peer>().copied();
    let way = Way {
        client: peer.map(|peer| peer.address.ip().to_string()),
        secure: peer.is_some_and(|peer| peer.secure),
        stop: api.stop.clone(),
        permit,
    };
    forward(&target, request, way).await.map_err(|error| {
        tracing::debug!(%error, "a request was not passed on");
        ApiError::new(StatusCode::BAD_GATEWAY, sentence(&error.to_string())).into_response()
    })
}

fn internal(error: TargetError) -> Response {
    match error {
        TargetError::Persist(error) => ApiError::from(error).into_response(),
        _ => ApiError::internal().into_response(),
    }
}
