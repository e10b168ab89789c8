//! `/websocket`: the API over one socket (spec of the API §11).
//!
//! **Job.** Requests are mapped to those of REST and go through the same router, so that rules, roles and forms
//! are the same. Logs and events are streamed.
//!
//! **Invariants.** Requests of a socket are answered one after another. Whoever does not read slows down
//! nothing but the own streams: events are then read on from storage, lines of the log are left out. A token
//! that is revoked ends the socket. Pages from elsewhere cannot open one: browsers do not ask us before.
//!
//! **Absent.** No bound of fragments (Vamp: 100): the size of the whole message is bounded instead.

mod message;
mod session;

use std::sync::Arc;

use axum::{
    Router,
    extract::{
        Request, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use self::session::Session;
use super::{
    Api,
    answer::ApiError,
    gate::{GivenToken, Peer, admit},
    layers,
    request::BODY_BYTES_MAX,
};
use crate::access::Role;

/// Sockets at the same time.
pub(super) const SOCKETS_MAX: usize = 512;
/// Longest message in bytes: the longest body, as a text inside JSON, and then some.
const MESSAGE_BYTES_MAX: usize = 3 * BODY_BYTES_MAX;

/// The API for sockets: without sockets.
#[derive(Clone, Debug)]
pub(super) struct Sockets {
    pub(super) api: Api,
    pub(super) router: Router,
}

/// `GET /websocket`
pub(super) async fn open(
    State(sockets): State<Sockets>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    mut request: Request,
) -> Response {
    let api = &sockets.api;
    if let Err(refused) = layers::foreign(api, &request) {
        return refused.into_response();
    }
    if let Err(refused) = admit(api, &mut request, Role::Viewer, true).await {
        return refused;
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(refused) => {
            return ApiError::new(StatusCode::UPGRADE_REQUIRED, format!("{}.", refused.body_text()))
                .into_response();
        }
    };
    let Ok(permit) = Arc::clone(&api.sockets).try_acquire_owned() else {
        return ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("There are {SOCKETS_MAX} sockets already."),
        )
        .into_response();
    };
    let host = request.headers().get(header::HOST).cloned();
    let peer = request.extensions().get::<Peer>().copied();
    let token = request.extensions().get::<GivenToken>().cloned();
    upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            Box::pin(Session::new(sockets, host, peer, token).run(socket)).await;
            drop(permit);
        })
}
