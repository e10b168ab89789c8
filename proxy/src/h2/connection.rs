//! One connection: its streams, its leave-taking, its bounds.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use ::h2::{Reason, RecvStream, server};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    fields,
    guard::Guard,
    stream::{Sender, Stream},
};
use crate::{
    choose::Entry,
    error::ErrorKind,
    http::{self, Downstream},
    worker::{Accepted, Connection, Context, Elapsed},
};

/// Streams of one connection at a time (RFC 9113 §6.5.2); more are refused.
const STREAMS_MAX: u32 = 128;
/// Bytes of a body that may be under way from the client, of a stream and of all streams of a connection.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// Bytes that wait for the client to take them, of a stream.
const SEND_BYTES_MAX: usize = 128 * 1024;
/// Streams that a client may take back within [`RESETS_PERIOD_MS`]; beyond, it is told to calm down: each costs it one
/// frame, and an instance a request (rapid reset, CVE-2023-44487).
const RESETS_MAX: u32 = 256;
const RESETS_PERIOD_MS: u64 = 1_000;
/// How long a client has to take note of the end of the connection.
const LEAVE: Duration = Duration::from_secs(1);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a connection begins as one of HTTP/2 (RFC 9113 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preface {
    Whole,
    Begun,
    Other,
}

/// Looks at the first bytes of a connection.
pub(crate) fn preface(bytes: &[u8]) -> Preface {
    if bytes.starts_with(PREFACE) {
        Preface::Whole
    } else if PREFACE.starts_with(bytes) {
        Preface::Begun
    } else {
        Preface::Other
    }
}

/// Serves a client that speaks HTTP/2.
pub(crate) async fn serve<S: Downstream>(
    context: Rc<Context>,
    accepted: Accepted<S>,
    connection: Connection,
) {
    serve_after(context, accepted, connection, Vec::new()).await;
}

/// As [`serve`], where some of what it sent was read already.
pub(crate) async fn serve_after<S: Downstream>(
    context: Rc<Context>,
    accepted: Accepted<S>,
    connection: Connection,
    received: Vec<u8>,
) {
    let Accepted {
        stream,
        peer,
        local,
        entry,
    } = accepted;
    let streams = Streams {
        context,
        peer,
        local,
        entry,
        is_secure: stream.is_secure(),
        open: Rc::default(),
        resets: Rc::default(),
    };
    let stream = Guard::new(received, stream);
    // Large: not part of what a connection of HTTP/1.1 costs.
    Box::pin(streams.run(stream, connection)).await;
}

/// What the streams of a connection share.
struct Streams {
    context: Rc<Context>,
    peer: SocketAddr,
    local: SocketAddr,
    entry: Entry,
    is_secure: bool,
    open: Rc<Cell<usize>>,
    resets: Rc<Resets>,
}

/// Resets by the client lately.
#[derive(Default)]
struct Resets {
    since_ms: Cell<u64>,
    count: Cell<u32>,
}

impl Resets {
    fn add(&self, now_ms: u64) {
        if now_ms.saturating_sub(self.since_ms.get()) > RESETS_PERIOD_MS {
            self.since_ms.set(now_ms);
            self.count.set(0);
        }
        self.count.set(self.count.get().saturating_add(1));
    }

    fn are_too_many(&self) -> bool {
        self.count.get() > RESETS_MAX
    }
}

impl Streams {
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(self, stream: Guard<S>, connection: Connection) {
        let context = &self.context;
        let fault = stream.fault();
        let timeouts = context.config.timeouts;
        let head_bytes_max = u32::try_from(context.config.limits.head_bytes_max).unwrap_or(u32::MAX);
        let handshake = server::Builder::new()
            .max_concurrent_streams(STREAMS_MAX)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buffer_size(SEND_BYTES_MAX)
            .max_header_list_size(head_bytes_max)
            .handshake::<_, Bytes>(stream);
        let mut client = match connection.within(timeouts.head, handshake).await {
            Ok(Ok(client)) => client,
            Ok(Err(_)) => return context.rejected(ErrorKind::RequestMalformed),
            Err(Elapsed) => return context.rejected(ErrorKind::RequestTimeout),
        };
        let mut leave = pin!(context.leave.notified());
        let mut is_leaving = false;
        let mut is_calmed = false;
        loop {
            let limit = |is_leaving| if is_leaving { LEAVE } else { timeouts.keep_alive };
            let next = poll_fn(|task| {
                // An idle one takes leave when it is told to: not all at once.
                let is_idle = self.open.get() == 0;
                connection.set_carrying(!is_idle);
                let is_told = leave.as_mut().poll(task).is_ready() || context.draining();
                if !is_leaving && (connection.shall_end() || (is_told && !is_idle)) {
                    is_leaving = true;
                    client.graceful_shutdown();
                }
                if !is_calmed && self.resets.are_too_many() {
                    is_calmed = true;
                    is_leaving = true;
                    tracing::warn!(peer = %self.peer, "a client takes back too many requests");
                    client.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                connection.touch(limit(is_leaving));
                let accepted = client.poll_accept(task);
                match fault.take() {
                    Some(code) => {
                        fault.set(Some(code).filter(|_| accepted.is_ready()));
                        if accepted.is_ready() {
                            return accepted;
                        }
                        is_leaving = true;
                        client.abrupt_shutdown(code);
                        client.poll_accept(task)
                    }
                    None => accepted,
                }
            });
            match connection.within(timeouts.keep_alive, next).await {
                Ok(Some(Ok((request, respond)))) => self.begin(request, respond),
                Ok(Some(Err(error))) => {
                    tracing::debug!(peer = %self.peer, %error, "a connection of HTTP/2 failed");
                    break;
                }
                Ok(None) => break,
                // Its streams have times of their own.
                Err(Elapsed) if self.open.get() > 0 => {}
                Err(Elapsed) if is_leaving => break,
                Err(Elapsed) => {
                    is_leaving = true;
                    client.graceful_shutdown();
                }
            }
        }
    }

    fn begin(&self, request: ::http::Request<RecvStream>, mut respond: server::SendResponse<Bytes>) {
        let (parts, body) = request.into_parts();
        let mut head = Vec::with_capacity(512);
        let Ok(framing) = fields::request(&parts, body.is_end_stream(), &mut head) else {
            self.context.rejected(ErrorKind::RequestMalformed);
            return respond.send_reset(Reason::PROTOCOL_ERROR);
        };
        let is_head_request = parts.method == ::http::Method::HEAD;
        drop(parts);
        let sender = Rc::new(RefCell::new(Sender::Waiting(respond)));
        let accepted = Accepted {
            stream: Stream::new(
                self.is_secure,
                (head, framing, is_head_request),
                body,
                Rc::clone(&sender),
            ),
            peer: self.peer,
            local: self.local,
            entry: self.entry.clone(),
        };
        let context = Rc::clone(&self.context);
        let connection = context.connections.open_stream(Rc::clone(&context));
        let abort_by = connection.abort_by();
        let resets = Rc::clone(&self.resets);
        let open = Open::new(&self.open);
        let task = tokio::task::spawn_local(async move {
            let _open = open;
            let clock = Rc::clone(&context);
            let mut serving = pin!(http::serve(context, accepted, connection));
            let is_gone = poll_fn(|task| {
                // First: a request that is taken back at once goes to nobody.
                if sender.borrow_mut().poll_gone(task).is_ready() {
                    return Poll::Ready(true);
                }
                serving.as_mut().poll(task).map(|()| false)
            })
            .await;
            if is_gone {
                resets.add(clock.now_ms());
            }
        });
        abort_by(task.abort_handle());
    }
}

/// Counts a stream for as long as it lives.
struct Open(Rc<Cell<usize>>);

impl Open {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::{Preface, preface};

    #[test]
    fn only_the_whole_preface_counts() {
        assert_eq!(preface(b""), Preface::Begun);
        assert_eq!(preface(b"PRI * HTTP/2.0\r\n\r\nSM"), Preface::Begun);
        assert_eq!(preface(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0"), Preface::Whole);
        assert_eq!(preface(b"POST / HTTP/1.1\r\n"), Preface::Other);
        assert_eq!(preface(b"PRI * HTTP/1.1\r\n"), Preface::Other);
    }
}
