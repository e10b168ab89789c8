//! The client's side of a connection, whatever carries it.

use std::{pin::Pin, rc::Rc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    h2,
    worker::{Accepted, Connection, Context},
};

/// The client's side, clear or encrypted.
pub(crate) trait Downstream: AsyncRead + AsyncWrite + Unpin + Sized {
    /// The end of the connection is something that is sent.
    const SAYS_END: bool = false;
    /// The client may begin with the preface of HTTP/2 (RFC 9113 §3.3).
    const MAY_BE_HTTP2: bool = false;
    /// Version that the client speaks, if it is not the one that its heads say.
    const VERSION: Option<&'static str> = None;

    /// The connection shall end with a reset: what was sent is not complete, and nothing else says so.
    fn reset_on_close(&self);

    /// Nobody on the way can read it.
    fn is_secure(&self) -> bool {
        false
    }

    /// The name that the client asked for by TLS.
    fn server_name(&self) -> Option<&str> {
        None
    }

    /// Serves a client that began with the preface of HTTP/2. `received` was read already.
    fn speak_http2(
        _: Rc<Context>,
        _: Accepted<Self>,
        _: Connection,
        _received: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(std::future::ready(()))
    }
}

impl Downstream for TcpStream {
    const MAY_BE_HTTP2: bool = true;

    fn reset_on_close(&self) {
        // If it cannot be set the client sees an ordinary end.
        let _ = self.set_zero_linger();
    }

    fn speak_http2(
        context: Rc<Context>,
        accepted: Accepted<Self>,
        connection: Connection,
        received: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(h2::serve_after(context, accepted, connection, received))
    }
}
