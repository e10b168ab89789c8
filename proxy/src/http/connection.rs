//! One client connection: requests one after the other.

mod view;

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::io::AsyncWrite;

use self::view::View;
use super::{
    answers,
    downstream::Downstream,
    forward::{self, IsOwnCookie, Origin},
    framing::Framing,
    head::{Asked, Request, Version, room},
    transfer::{Place, Plan, Transfer},
};
use crate::{
    access_log,
    buffer::Buffer,
    choose::{Entry, Unrouted, choose},
    error::ErrorKind,
    exchange::Outcome,
    h2::{self, Preface},
    rewrite,
    worker::{Accepted, Connection, Context, Elapsed},
};

/// How long what a client still sends is read and dropped after an answer that ends the connection: closed at
/// once, the connection would be reset and the answer perhaps lost (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);

/// Serves a client until either side has enough. Not an `async fn`: that would keep its arguments twice, and
/// the size of this future is what an idle connection costs.
pub(crate) fn serve<S: Downstream>(
    context: Rc<Context>,
    accepted: Accepted<S>,
    connection: Connection,
) -> impl Future<Output = ()> {
    let Accepted {
        stream,
        peer,
        local,
        entry,
    } = accepted;
    let mut session = Session {
        log: access_log::Client::new(&context, peer),
        context,
        stream,
        peer,
        local,
        entry,
        may_be_http2: S::MAY_BE_HTTP2,
        input: Buffer::NONE,
        out: Buffer::NONE,
    };
    async move {
        loop {
            match session.one_request(&connection).await {
                After::Continue => {}
                After::Close => break,
                After::Linger => {
                    session.linger(&connection).await;
                    break;
                }
                After::Http2 => return session.speak_http2(connection).await,
            }
        }
        if S::SAYS_END {
            // What the client does not take at once is not waited for.
            let _ = poll_fn(|task| Pin::new(&mut session.stream).poll_shutdown(task)).now_or_never();
        }
        session.context.buffers.take_back(&mut session.input);
    }
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request can come.
    Continue,
    /// It ends now.
    Close,
    /// An answer was sent while the client may still be sending.
    Linger,
    /// It began with the preface of HTTP/2.
    Http2,
}

/// A client connection.
pub(super) struct Session<S> {
    pub(super) context: Rc<Context>,
    pub(super) stream: S,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    entry: Entry,
    /// Nothing came yet that is not how HTTP/2 begins.
    may_be_http2: bool,
    log: access_log::Client,
    /// Received and not yet used.
    pub(super) input: Buffer,
    /// To be sent: first the request's head to the instance, then that of the answer to the client.
    pub(super) out: Buffer,
}

/// What an answer must know of the request.
#[derive(Clone, Copy)]
pub(super) struct Client {
    pub(super) version: Version,
    pub(super) keep_alive: bool,
    pub(super) asked: Asked,
}

/// What came of the bytes received.
enum Reading {
    /// The client went away.
    Gone,
    /// The head was passed on into `out`.
    Routed(Place),
    /// An answer of ours is in `out`.
    Refused(After),
    /// The preface of HTTP/2 came.
    Http2,
}

impl<S: Downstream> Session<S> {
    async fn one_request(&mut self, connection: &Connection) -> After {
        self.log.waits();
        if self.input.is_empty() {
            if !self.wait_for_more(connection).await {
                return After::Close;
            }
            self.log.begins();
        }
        let limit = self.context.config.timeouts.head;
        let after = match connection.within(limit, self.read_head()).await {
            Ok(Reading::Routed(mut place)) => {
                let after = match place.as_mut() {
                    Some(transfer) => self.transfer(connection, transfer).await,
                    None => After::Close,
                };
                Transfer::end(&self.context, place);
                after
            }
            Ok(Reading::Refused(after)) => self.send(connection, after).await,
            Ok(Reading::Gone) => After::Close,
            Ok(Reading::Http2) => After::Http2,
            Err(Elapsed) => {
                self.context.rejected(ErrorKind::RequestTimeout);
                let entry = self.log.note_unread(&self.context);
                let after = self.refuse(ErrorKind::RequestTimeout, UNKNOWN, After::Linger);
                self.log_refused(entry, &ErrorKind::RequestTimeout.into(), 0);
                self.send(connection, after).await
            }
        };
        self.context.buffers.take_back(&mut self.out);
        after
    }

