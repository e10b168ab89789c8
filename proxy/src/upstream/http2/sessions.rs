//! Connections that requests share. One set per worker.
//!
//! **Race.** An instance may begin to close a connection in the moment in which a stream is opened. Then it says that it did
//! not begin with it, and the caller repeats the request.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    rc::Rc,
    task::{Context as TaskContext, Poll, Waker},
};

use ::h2::{Ping, PingPong, client};
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
    task::AbortHandle,
};
use tokio_util::io::InspectReader;

use super::Stream;
use crate::{config::Config, error::ErrorKind, upstream::preamble::Secured};

/// Streams of a connection at a time, if the instance allows as many; more get another connection.
const STREAMS_MAX: usize = 100;
/// Connections of one worker to an instance; beyond, requests wait for the end of others.
const CONNECTIONS_MAX: usize = 8;
/// Bytes of an answer that may be under way from the instance, of a stream, and of a connection: no less than all its
/// streams, so that a client that takes nothing holds up nobody but itself.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes that wait for the instance to take them, of a stream.
const SEND_BYTES_MAX: usize = 128 * 1024;
/// A connection with requests under way on which nothing has come for so long is asked whether anybody is there, in
/// milliseconds, and has as long to answer.
const PING_MS: u64 = 10_000;
/// If nothing but the answer has come since the last time it is asked so much later, in milliseconds: servers of gRPC close
/// connections that are pinged more than thrice within five minutes each while they send nothing.
const PING_AGAIN_MS: u64 = 330_000;
/// How often it is asked sooner all the same, because of new requests or a doubt, before something else comes.
const HASTY_PINGS_MAX: u32 = 2;
/// A connection on which nothing has come for so long when a request on it is given up is in doubt, in milliseconds, give or
/// take a tick of the worker's clock.
const SILENCE_MS: u64 = 1_000;

/// See the module.
pub(crate) struct Sessions {
    idle_ms_max: u64,
    head_bytes_max: u32,
    by_endpoint: RefCell<HashMap<u64, Rc<Of>>>,
}

/// Those to one instance.
#[derive(Default)]
struct Of {
    /// Held by whoever makes a connection: others wait for it and share it.
    connecting: Mutex<()>,
    all: RefCell<Vec<Session>>,
}

struct Session {
    send: client::SendRequest<Bytes>,
    is_secure: bool,
    usage: Rc<Usage>,
    ping: Option<PingPong>,
    /// When a ping was sent that is not answered, or the last one was answered.
    pinged_ms: u64,
    is_pinged: bool,
    /// How often something had come when a ping was answered, and how many streams there had been.
    heard_then: Option<u64>,
    opened_then: u64,
    /// See [`HASTY_PINGS_MAX`].
    hasty_pings: u32,
    driver: AbortHandle,
}

#[derive(Default)]
struct Usage {
    open: Cell<usize>,
    /// Streams there have been.
    opened: Cell<u64>,
    /// When there was a stream.
    last_ms: Cell<u64>,
    /// The worker's clock, as of its last tick or the last stream.
    now_ms: Cell<u64>,
    /// When something came, by that clock, and how often.
    heard_ms: Cell<u64>,
    heard: Cell<u64>,
    /// Nothing has come since a request was given up, and for a while before: others had better go elsewhere.
    is_in_doubt: Cell<bool>,
}

impl Usage {
    fn hear(&self) {
        self.heard_ms.set(self.now_ms.get());
        self.heard.set(self.heard.get() + 1);
        self.is_in_doubt.set(false);
    }
}

/// Counts a stream for as long as it lives.
pub(super) struct Lease {
    usage: Rc<Usage>,
    since_ms: u64,
}

impl Lease {
    fn new(usage: &Rc<Usage>, now_ms: u64) -> Self {
        usage.open.set(usage.open.get() + 1);
        usage.opened.set(usage.opened.get() + 1);
        usage.last_ms.set(now_ms);
        usage.now_ms.set(now_ms);
        Self {
            usage: Rc::clone(usage),
            since_ms: now_ms,
        }
    }

