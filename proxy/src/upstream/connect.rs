//! Making a connection to an instance of the route that was chosen.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::{TcpSocket, TcpStream};

use super::{Link, preamble::Secured};
use crate::{
    error::ErrorKind,
    exchange::Exchange,
    worker::{Connection, Context, Elapsed},
};

/// Pause before an instance is tried again because the route has no other; grows with the square of the
/// attempts. Long enough for a listening queue to be emptied, short enough for a request to wait.
const PAUSE: Duration = Duration::from_millis(10);

/// Connects to the instance chosen, after failures to others of its route while there are any, then to the
/// same again: one attempt and as many more as the configuration allows. An instance that is tried since
/// another failed may be had from the pool, if a connection used in the last `reuse_ms` milliseconds waits
/// there; then the second value is `true`. An instance that speaks HTTP/2 gives a stream of a connection that others
/// use, too, if there is room on one. `ends`: the client, and where it connected to.
///
/// # Errors
/// That of the last attempt.
pub(crate) async fn establish(
    context: &Context,
    connection: &Connection,
    exchange: &mut Exchange,
    reuse_ms: Option<u64>,
    ends: (SocketAddr, SocketAddr),
) -> Result<(Link, bool), ErrorKind> {
    let mut attempts = 0;
    loop {
        if attempts > 0
            && let Some(reuse_ms) = reuse_ms
            && let Some(stream) = context
                .pool
                .take(exchange.endpoint().key(), context.now_ms(), reuse_ms)
        {
            return Ok((stream, true));
        }
        if exchange.endpoint().shares_connections()
            && let Some(stream) = context.sessions.open(exchange.endpoint().key(), context.now_ms())
        {
            // Without leave to use what was used before it counts as a new one: it is known to be there.
            return Ok((Link::Http2(Box::new(stream)), reuse_ms.is_some()));
        }
        let failure = match exchange.endpoint().address() {
            None => Failure {
                kind: ErrorKind::Unresolved,
                ours: false,
            },
            Some(address) => match attempt(context, connection, exchange, address, ends).await {
                Ok(stream) => {
                    exchange.endpoint().connected(context.now_ms());
                    return Ok((stream, false));
                }
                Err(failure) => failure,
            },
        };
        tracing::debug!(
            endpoint = %exchange.endpoint().id,
            error = failure.kind.label(),
            attempts,
            "an instance could not be reached"
        );
        if failure.ours {
            // Not the instance's fault: it keeps its good name.
            context.pool.clear();
            context.sessions.clear_idle();
        } else {
            exchange.endpoint().connect_failed(context.now_ms());
        }
        if exchange.waits().is_over(context) {
            return Err(ErrorKind::ResponseTimeout);
        }
        if attempts >= context.config.retries || !context.may_retry() {
            return Err(failure.kind);
        }
        attempts += 1;
        exchange.retried();
        if !exchange.another_endpoint(failure.kind) {
            tokio::time::sleep(PAUSE * attempts * attempts).await;
        }
    }
}

struct Failure {
    kind: ErrorKind,
    /// This host has no descriptor or port left.
    ours: bool,
}

impl From<ErrorKind> for Failure {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, ours: false }
    }
}

async fn attempt(
    context: &Context,
    connection: &Connection,
    exchange: &Exchange,
    address: SocketAddr,
    ends: (SocketAddr, SocketAddr),
) -> Result<Link, Failure> {
    let secure = async {
        let stream = connect(address).await.map_err(|error| failure(&error))?;
        match &exchange.endpoint().preamble {
            None => Ok(Secured::Clear(stream)),
            // Large and rare.
            Some(preamble) => Ok(Box::pin(preamble.perform(stream, ends)).await?),
        }
    };
    let begin = async {
        let endpoint = exchange.endpoint();
        if !endpoint.is_http2 {
            return secure.await.map(Link::from);
        }
        let stream = if endpoint.is_pooled() {
            Box::pin(
                context
                    .sessions
                    .connect(endpoint.key(), || context.now_ms(), secure),
            )
            .await?
        } else {
            let secured = secure.await?;
            Box::pin(context.sessions.own(secured, context.now_ms())).await?
        };
        Ok(Link::Http2(Box::new(stream)))
    };
    match connection.within(exchange.waits().connect(context), begin).await {
        Ok(begun) => begun,
        Err(Elapsed) => Err(Failure {
            kind: ErrorKind::ConnectTimeout,
            ours: false,
        }),
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

fn failure(error: &io::Error) -> Failure {
    /// `ENFILE` and `EMFILE`: the system, or this process, has no descriptor left.
    const NO_DESCRIPTOR: [i32; 2] = [23, 24];
    let ours = error.kind() == io::ErrorKind::AddrNotAvailable
        || error.kind() == io::ErrorKind::OutOfMemory
        || error
            .raw_os_error()
            .is_some_and(|code| NO_DESCRIPTOR.contains(&code));
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorKind::ConnectRefused,
        io::ErrorKind::TimedOut => ErrorKind::ConnectTimeout,
        _ => ErrorKind::ConnectFailed,
    };
    Failure { kind, ours }
}
