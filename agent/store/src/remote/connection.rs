//! One connection of a client: who waits for which answer.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _, stream};
use tokio::{
    net::{TcpStream, ToSocketAddrs},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{
    codec::{FramedRead, FramedWrite},
    sync::{CancellationToken, DropGuard},
};

use super::wire::{self, Call, Reply, Request, Response, WireEntry};
use crate::{Change, Revision, StoreError, Watch};

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time until an answer is complete.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames that wait to be sent.
const OUTBOX_FRAMES: usize = 64;
/// Changes that wait for a watch's reader; one that is further behind must read anew.
const WATCH_CHANGES: usize = 1024;

/// A connection. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Connection {
    outbox: mpsc::Sender<Bytes>,
    waiting: Arc<Waiting>,
    ids: AtomicU64,
    /// Ends the two tasks.
    end: CancellationToken,
    _end_on_drop: DropGuard,
}

/// Who waits for an answer, by id.
#[derive(Debug, Default)]
struct Waiting {
    by_id: Mutex<HashMap<u64, Waiter>>,
    /// Set before the last waiter is dropped: nobody can begin to wait afterwards.
    closed: AtomicBool,
}

#[derive(Debug)]
enum Waiter {
    Answer {
        /// Pages of a listing so far.
        entries: Vec<WireEntry>,
        answer: oneshot::Sender<Reply>,
    },
    Changes {
        started: Option<oneshot::Sender<Reply>>,
        changes: mpsc::Sender<Result<Change, StoreError>>,
    },
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiter>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, id: u64, waiter: Waiter) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        if self.closed.load(Ordering::Relaxed) {
            return Err(lost());
        }
        waiting.insert(id, waiter);
        Ok(())
    }

    /// Everybody who waits hears that the connection is lost.
    fn close(&self) {
        let mut waiting = self.lock();
        self.closed.store(true, Ordering::Relaxed);
        waiting.clear();
    }

    fn deliver(&self, Response { id, reply }: Response) {
        let mut waiting = self.lock();
        // An answer that nobody waits for any more (its time was over) is dropped.
        let Some(waiter) = waiting.remove(&id) else { return };
        match waiter {
            Waiter::Answer { mut entries, answer } => match reply {
                Reply::Entries {
                    entries: page,
                    revision,
                    more,
                } => {
                    entries.extend(page);
                    if more {
                        waiting.insert(id, Waiter::Answer { entries, answer });
                    } else {
                        let _ = answer.send(Reply::Entries {
                            entries,
                            revision,
                            more,
                        });
                    }
                }
                reply => {
                    let _ = answer.send(reply);
                }
            },
            Waiter::Changes { started, changes } => {
                if let Some(started) = started {
                    let begun = matches!(reply, Reply::Watching);
                    if started.send(reply).is_ok() && begun {
                        let started = None;
                        waiting.insert(id, Waiter::Changes { started, changes });
                    }
                    return;
                }
                let change = match reply {
                    Reply::Put(entry) => Ok(Change::Put(entry.into())),
                    Reply::Removed { key, revision } => Ok(Change::Deleted { key, revision }),
                    Reply::Error(error) => Err(error.into()),
                    // Dropping the sender ends the watch.
                    _ => return,
                };
                let goes_on = change.is_ok();
                // A full queue drops the sender as well: the reader finds the gap (see `watch`).
                if changes.try_send(change).is_ok() && goes_on {
                    let started = None;
                    waiting.insert(id, Waiter::Changes { started, changes });
                }
            }
        }
    }
}

