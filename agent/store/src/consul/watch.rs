//! A watch: blocking queries one after the other, each compared with what was told before.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::stream;
use tokio::time::{Instant, sleep};

use super::Client;
use crate::{
    Change, Entry, Revision, StoreError, Watch,
    listings::{Places, changes},
};

/// How long the store holds an answer back while nothing changes. A store that has fallen silent is
/// noticed little later.
const WAIT: Duration = Duration::from_secs(10);
/// Pause after an answer without news that came early: the index of a prefix without keys moves with every
/// key of the store. Doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

pub(super) fn open(client: Arc<Client>, prefix: &str, after: Revision, told: Places) -> Watch {
    let reading = Reading {
        client,
        prefix: prefix.to_owned(),
        index: after.0,
        told,
        ready: VecDeque::new(),
        pause: PAUSE_MIN,
        ended: false,
    };
    Box::pin(stream::unfold(reading, |mut reading| async move {
        let next = reading.next().await?;
        Some((next, reading))
    }))
}

struct Reading {
    client: Arc<Client>,
    prefix: String,
    /// What was told is of this place.
    index: u64,
    told: Places,
    ready: VecDeque<Change>,
    pause: Duration,
    ended: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Change, StoreError>> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(Ok(change));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.more().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    async fn more(&mut self) -> Result<(), StoreError> {
        let asked = Instant::now();
        // With 0 Consul would not wait.
        let index = self.index.max(1);
        let read = self.client.read(&self.prefix, true, Some((index, WAIT))).await?;
        if read.index < self.index {
            return Err(StoreError::Compacted);
        }
        self.index = read.index;
        let now: Vec<Entry> = read.pairs.into_iter().map(Entry::from).collect();
        self.ready
            .extend(changes(&mut self.told, now, Revision(read.index)));
        if self.ready.is_empty() && asked.elapsed() < WAIT {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        } else {
            self.pause = PAUSE_MIN;
        }
        Ok(())
    }
}
