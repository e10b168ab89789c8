//! Follows the store: reads what is published, then hears of changes, over every loss.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use weir_store::{
    Change, Revision, Store, StoreError, Watch,
    protocol::{self, ProtocolError},
};

use crate::{backoff::Backoff, feed::Feed, status::Status};

/// Longest wait for an answer of the store.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a whole snapshot.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause between looks at the manifest while a watch is quiet: a watch that died silently costs no more, and a store
/// that fell silent is noticed.
const LOOK: Duration = Duration::from_millis(500);
/// Pause before the proxy tries again what it could not do.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) prefix: String,
    pub(crate) feed: Feed,
    pub(crate) status: Arc<Status>,
    /// Knows what was read last.
    pub(crate) reader: protocol::Reader,
    /// The manifest that was taken or refused last.
    pub(crate) taken: Option<Revision>,
}

impl Follower {
    /// Until `shutdown`. What is served is on disk then.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new();
        let following = async {
            loop {
                match self.follow(&mut backoff).await {
                    Ok(()) => tracing::debug!("the watch ended; everything is read again"),
                    Err(error) => self.lost(&error),
                }
                sleep(backoff.next()).await;
                self.feed.retry().await;
            }
        };
        shutdown.run_until_cancelled(following).await;
        self.feed.save_rest();
        self.feed.saver().flush().await;
    }

    /// Reads, then watches until that ends.
    async fn follow(&mut self, backoff: &mut Backoff) -> Result<(), ProtocolError> {
        let key = protocol::manifest_key(&self.prefix);
        let (entries, revision) = in_time(self.store.list(&key)).await?;
        self.status.contact();
        let found = entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.revision);
        self.at(found).await?;
        let mut watch = in_time(self.store.watch(&key, revision)).await?;
        backoff.reset();
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retry = interval_at(Instant::now() + RETRY, RETRY);
        loop {
            // Only waits are in the branches: what has begun (a swap) is never dropped half done.
            let found = tokio::select! {
                told = told(&mut watch, &key) => match told? {
                    Told::End => return Ok(()),
                    Told::Manifest(found) => found,
                },
                _ = look.tick() => in_time(self.store.place(&key)).await?,
                _ = retry.tick() => {
                    self.feed.retry().await;
                    continue;
                }
            };
            self.status.contact();
            self.at(found).await?;
        }
    }

    /// The manifest is at that place in the store's history, or not there.
    pub(crate) async fn at(&mut self, found: Option<Revision>) -> Result<(), ProtocolError> {
        let news = self.status.published(found.is_some());
        if found.is_none() {
            if news {
                tracing::warn!("nothing is published in the store (wiped?); what is served stays");
            }
            self.taken = None;
            return Ok(());
        }
        if found == self.taken {
            return Ok(());
        }
        if self.taken.is_none() && self.feed.serves() && self.is_served().await? {
            return Ok(());
        }
        let reading = self.reader.read(&*self.store, &self.prefix);
        let published = match within(READ_TIMEOUT, reading).await {
            Err(error) if error.is_content() => {
                let reason = error.to_string();
                self.feed.refuse(None, &reason);
                self.status.content(Some(reason));
                self.taken = found;
                return Ok(());
            }
            published => published?,
        };
        self.status.content(None);
        if let Some(published) = published {
            self.taken = Some(published.revision);
            self.feed.take(published).await;
        }
        Ok(())
    }

    /// After a start: what the disk had may be what is published. Takes it then, without reading it all.
    async fn is_served(&mut self) -> Result<bool, ProtocolError> {
        let (manifest, revision) = match in_time(protocol::manifest(&*self.store, &self.prefix)).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(false),
            // Whoever reads it all says what is wrong with it.
            Err(error) if error.is_content() => return Ok(false),
            Err(error) => return Err(error),
        };
        if !self.feed.take_again(manifest.generation, manifest.digest) {
            return Ok(false);
        }
        self.status.content(None);
        self.taken = Some(revision);
        Ok(true)
    }

    fn lost(&self, error: &ProtocolError) {
        let reason = chain(error);
        match error {
            // The store answers; what it holds is wrong.
            ProtocolError::Store(StoreError::Corrupt(_)) | ProtocolError::Chunk { .. } => {
                self.feed.refuse(None, &reason);
                self.status.content(Some(reason));
            }
            _ => {
                tracing::warn!(reason, "the store is lost; what is served stays");
                self.status.lost(reason);
            }
        }
    }
}

async fn in_time<T, E: Into<ProtocolError>>(
    asking: impl Future<Output = Result<T, E>>,
) -> Result<T, ProtocolError> {
    within(ANSWER_TIMEOUT, asking).await
}

/// The answer, if it comes in time.
pub(crate) async fn within<T, E: Into<ProtocolError>>(
    time: Duration,
    asking: impl Future<Output = Result<T, E>>,
) -> Result<T, ProtocolError> {
    match timeout(time, asking).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(StoreError::Unavailable("it did not answer in time".into()).into()),
    }
}

enum Told {
    Manifest(Option<Revision>),
    End,
}

/// The next change of the manifest.
async fn told(watch: &mut Watch, key: &str) -> Result<Told, StoreError> {
    loop {
        return match watch.next().await {
            None | Some(Err(StoreError::Compacted)) => Ok(Told::End),
            Some(Err(error)) => Err(error),
            Some(Ok(change)) if change.key() != key => continue,
            Some(Ok(Change::Put(entry))) => Ok(Told::Manifest(Some(entry.revision))),
            Some(Ok(Change::Deleted { .. })) => Ok(Told::Manifest(None)),
        };
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
