//! From a connection to an encrypted one.

use std::{rc::Rc, sync::Arc};

use tokio::task::spawn_local;
use weir_model::Protocol;

use super::{Acceptor, Stream};
use crate::{
    error::ErrorKind,
    h2, http, tcp,
    worker::{Accepted, Connection, Context, Elapsed},
};

/// Handshakes that one worker has under way; more wait, within their own time. A handshake costs about as much as a
/// hundred requests: a storm of them must not take every connection's memory at once.
pub(crate) const HANDSHAKES_MAX: usize = 256;

/// Takes a client through its handshake. It is served by a task of its own: what a handshake needs is much more than what
/// an idle connection should cost.
pub(crate) async fn serve(
    context: Rc<Context>,
    accepted: Accepted,
    connection: Connection,
    protocol: Protocol,
    acceptor: Arc<Acceptor>,
) {
    let limit = context.config.timeouts.head;
    let handshake = async {
        let Ok(_place) = context.handshakes.acquire().await else {
            return None;
        };
        let shaken = acceptor.handshake.accept(accepted.stream).await;
        shaken
            .inspect_err(|error| tracing::debug!(peer = %accepted.peer, %error, "a TLS handshake failed"))
            .ok()
    };
    // Large and short: not part of what an idle connection costs.
    let stream = match connection.within(limit, Box::pin(handshake)).await {
        Ok(Some(stream)) => Stream::new(stream),
        Ok(None) => return context.rejected(ErrorKind::Handshake),
        Err(Elapsed) => return context.rejected(ErrorKind::HandshakeTimeout),
    };
    // A gateway that is gone by now needs no handshakes.
    drop(acceptor);
    let is_http2 = stream.is_http2();
    let abort_by = connection.abort_by();
    let accepted = Accepted {
        stream,
        peer: accepted.peer,
        local: accepted.local,
        entry: accepted.entry,
    };
    let task = match protocol {
        Protocol::Http if is_http2 => spawn_local(h2::serve(context, accepted, connection)),
        Protocol::Http => spawn_local(http::serve(context, accepted, connection)),
        Protocol::Tcp => spawn_local(tcp::serve(context, accepted, connection)),
    };
    abort_by(task.abort_handle());
}
