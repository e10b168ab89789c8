//! The side that has the store.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_util::{
    codec::{FramedRead, FramedWrite},
    sync::CancellationToken,
};

use super::wire::{self, Call, PAGE_BYTES, PAGE_ENTRIES, Reply, Request, Response, WireEntry, WireError};
use crate::{LeaseId, Store, StoreError};

/// Most connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// Most requests of a connection that are worked on at once; more wait in the socket.
const REQUESTS_MAX: usize = 64;
/// Most watches of a connection.
const WATCHES_MAX: usize = 1024;
/// Frames that wait to be sent; more hold back requests and watches.
const OUTBOX_FRAMES: usize = 32;
/// Longest time that a frame may take to be sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an accept that failed (out of file descriptors).
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Serves `store` to [`Remote`](super::Remote)s until `shutdown`, then ends every connection.
///
/// # Errors
/// [`StoreError::Unsupported`] if the listener is not on a loopback address: there is no authentication.
pub async fn serve(
    listener: TcpListener,
    store: Arc<dyn Store>,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    let address = listener
        .local_addr()
        .map_err(|error| StoreError::Unavailable(error.into()))?;
    if !address.ip().is_loopback() {
        return Err(StoreError::Unsupported(
            format!("be served on {address}: only on a loopback address, for there is no authentication")
                .into(),
        ));
    }
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let permit = Arc::clone(&room).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    while connections.try_join_next().is_some() {}
                    connections.spawn(connection(stream, Arc::clone(&store), permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the store could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accepting).await;
    connections.shutdown().await;
    Ok(())
}

async fn connection(stream: TcpStream, store: Arc<dyn Store>, _room: OwnedSemaphorePermit) {
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (outbox, frames) = mpsc::channel(OUTBOX_FRAMES);
    let mut frames_out = FramedWrite::new(writer, wire::codec());
    let frames_in = FramedRead::new(reader, wire::codec());
    let sending = send(frames, &mut frames_out);
    let receiving = receive(frames_in, store, outbox);
    // Whichever ends first ends the other, and with it every request and watch.
    let ended = tokio::select! {
        ended = sending => ended,
        ended = receiving => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the store ended");
    }
}

async fn send(
    mut frames: mpsc::Receiver<Bytes>,
    out: &mut FramedWrite<tokio::net::tcp::OwnedWriteHalf, tokio_util::codec::LengthDelimitedCodec>,
) -> io::Result<()> {
    while let Some(frame) = frames.recv().await {
        match timeout(SEND_TIMEOUT, out.send(frame)).await {
            Ok(sent) => sent?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    Ok(())
}

async fn receive(
    mut frames: FramedRead<tokio::net::tcp::OwnedReadHalf, tokio_util::codec::LengthDelimitedCodec>,
    store: Arc<dyn Store>,
    outbox: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut requests = JoinSet::new();
    let mut watches: HashMap<u64, AbortHandle> = HashMap::new();
    while let Some(frame) = frames.next().await {
        let Request { id, call } = wire::decode(&frame?)?;
        while requests.try_join_next().is_some() {}
        let outbox = Outbox {
            id,
            frames: outbox.clone(),
        };
        match call {
            Call::Cancel { watch } => {
                if let Some(watch) = watches.remove(&watch) {
                    watch.abort();
                }
            }
            Call::Watch { prefix, after } => {
                watches.retain(|_, watch| !watch.is_finished());
                if watches.len() >= WATCHES_MAX {
                    let error = StoreError::Unsupported("watch more than 1024 prefixes at once".into());
                    outbox.send(Reply::Error(error.into())).await;
                    continue;
                }
                let store = Arc::clone(&store);
                let task = requests.spawn(async move { outbox.watch(&*store, &prefix, after).await });
                watches.insert(id, task);
            }
            call => {
                let permit = Arc::clone(&room).acquire_owned().await;
                let permit = permit.expect("the semaphore is never closed");
                let store = Arc::clone(&store);
                requests.spawn(async move {
                    outbox.answer(&*store, call).await;
                    drop(permit);
                });
            }
        }
    }
    Ok(())
}

/// Where the answers to one request go.
struct Outbox {
    id: u64,
    frames: mpsc::Sender<Bytes>,
}

impl Outbox {
    /// Whether the connection still takes answers.
    async fn send(&self, reply: Reply) -> bool {
        let frame = wire::encode(&Response { id: self.id, reply });
        self.frames.send(frame).await.is_ok()
    }

    async fn watch(&self, store: &dyn Store, prefix: &str, after: crate::Revision) {
        let mut changes = match store.watch(prefix, after).await {
            Ok(changes) => changes,
            Err(error) => {
                self.send(Reply::Error(error.into())).await;
                return;
            }
        };
        let mut connected = self.send(Reply::Watching).await;
        while connected {
            let reply = match changes.next().await {
                Some(Ok(change)) => change.into(),
                Some(Err(error)) => Reply::Error(error.into()),
                None => Reply::Ended,
            };
            let last = matches!(reply, Reply::Error(_) | Reply::Ended);
            connected = self.send(reply).await && !last;
        }
    }

    async fn answer(&self, store: &dyn Store, call: Call) {
        let reply = match call {
            Call::List { prefix } => match store.list(&prefix).await {
                Ok((entries, revision)) => return self.pages(entries, revision).await,
                Err(error) => Reply::Error(error.into()),
            },
            call => answer(store, call)
                .await
                .unwrap_or_else(|error| Reply::Error(error.into())),
        };
        self.send(reply).await;
    }

    async fn pages(&self, entries: Vec<crate::Entry>, revision: crate::Revision) {
        let mut entries = entries.into_iter().peekable();
        loop {
            let mut bytes = 0;
            let mut page: Vec<WireEntry> = Vec::new();
            while page.len() < PAGE_ENTRIES && bytes < PAGE_BYTES {
                let Some(entry) = entries.next() else { break };
                bytes += entry.value.len();
                page.push(entry.into());
            }
            let more = entries.peek().is_some();
            let reply = Reply::Entries {
                entries: page,
                revision,
                more,
            };
            if !self.send(reply).await || !more {
                return;
            }
        }
    }
}

async fn answer(store: &dyn Store, call: Call) -> Result<Reply, StoreError> {
    Ok(match call {
        Call::Hello { version } if version == wire::VERSION => Reply::Hello { version },
        Call::Hello { version } => Reply::Error(WireError::Corrupt(format!(
            "the client speaks version {version} of the store's protocol, this server version {}",
            wire::VERSION
        ))),
        Call::Get { key } => Reply::Entry(store.get(&key).await?.map(WireEntry::from)),
        Call::Put {
            key,
            value,
            expect,
            lease,
        } => {
            let lease = lease.map(LeaseId);
            Reply::Written(store.put(&key, value.0, expect.into(), lease.as_ref()).await?)
        }
        Call::Delete { key, expect } => Reply::Deleted(store.delete(&key, expect.into()).await?),
        Call::Grant { ttl_ms } => Reply::Lease(store.grant(Duration::from_millis(ttl_ms)).await?.0),
        Call::Renew { lease } => {
            store.renew(&LeaseId(lease)).await?;
            Reply::Done
        }
        Call::Revoke { lease } => {
            store.revoke(&LeaseId(lease)).await?;
            Reply::Done
        }
        Call::List { .. } | Call::Watch { .. } | Call::Cancel { .. } => Reply::Error(WireError::Corrupt(
            "the request came to the wrong place".to_owned(),
        )),
    })
}