    /// The stream ends before its answer.
    pub(super) fn give_up(&self) {
        let silent_since_ms = self.since_ms.max(self.usage.heard_ms.get());
        if self.usage.now_ms.get() >= silent_since_ms.saturating_add(SILENCE_MS) {
            self.usage.is_in_doubt.set(true);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.usage.open.set(self.usage.open.get() - 1);
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("instances", &self.by_endpoint.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Sessions {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            idle_ms_max: u64::try_from(config.timeouts.pool_idle.as_millis()).unwrap_or(u64::MAX),
            head_bytes_max: u32::try_from(config.limits.head_bytes_max).unwrap_or(u32::MAX),
            by_endpoint: RefCell::default(),
        }
    }

    /// A stream of a connection that is there and has room.
    pub(crate) fn open(&self, key: u64, now_ms: u64) -> Option<Stream> {
        let of = self.by_endpoint.borrow().get(&key).map(Rc::clone)?;
        of.open(now_ms, false)
    }

    /// A stream of a connection that somebody else made meanwhile, or else of a new one. `connect` makes what is below it;
    /// it is asked for once at a time.
    pub(crate) async fn connect<E>(
        &self,
        key: u64,
        now_ms: impl Fn() -> u64,
        connect: impl Future<Output = Result<Secured, E>>,
    ) -> Result<Stream, E>
    where
        E: From<ErrorKind>,
    {
        let of = Rc::clone(self.by_endpoint.borrow_mut().entry(key).or_default());
        let _turn = of.connecting.lock().await;
        if let Some(stream) = of.open(now_ms(), false) {
            return Ok(stream);
        }
        let are_enough = of.all.borrow().len() >= CONNECTIONS_MAX;
        if are_enough && let Some(stream) = of.open(now_ms(), true) {
            return Ok(stream);
        }
        let session = self.begin(connect.await?, now_ms()).await?;
        let stream = session.stream(now_ms());
        of.all.borrow_mut().push(session);
        Ok(stream)
    }

    /// A stream of a new connection that is nobody else's.
    pub(crate) async fn own(&self, below: Secured, now_ms: u64) -> Result<Stream, ErrorKind> {
        Ok(self.begin(below, now_ms).await?.stream(now_ms))
    }

    async fn begin(&self, below: Secured, now_ms: u64) -> Result<Session, ErrorKind> {
        match below {
            Secured::Clear(stream) => self.handshake(stream, false, now_ms).await,
            Secured::Tls(stream) => self.handshake(stream, true, now_ms).await,
        }
    }

    async fn handshake<S>(&self, stream: S, is_secure: bool, now_ms: u64) -> Result<Session, ErrorKind>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let usage = Rc::new(Usage::default());
        let heard = Rc::clone(&usage);
        let stream = InspectReader::new(stream, move |bytes: &[u8]| {
            if !bytes.is_empty() {
                heard.hear();
            }
        });
        let (send, mut connection) = client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buffer_size(SEND_BYTES_MAX)
            .max_header_list_size(self.head_bytes_max)
            .initial_max_send_streams(STREAMS_MAX)
            .handshake::<_, Bytes>(stream)
            .await
            .map_err(|_| ErrorKind::ConnectFailed)?;
        let ping = connection.ping_pong();
        let driver = tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of HTTP/2 to an instance failed");
            }
        });
        Ok(Session {
            send,
            is_secure,
            usage,
            ping,
            pinged_ms: now_ms,
            is_pinged: false,
            heard_then: None,
            opened_then: 0,
            hasty_pings: 0,
            driver: driver.abort_handle(),
        })
    }

    /// Closes what is not needed any more, gives up what does not answer. Called with every tick of the worker's clock.
    pub(crate) fn expire(&self, now_ms: u64) {
        self.by_endpoint.borrow_mut().retain(|_, of| {
            let mut all = of.all.borrow_mut();
            all.retain_mut(|session| session.is_kept(now_ms, self.idle_ms_max));
            // Somebody may be about to make one.
            !all.is_empty() || Rc::strong_count(of) > 1
        });
    }

    /// Closes those without requests, to have their descriptors for something else.
    pub(crate) fn clear_idle(&self) {
        for of in self.by_endpoint.borrow().values() {
            of.all.borrow_mut().retain(|session| session.usage.open.get() > 0);
        }
    }
}

