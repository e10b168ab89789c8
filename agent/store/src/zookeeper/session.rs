//! One connection to one server of the ensemble, with its session.
//!
//! Requests are answered in their order, so many may be under way. What a watch notices comes before the
//! answer to any later request. A connection that is silent for [`SILENCE_MAX`] while something is asked is
//! dead, and everybody who waits hears it; nothing is sent again here.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Instant, interval, timeout},
};
use tokio_rustls::{TlsConnector, rustls};
use tokio_util::{
    codec::{FramedRead, FramedWrite, LengthDelimitedCodec},
    sync::{CancellationToken, DropGuard},
};

use super::jute::{self, Op, Reader, code};
use crate::{Revision, StoreError, address::Secret};

/// Longest silence while something is asked.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Longest time to connect, session included.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How often a quiet connection is asked whether it lives.
const PING: Duration = Duration::from_secs(2);
/// How often silence is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// Longest frame of an answer in bytes.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Requests that wait to be sent.
const OUTBOX: usize = 256;
/// Events that wait for a reader; one that is further behind must read anew.
const EVENTS: usize = 4096;

/// Where to connect and how.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) hosts: Arc<[String]>,
    pub(super) tls: Option<(Arc<rustls::ClientConfig>, Option<String>)>,
    /// `user:password`
    pub(super) digest: Option<Secret>,
}

/// A session that a connection goes on with.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) session: i64,
    pub(super) password: Bytes,
    pub(super) timeout: Duration,
}

/// An answer without an error.
#[derive(Debug)]
pub(super) struct Answer {
    /// Place of the store when it was given.
    pub(super) zxid: i64,
    pub(super) body: Reader,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server said no, by ZooKeeper's code.
    Code(i32),
    /// No connection, no answer, or none that makes sense.
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            Failure::Code(code::NO_AUTH | code::AUTH_FAILED | code::INVALID_ACL) => Self::Denied(
                "the store's access list forbids it; credentials are given as in zk://USER:PASSWORD@HOST"
                    .to_owned(),
            ),
            Failure::Code(code::SESSION_EXPIRED | code::SESSION_MOVED) => {
                Self::Unavailable("the session is over".into())
            }
            Failure::Code(code) => Self::Unavailable(format!("it refused (code {code})").into()),
        }
    }
}

/// What a watch noticed at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) path: String,
}

/// A connection. Dropping it ends it; its session then ends with its time.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) ticket: Ticket,
    outbox: mpsc::Sender<Request>,
    shared: Arc<Shared>,
    end: CancellationToken,
    _end_on_drop: DropGuard,
}

#[derive(Debug, Default)]
struct Shared {
    /// Place of the store at the newest answer.
    place: AtomicI64,
    listeners: Mutex<Vec<mpsc::Sender<Event>>>,
    closed: AtomicBool,
}

impl Shared {
    fn tell(&self, event: &Event) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever is too slow is dropped, and finds out by the end of its queue.
        listeners.retain(|listener| listener.try_send(event.clone()).is_ok());
    }

    fn close(&self) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(true, Ordering::Release);
        listeners.clear();
    }
}