    /// Waits for the first bytes of a request, without a buffer until they come; `false` if none came.
    async fn wait_for_more(&mut self, connection: &Connection) -> bool {
        let Self {
            context,
            stream,
            input,
            ..
        } = self;
        context.buffers.take_back(input);
        connection.set_idle(true);
        let first_bytes = poll_fn(|task| {
            context.buffers.lend(input);
            let filled = input.poll_fill(task, stream);
            if filled.is_pending() {
                context.buffers.take_back(input);
                if connection.shall_end() {
                    return Poll::Ready(Ok(0));
                }
            }
            filled
        });
        let waited = connection
            .within(context.config.timeouts.keep_alive, first_bytes)
            .await;
        let mut came = matches!(waited, Ok(Ok(1..)));
        if !came && connection.shall_end() {
            // A request that has arrived is served: the runtime learns of it when it has looked at its sockets.
            tokio::task::yield_now().await;
            context.buffers.lend(input);
            came = poll_fn(|task| {
                let filled = input.poll_fill(task, stream);
                Poll::Ready(matches!(filled, Poll::Ready(Ok(1..))))
            })
            .await;
        }
        connection.set_idle(false);
        came
    }

    /// Reads until there is a whole head, or a reason to refuse it.
    async fn read_head(&mut self) -> Reading {
        let mut patience = Patience::default();
        loop {
            if self.may_be_http2 {
                match h2::preface(self.input.data()) {
                    Preface::Whole => return Reading::Http2,
                    Preface::Begun => {}
                    Preface::Other => self.may_be_http2 = false,
                }
            }
            // RFC 9112 §2.2: empty lines before a request are skipped.
            while self.input.data().starts_with(b"\r\n") {
                self.input.consume(2);
                patience = Patience::default();
            }
            if !self.input.is_empty()
                && !self.may_be_http2
                && patience.is_time(self.input.data())
                && let Some(reading) = self.read_request()
            {
                return reading;
            }
            let Self {
                context,
                stream,
                input,
                ..
            } = self;
            context.buffers.lend(input);
            input.make_room(context.config.limits.head_bytes_max);
            match poll_fn(|task| input.poll_fill(task, stream)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => {
                    if !input.is_empty() {
                        context.rejected(ErrorKind::ClientAborted);
                    }
                    return Reading::Gone;
                }
            }
        }
    }