impl Connection {
    pub(super) async fn open(address: impl ToSocketAddrs) -> Result<Self, StoreError> {
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(StoreError::Unavailable(error.into())),
            Err(_) => return Err(late()),
        };
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let (outbox, mut frames) = mpsc::channel::<Bytes>(OUTBOX_FRAMES);
        let end = CancellationToken::new();
        let waiting = Arc::new(Waiting::default());
        let mut frames_out = FramedWrite::new(writer, wire::codec());
        let mut frames_in = FramedRead::new(reader, wire::codec());
        let sending = async move {
            while let Some(frame) = frames.recv().await {
                frames_out.send(frame).await?;
            }
            Ok(())
        };
        let answers = Arc::clone(&waiting);
        let receiving = async move {
            while let Some(frame) = frames_in.next().await {
                answers.deliver(wire::decode(&frame?)?);
            }
            Ok(())
        };
        let (ended, close) = (end.clone(), Arc::clone(&waiting));
        tokio::spawn(async move {
            let outcome: io::Result<()> = tokio::select! {
                outcome = sending => outcome,
                outcome = receiving => outcome,
                () = ended.cancelled() => Ok(()),
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "the connection to the store ended");
            }
            close.close();
        });
        let connection = Self {
            outbox,
            waiting,
            ids: AtomicU64::new(1),
            _end_on_drop: end.clone().drop_guard(),
            end,
        };
        let version = wire::VERSION;
        match connection.ask(Call::Hello { version }).await? {
            Reply::Hello { .. } => Ok(connection),
            reply => Err(unexpected(&reply)),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.end.is_cancelled() || self.waiting.closed.load(Ordering::Relaxed)
    }

    /// Sends a request and waits for its whole answer, which is not an error.
    pub(super) async fn ask(&self, call: Call) -> Result<Reply, StoreError> {
        let (answer, answered) = oneshot::channel();
        let entries = Vec::new();
        let request = self.begin(Waiter::Answer { entries, answer })?;
        self.exchange(&request, call, answered).await
    }

    pub(super) async fn watch(self: Arc<Self>, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let (started, has_started) = oneshot::channel();
        let (changes, receiver) = mpsc::channel(WATCH_CHANGES);
        let request = self.begin(Waiter::Changes {
            started: Some(started),
            changes,
        })?;
        // Made before the request goes out: a caller that goes away meanwhile leaves no watch behind.
        let cancel = Cancel {
            id: request.id,
            outbox: self.outbox.clone(),
        };
        let call = Call::Watch {
            prefix: prefix.to_owned(),
            after,
        };
        match self.exchange(&request, call, has_started).await? {
            Reply::Watching => {}
            reply => return Err(unexpected(&reply)),
        }
        // The connection lives as long as a watch needs it.
        let reading = Reading {
            receiver,
            cancel,
            connection: Arc::clone(&self),
            _request: request,
            ended: false,
        };
        Ok(Box::pin(stream::unfold(reading, |mut reading| async move {
            let next = reading.next().await?;
            Some((next, reading))
        })))
    }

    fn begin(&self, waiter: Waiter) -> Result<Pending, StoreError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        self.waiting.insert(id, waiter)?;
        Ok(Pending {
            id,
            waiting: Arc::clone(&self.waiting),
        })
    }

    async fn exchange(
        &self,
        request: &Pending,
        call: Call,
        answered: oneshot::Receiver<Reply>,
    ) -> Result<Reply, StoreError> {
        let frame = wire::encode(&Request { id: request.id, call });
        let exchange = async {
            self.outbox.send(frame).await.map_err(|_| lost())?;
            answered.await.map_err(|_| lost())
        };
        match timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok(Reply::Error(error))) => Err(error.into()),
            Ok(outcome) => outcome,
            Err(_) => {
                // A peer that does not answer is lost; watches must hear of it too.
                self.end.cancel();
                Err(late())
            }
        }
    }
}

/// An entry of `Waiting`, removed when its reader goes away.
struct Pending {
    id: u64,
    waiting: Arc<Waiting>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.id);
    }
}

/// Tells the server that a watch is over.
struct Cancel {
    id: u64,
    outbox: mpsc::Sender<Bytes>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        // If the queue is full, the server goes on sending changes that are dropped here: harmless.
        let call = Call::Cancel { watch: self.id };
        let _ = self.outbox.try_send(wire::encode(&Request { id: 0, call }));
    }
}

struct Reading {
    receiver: mpsc::Receiver<Result<Change, StoreError>>,
    cancel: Cancel,
    connection: Arc<Connection>,
    _request: Pending,
    ended: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Change, StoreError>> {
        if self.ended {
            return None;
        }
        if let Some(change) = self.receiver.recv().await {
            self.ended = change.is_err();
            return Some(change);
        }
        self.ended = true;
        if self.connection.is_closed() {
            return Some(Err(lost()));
        }
        // The server ended it, or this reader was too slow for its queue. Both mean: read anew.
        tracing::debug!(watch = self.cancel.id, "a watch of the store ended");
        Some(Err(StoreError::Compacted))
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("the connection was lost".into())
}

fn late() -> StoreError {
    StoreError::Unavailable("no answer in time".into())
}

pub(super) fn unexpected(reply: &Reply) -> StoreError {
    let shown: String = format!("{reply:?}").chars().take(100).collect();
    StoreError::Corrupt(format!("the store's answer does not fit the question: {shown}"))
}
