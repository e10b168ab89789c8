//! A watch: a [`Tree`] that is kept up to date, compared with what was told before.

use std::collections::VecDeque;

use futures::stream;

use super::tree::Tree;
use crate::{
    Change, Revision, StoreError, Watch,
    listings::{Places, changes},
};

pub(super) async fn open(mut tree: Tree, after: Revision, mut told: Places) -> Result<Watch, StoreError> {
    let at = tree.load().await?;
    if at < after {
        // The store was replaced by an older one.
        return Err(StoreError::Compacted);
    }
    let ready = changes(&mut told, tree.entries(), at).into();
    let reading = Reading {
        tree,
        told,
        ready,
        ended: false,
    };
    Ok(Box::pin(stream::unfold(reading, |mut reading| async move {
        let next = reading.next().await?;
        Some((next, reading))
    })))
}

struct Reading {
    tree: Tree,
    told: Places,
    ready: VecDeque<Change>,
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
            match self.tree.change().await {
                Ok(at) => {
                    let entries = self.tree.entries();
                    self.ready.extend(changes(&mut self.told, entries, at));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