impl Of {
    /// A stream of the connection with the fewest; `waits`: it may have to wait for the end of another, and if there is no
    /// other connection than those in doubt it is of one of them.
    fn open(&self, now_ms: u64, waits: bool) -> Option<Stream> {
        let mut all = self.all.borrow_mut();
        all.retain_mut(Session::takes_more);
        let rank = |usage: &Usage| (usage.is_in_doubt.get(), usage.open.get());
        let session = all.iter().min_by_key(|session| rank(&session.usage))?;
        let (is_in_doubt, open) = rank(&session.usage);
        let has_room = !is_in_doubt && open < session.send.current_max_send_streams().min(STREAMS_MAX);
        (waits || has_room).then(|| session.stream(now_ms))
    }
}

impl Session {
    fn stream(&self, now_ms: u64) -> Stream {
        Stream::new(self.send.clone(), self.is_secure, Lease::new(&self.usage, now_ms))
    }

    /// Whether it is neither closed nor about to be. What is under way on one that is goes on without this.
    fn takes_more(&mut self) -> bool {
        let mut task = TaskContext::from_waker(Waker::noop());
        !matches!(self.send.poll_ready(&mut task), Poll::Ready(Err(_)))
    }

    /// Whether a ping was answered. Until its answer is taken no other can be sent.
    fn take_pong(&mut self) -> bool {
        let mut task = TaskContext::from_waker(Waker::noop());
        let pong = self.ping.as_mut().map(|ping| ping.poll_pong(&mut task));
        matches!(pong, Some(Poll::Ready(Ok(_))))
    }

    fn is_kept(&mut self, now_ms: u64, idle_ms_max: u64) -> bool {
        self.usage.now_ms.set(now_ms);
        if !self.takes_more() {
            return false;
        }
        if self.usage.open.get() == 0 {
            if self.usage.is_in_doubt.get() {
                // Its end would wait for somebody who may not be there.
                self.driver.abort();
                return false;
            }
            if self.is_pinged && self.take_pong() {
                self.is_pinged = false;
            }
            self.pinged_ms = now_ms;
            return self.usage.last_ms.get().saturating_add(idle_ms_max) >= now_ms;
        }
        self.usage.last_ms.set(now_ms);
        let since_ms = self.pinged_ms.max(self.usage.heard_ms.get());
        if self.is_pinged {
            if self.take_pong() {
                self.is_pinged = false;
                self.pinged_ms = now_ms;
                self.heard_then = Some(self.usage.heard.get());
                self.opened_then = self.usage.opened.get();
            } else if since_ms.saturating_add(PING_MS) < now_ms {
                // What comes meanwhile is as good: the answer may wait behind it.
                tracing::warn!("an instance does not answer on a connection of HTTP/2: it is given up");
                // Its requests fail now, not when their own time is over.
                self.driver.abort();
                return false;
            }
            return true;
        }
        let is_quiet = self.heard_then == Some(self.usage.heard.get());
        if !is_quiet {
            self.hasty_pings = 0;
        }
        let has_reason = self.usage.is_in_doubt.get() || self.usage.opened.get() > self.opened_then;
        let is_hasty = is_quiet && has_reason && self.hasty_pings < HASTY_PINGS_MAX;
        let pause_ms = if is_quiet && !is_hasty {
            PING_AGAIN_MS
        } else {
            PING_MS
        };
        if since_ms.saturating_add(pause_ms) < now_ms
            && let Some(ping) = &mut self.ping
            && ping.send_ping(Ping::opaque()).is_ok()
        {
            self.is_pinged = true;
            self.pinged_ms = now_ms;
            self.hasty_pings += u32::from(is_hasty);
        }
        true
    }
}

#[cfg(test)]
mod tests;