#[derive(Debug)]
struct Request {
    op: Op,
    body: BytesMut,
    answer: oneshot::Sender<Result<Answer, Failure>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Session {
    /// Connects to the first host that takes the session, beginning with the one numbered `from`. `beating`
    /// keeps the session alive by itself.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if the session to go on with is over.
    pub(super) async fn open(
        way: &Way,
        from: usize,
        ticket: &Ticket,
        beating: bool,
    ) -> Result<Self, StoreError> {
        let mut failed = StoreError::Unavailable("there is no host".into());
        for at in 0..way.hosts.len() {
            let Some(host) = way.hosts.get((from.wrapping_add(at)) % way.hosts.len()) else {
                break;
            };
            match timeout(CONNECT_MAX, Self::to(way, host, ticket, beating)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error @ (StoreError::LeaseLost | StoreError::Denied(_)))) => return Err(error),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = late(),
            }
        }
        Err(failed)
    }

    async fn to(way: &Way, host: &str, ticket: &Ticket, beating: bool) -> Result<Self, StoreError> {
        let stream = TcpStream::connect(host).await.map_err(unavailable)?;
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Stream> = match &way.tls {
            None => Box::new(stream),
            Some((config, name)) => {
                let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
                let name = name
                    .as_deref()
                    .unwrap_or(host)
                    .trim_matches(['[', ']'])
                    .to_owned();
                let name = rustls::pki_types::ServerName::try_from(name).map_err(unavailable)?;
                let connector = TlsConnector::from(Arc::clone(config));
                Box::new(connector.connect(name, stream).await.map_err(unavailable)?)
            }
        };
        let (reader, writer) = tokio::io::split(stream);
        let codec = || {
            let mut codec = LengthDelimitedCodec::new();
            codec.set_max_frame_length(FRAME_BYTES_MAX);
            codec
        };
        let mut frames = FramedRead::new(reader, codec());
        let mut out = FramedWrite::new(writer, codec());
        let timeout_ms = i32::try_from(ticket.timeout.as_millis()).unwrap_or(i32::MAX);
        let hello = jute::connect(timeout_ms, ticket.session, &ticket.password);
        out.send(hello.freeze()).await.map_err(unavailable)?;
        let mut reader = match frames.next().await {
            Some(frame) => Reader(frame.map_err(unavailable)?.freeze()),
            None => return Err(lost()),
        };
        let (_protocol, timeout_ms, session) = (reader.int()?, reader.int()?, reader.long()?);
        let password = reader.buffer()?.unwrap_or_default();
        if timeout_ms <= 0 || session == 0 {
            return Err(StoreError::LeaseLost);
        }
        let ticket = Ticket {
            session,
            password,
            timeout: Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)),
        };

        let (outbox, requests) = mpsc::channel(OUTBOX);
        let (end, shared) = (CancellationToken::new(), Arc::new(Shared::default()));
        let connection = Connection {
            shared: Arc::clone(&shared),
            waiting: VecDeque::new(),
            last: 0,
            heard: Instant::now(),
            beating: beating.then_some(PING.min(ticket.timeout / 3)),
            sent: Instant::now(),
        };
        let ended = end.clone();
        tokio::spawn(async move {
            let closing = Arc::clone(&connection.shared);
            tokio::select! {
                outcome = connection.run(frames, out, requests) => {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "the connection to ZooKeeper ended");
                    }
                }
                () = ended.cancelled() => {}
            }
            closing.close();
        });
        let session = Self {
            ticket,
            outbox,
            shared,
            _end_on_drop: end.clone().drop_guard(),
            end,
        };
        if let Some(digest) = &way.digest {
            session
                .ask(Op::Auth, jute::auth("digest", &digest.0))
                .await
                .map_err(StoreError::from)?;
        }
        Ok(session)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Place of the store at the newest answer. What watches noticed before that has been told.
    pub(super) fn place(&self) -> Revision {
        let place = self.shared.place.load(Ordering::Acquire);
        Revision(u64::try_from(place).unwrap_or(0))
    }

    /// What watches on this connection notice from now on. Ends with the connection, or if the reader is slow.
    pub(super) fn events(&self) -> Result<mpsc::Receiver<Event>, StoreError> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        let mut listeners = self
            .shared
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.is_closed() {
            return Err(lost());
        }
        listeners.retain(|listener| !listener.is_closed());
        listeners.push(sender);
        Ok(receiver)
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, op: Op, body: BytesMut) -> Result<Answer, Failure> {
        let (answer, answered) = oneshot::channel();
        let request = Request { op, body, answer };
        if self.outbox.send(request).await.is_err() {
            return Err(lost().into());
        }
        answered.await.unwrap_or_else(|_| Err(lost().into()))
    }

    /// Ends the session: what is bound to it vanishes now.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let closed = self.ask(Op::Close, BytesMut::new()).await;
        self.end.cancel();
        match closed {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// Who waits for the next answer.
#[derive(Debug)]
struct Waiting {
    xid: i32,
    since: Instant,
    /// `None`: nobody, it was our own question whether the connection lives.
    answer: Option<oneshot::Sender<Result<Answer, Failure>>>,
}

/// The task's side of a connection.
#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    waiting: VecDeque<Waiting>,
    last: i32,
    heard: Instant,
    sent: Instant,
    /// Pause between signs of life, if the session is kept alive here.
    beating: Option<Duration>,
}

/// Numbers of requests that are no ordinary ones.
const XID_EVENT: i32 = -1;
const XID_PING: i32 = -2;
const XID_AUTH: i32 = -4;