    /// Reads what there is; `None`: the head is not complete. No await: the view of the head lives on the
    /// stack only.
    fn read_request(&mut self) -> Option<Reading> {
        let limits = &self.context.config.limits;
        let mut room = room();
        let request = match Request::parse(self.input.data(), &mut room, limits) {
            Ok(Some(request)) => request,
            Ok(None) => return None,
            Err(kind) => {
                self.context.rejected(kind);
                let entry = self.log.note_unread(&self.context);
                let after = self.refuse(kind, UNKNOWN, After::Linger);
                self.log_refused(entry, &kind.into(), 0);
                return Some(Reading::Refused(after));
            }
        };
        let head_bytes = request.length();
        let framing = request.framing();
        let client = Client {
            version: request.version(),
            keep_alive: request.keep_alive(),
            asked: Asked {
                head_only: request.method() == b"HEAD",
                upgrade: request.upgrade().is_some(),
            },
        };
        let mut view = View {
            request: &request,
            source: self.peer.ip(),
            local: self.local,
        };
        if !self.context.config.trusted_proxies.is_empty() {
            view.source = forward::client(&view, view.source, &self.context.config.trusted_proxies);
            let port = if view.source == self.peer.ip() {
                self.peer.port()
            } else {
                0
            };
            self.log.set_peer(SocketAddr::new(view.source, port));
        }
        let entry = self
            .log
            .note(&self.context, &view, S::VERSION.unwrap_or(client.version.text()));
        if let (Framing::Length(length), Some(max)) = (framing, limits.body_bytes_max)
            && length > max
        {
            self.context.rejected(ErrorKind::BodyTooLarge);
            let after = self.refuse(ErrorKind::BodyTooLarge, client, After::Linger);
            self.log_refused(entry, &ErrorKind::BodyTooLarge.into(), head_bytes);
            return Some(Reading::Refused(after));
        }
        let choice = match choose(&self.context, &self.entry, &view) {
            Ok(choice) => choice,
            Err(unrouted) => {
                let kind = unrouted.kind;
                if kind == ErrorKind::NoGateway {
                    self.context.rejected(kind);
                }
                self.input.consume(head_bytes);
                let goes_on = client.keep_alive && matches!(framing, Framing::None | Framing::Length(0));
                let after = if goes_on { After::Continue } else { After::Linger };
                let after = self.refuse(kind, client, after);
                self.log_refused(entry, &unrouted, head_bytes);
                return Some(Reading::Refused(after));
            }
        };
        self.context.buffers.lend(&mut self.out);
        let origin = Origin {
            virtual_host: choice.via_virtual_host(),
            ..Origin::of(&self.context, self.peer.ip(), self.local, self.stream.is_secure())
        };
        let is_own = |name: &[u8]| choice.is_own_cookie(name);
        let strips = choice.strips_cookies().then_some(&is_own as IsOwnCookie<'_>);
        let out = self.out.bytes_mut();
        let begin = out.len();
        forward::request(out, &request, origin, strips);
        if choice.has_rewrites() {
            rewrite::apply(out, begin, request.is_rooted(), &view, choice.rewrites());
        }
        let plan = Plan {
            client,
            framing,
            is_repeatable: request.is_repeatable(),
            expects_continue: request.expects_continue(),
            head_bytes,
        };
        self.input.consume(head_bytes);
        Some(Reading::Routed(Transfer::begin(
            &self.context,
            choice,
            plan,
            entry,
        )))
    }

    /// Notes in the access log a request that gets the answer of ours that is in `out`.
    fn log_refused(&self, entry: Option<Box<access_log::Entry>>, unrouted: &Unrouted, head_bytes: usize) {
        if entry.is_some() {
            let outcome = Outcome {
                status: unrouted.kind.status(),
                error: Some(unrouted.kind),
                bytes_in: head_bytes as u64,
                bytes_out: self.out.len() as u64,
            };
            access_log::refused(&self.context, entry, &self.entry, unrouted, outcome);
        }
    }

    /// Puts an answer of ours into `out`. Returns what becomes of the connection after it.
    pub(super) fn refuse(&mut self, kind: ErrorKind, client: Client, after: After) -> After {
        let after = match after {
            After::Continue if self.context.draining() => After::Linger,
            after => after,
        };
        self.context.buffers.lend(&mut self.out);
        self.out.clear();
        let keep_alive = after == After::Continue;
        answers::write(
            self.out.bytes_mut(),
            &self.context.config.error_pages,
            kind,
            client.version,
            keep_alive,
            client.asked.head_only,
        );
        after
    }

    /// Sends what is in `out`; what becomes of the connection is `after` if that could be done.
    pub(super) async fn send(&mut self, connection: &Connection, after: After) -> After {
        let Self {
            context, stream, out, ..
        } = self;
        let all_written = poll_fn(|task| poll_write_all(task, stream, out));
        match connection
            .within(context.config.timeouts.client_idle, all_written)
            .await
        {
            Ok(Ok(())) => after,
            Ok(Err(_)) | Err(Elapsed) => After::Close,
        }
    }

    /// Goes on with HTTP/2. Not an `async fn`: that would keep a second session in every connection's future.
    fn speak_http2(mut self, connection: Connection) -> Pin<Box<dyn Future<Output = ()>>> {
        let received = self.input.data().to_vec();
        self.context.buffers.take_back(&mut self.input);
        let accepted = Accepted {
            stream: self.stream,
            peer: self.peer,
            local: self.local,
            entry: self.entry,
        };
        S::speak_http2(self.context, accepted, connection, received)
    }

    /// Takes leave of a client that may still be sending.
    async fn linger(&mut self, connection: &Connection) {
        let Self {
            context,
            stream,
            input,
            ..
        } = self;
        let drained = poll_fn(|task| {
            if let Poll::Ready(Err(_)) = Pin::new(&mut *stream).poll_shutdown(task) {
                return Poll::Ready(());
            }
            loop {
                input.clear();
                context.buffers.lend(input);
                match input.poll_fill(task, stream) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {
                        context.buffers.take_back(input);
                        return Poll::Pending;
                    }
                }
            }
        });
        connection.set_over();
        // Whether all came or the time is over: it was the last thing on this connection.
        let _ = connection.within(LINGER, drained).await;
    }
}

/// For answers to what could not be read.
const UNKNOWN: Client = Client {
    version: Version::Http11,
    keep_alive: false,
    asked: Asked {
        head_only: false,
        upgrade: false,
    },
};

/// When to look at a head that arrives in pieces: looking at each piece anew would take time with the square
/// of their number.
#[derive(Default)]
pub(super) struct Patience {
    seen: usize,
    next_look: usize,
}

impl Patience {
    /// Whether the bytes may hold a whole head: they do if lines end as they should, and if they do not, or
    /// the head is wrong from the start, that is seen when twice as much has come.
    pub(super) fn is_time(&mut self, bytes: &[u8]) -> bool {
        let fresh = bytes.get(self.seen.saturating_sub(3)..).unwrap_or_default();
        let is_time = bytes.len() >= self.next_look
            || memchr::memchr_iter(b'\n', fresh)
                .any(|at| matches!(fresh.get(at + 1..), Some([b'\n', ..] | [b'\r', b'\n', ..])));
        self.seen = bytes.len();
        if is_time {
            self.next_look = bytes.len() * 2;
        }
        is_time
    }
}

fn poll_write_all<S: AsyncWrite + Unpin>(
    task: &mut TaskContext<'_>,
    to: &mut S,
    out: &mut Buffer,
) -> Poll<io::Result<()>> {
    while !out.is_empty() {
        match Pin::new(&mut *to).poll_write(task, out.data()) {
            Poll::Ready(Ok(count @ 1..)) => out.consume(count),
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
    // One that encrypts may hold some back.
    Pin::new(to).poll_flush(task)
}

#[cfg(test)]
mod tests;
