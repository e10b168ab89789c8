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
/// A connection with requests under way is asked so often whether anybody is there, in milliseconds, and has as long to
/// answer.
const PING_MS: u64 = 10_000;

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
    driver: AbortHandle,
}

#[derive(Default)]
struct Usage {
    open: Cell<usize>,
    last_ms: Cell<u64>,
}

/// Counts a stream for as long as it lives.
pub(super) struct Lease(Rc<Usage>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
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
            usage: Rc::default(),
            ping,
            pinged_ms: now_ms,
            is_pinged: false,
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
    /// A stream of the connection with the fewest; `waits`: it may have to wait for the end of another.
    fn open(&self, now_ms: u64, waits: bool) -> Option<Stream> {
        let mut all = self.all.borrow_mut();
        all.retain_mut(Session::takes_more);
        let session = all.iter().min_by_key(|session| session.usage.open.get())?;
        (waits || session.usage.open.get() < session.send.current_max_send_streams().min(STREAMS_MAX))
            .then(|| session.stream(now_ms))
    }
}

impl Session {
    fn stream(&self, now_ms: u64) -> Stream {
        self.usage.open.set(self.usage.open.get() + 1);
        self.usage.last_ms.set(now_ms);
        Stream::new(self.send.clone(), self.is_secure, Lease(Rc::clone(&self.usage)))
    }

    /// Whether it is neither closed nor about to be. What is under way on one that is goes on without this.
    fn takes_more(&mut self) -> bool {
        let mut task = TaskContext::from_waker(Waker::noop());
        !matches!(self.send.poll_ready(&mut task), Poll::Ready(Err(_)))
    }

    fn is_kept(&mut self, now_ms: u64, idle_ms_max: u64) -> bool {
        if !self.takes_more() {
            return false;
        }
        if self.usage.open.get() == 0 {
            self.is_pinged = false;
            self.pinged_ms = now_ms;
            return self.usage.last_ms.get().saturating_add(idle_ms_max) >= now_ms;
        }
        self.usage.last_ms.set(now_ms);
        let Some(ping) = &mut self.ping else {
            return true;
        };
        if self.is_pinged {
            let mut task = TaskContext::from_waker(Waker::noop());
            if let Poll::Ready(Ok(_)) = ping.poll_pong(&mut task) {
                self.is_pinged = false;
                self.pinged_ms = now_ms;
            } else if self.pinged_ms.saturating_add(PING_MS) < now_ms {
                tracing::warn!("an instance does not answer on a connection of HTTP/2: it is given up");
                // Its requests fail now, not when their own time is over.
                self.driver.abort();
                return false;
            }
        } else if self.pinged_ms.saturating_add(PING_MS) < now_ms && ping.send_ping(Ping::opaque()).is_ok() {
            self.is_pinged = true;
            self.pinged_ms = now_ms;
        }
        true
    }
}