impl Connection {
    async fn run(
        mut self,
        mut frames: FramedRead<impl AsyncRead + Unpin, LengthDelimitedCodec>,
        mut out: FramedWrite<impl AsyncWrite + Unpin, LengthDelimitedCodec>,
        mut requests: mpsc::Receiver<Request>,
    ) -> Result<(), StoreError> {
        let mut look = interval(LOOK);
        loop {
            tokio::select! {
                frame = frames.next() => match frame {
                    None => return Err(lost()),
                    Some(frame) => self.take(Reader(frame.map_err(unavailable)?.freeze()))?,
                },
                request = requests.recv() => {
                    let Some(request) = request else { return Ok(()) };
                    let frame = self.register(request.op, &request.body, Some(request.answer));
                    self.send(&mut out, frame).await?;
                    // What else waits goes out with it.
                    while let Ok(request) = requests.try_recv() {
                        let frame = self.register(request.op, &request.body, Some(request.answer));
                        self.send(&mut out, frame).await?;
                    }
                }
                _ = look.tick() => {
                    let now = Instant::now();
                    let silent = self.waiting.front().is_some_and(|first| {
                        now - first.since.max(self.heard) > SILENCE_MAX
                    });
                    if silent {
                        return Err(late());
                    }
                    if self.beating.is_some_and(|pause| now - self.sent >= pause) {
                        let frame = self.register(Op::Ping, &BytesMut::new(), None);
                        self.send(&mut out, frame).await?;
                    }
                }
            }
        }
    }

    async fn send(
        &mut self,
        out: &mut FramedWrite<impl AsyncWrite + Unpin, LengthDelimitedCodec>,
        frame: Bytes,
    ) -> Result<(), StoreError> {
        self.sent = Instant::now();
        match timeout(SILENCE_MAX, out.send(frame)).await {
            Ok(sent) => sent.map_err(unavailable),
            Err(_) => Err(late()),
        }
    }

    fn register(
        &mut self,
        op: Op,
        body: &BytesMut,
        answer: Option<oneshot::Sender<Result<Answer, Failure>>>,
    ) -> Bytes {
        let xid = match op {
            Op::Ping => XID_PING,
            Op::Auth => XID_AUTH,
            _ => {
                self.last = self.last.checked_add(1).unwrap_or(1);
                self.last
            }
        };
        self.waiting.push_back(Waiting {
            xid,
            since: Instant::now(),
            answer,
        });
        let mut frame = BytesMut::with_capacity(8 + body.len());
        frame.put_i32(xid);
        frame.put_i32(op as i32);
        frame.extend_from_slice(body);
        frame.freeze()
    }

    fn take(&mut self, mut reader: Reader) -> Result<(), StoreError> {
        self.heard = Instant::now();
        let (xid, zxid, error) = (reader.int()?, reader.long()?, reader.int()?);
        if xid == XID_EVENT {
            let (kind, _state) = (reader.int()?, reader.int()?);
            let path = reader.text()?;
            // A kind below 1 tells of the session, which its requests tell as well.
            if kind > 0 {
                self.shared.tell(&Event { path });
            }
            return Ok(());
        }
        // Before whoever waits hears of it.
        self.shared.place.fetch_max(zxid, Ordering::AcqRel);
        // Answers come in the order of requests, those to signs of life among them out of it.
        let at = self.waiting.iter().position(|waiting| waiting.xid == xid);
        let in_order = xid < 0 || at == self.waiting.iter().position(|waiting| waiting.xid > 0);
        let Some(waiting) = at.filter(|_| in_order).and_then(|at| self.waiting.remove(at)) else {
            return Err(StoreError::Corrupt(
                "an answer fits no question; is this ZooKeeper?".to_owned(),
            ));
        };
        if let Some(answer) = waiting.answer {
            let outcome = match error {
                code::OK => Ok(Answer { zxid, body: reader }),
                code::CONNECTION_LOSS | code::TIMEOUT => Err(lost().into()),
                error => Err(Failure::Code(error)),
            };
            let _ = answer.send(outcome);
        }
        Ok(())
    }
}

pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

pub(super) fn lost() -> StoreError {
    StoreError::Unavailable("the connection was lost".into())
}

fn late() -> StoreError {
    StoreError::Unavailable("no answer in time".into())
}
