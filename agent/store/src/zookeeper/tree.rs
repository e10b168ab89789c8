//! What is below a prefix, as of one moment, and kept up to date by watches.
//!
//! ZooKeeper reads one node at a time and tells by a watch, once, that a node has changed. Every reading here
//! leaves a watch. Whatever changes while others are read is therefore told before a later answer, and read
//! again: once an answer comes with nothing told before it, all that was read is true at that answer's place.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;

use super::{
    jute::{self, Op, Stat, code},
    session::{Event, Failure, Session, lost},
};
use crate::{Entry, Revision, StoreError};

/// Nodes that are read at the same time.
const AT_ONCE: usize = 64;
/// Rounds of reading what changed meanwhile before it is given up.
const ROUNDS_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct Tree {
    session: Arc<Session>,
    events: mpsc::Receiver<Event>,
    /// Path before every key: the chroot and a slash.
    base: String,
    /// The folder in which the prefix begins: an absolute path.
    root: String,
    /// An absolute path with which those of keys begin.
    prefix: String,
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug)]
struct Node {
    mzxid: i64,
    /// `None`: only a folder.
    value: Option<Bytes>,
}

/// What one node showed.
struct Seen {
    path: String,
    /// `None`: it is not there.
    node: Option<Node>,
    children: Vec<String>,
}

impl Tree {
    /// Nothing is read yet.
    pub(super) fn new(session: Arc<Session>, chroot: &str, prefix: &str) -> Result<Self, StoreError> {
        let base = format!("{chroot}/");
        let prefix = format!("{base}{prefix}");
        let root = match prefix.rsplit_once('/') {
            Some(("", _)) | None => "/".to_owned(),
            Some((root, _)) => root.to_owned(),
        };
        Ok(Self {
            events: session.events()?,
            session,
            base,
            root,
            prefix,
            nodes: BTreeMap::new(),
        })
    }

    /// Reads all, and gives the place at which it is true.
    pub(super) async fn load(&mut self) -> Result<Revision, StoreError> {
        let mut first = BTreeSet::from([self.root.clone()]);
        // Mostly the prefix is one key: it is read in the same round.
        if !self.prefix.ends_with('/') {
            first.insert(self.prefix.clone());
        }
        let session = Arc::clone(&self.session);
        // A server behind the others catches up before it answers what follows.
        let (synced, place) = futures::join!(session.ask(Op::Sync, jute::path_only("/")), self.settle(first));
        synced.map_err(StoreError::from)?;
        place
    }

    /// Waits until something has changed and reads it.
    pub(super) async fn change(&mut self) -> Result<Revision, StoreError> {
        loop {
            let event = self.events.recv().await.ok_or_else(|| self.ended())?;
            // The connection is shared: others watch, too.
            if self.concerns(&event.path) {
                return self.settle(BTreeSet::from([event.path])).await;
            }
        }
    }

    /// Nodes that are not known yet come by what is above them.
    fn concerns(&self, path: &str) -> bool {
        *path == *self.root || self.nodes.contains_key(path)
    }

    fn ended(&self) -> StoreError {
        if self.session.is_closed() {
            return lost();
        }
        // This reader was too slow for its queue.
        StoreError::Compacted
    }

    /// Reads what is dirty, and what becomes so meanwhile.
    async fn settle(&mut self, mut dirty: BTreeSet<String>) -> Result<Revision, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let mut paths: Vec<String> = dirty.into_iter().collect();
            while !paths.is_empty() {
                let session = &*self.session;
                let root = &self.root;
                let seen: Vec<Result<Seen, Failure>> = stream::iter(paths)
                    .map(|path| look(session, path, root))
                    .buffer_unordered(AT_ONCE)
                    .collect()
                    .await;
                let mut present = BTreeSet::new();
                for seen in seen {
                    present.extend(self.take(seen?));
                }
                // Only now: what one reading found may have been dropped by another of an earlier moment.
                present.retain(|path| !self.nodes.contains_key(path));
                paths = present.into_iter().collect();
            }
            // Before the events: those that were told before that answer are waiting by now.
            let place = self.session.place();
            dirty = BTreeSet::new();
            loop {
                match self.events.try_recv() {
                    Ok(event) => dirty.insert(event.path),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return Err(self.ended()),
                };
            }
            dirty.retain(|path| self.concerns(path));
            if dirty.is_empty() {
                return Ok(place);
            }
        }
        Err(StoreError::Unavailable(
            "it changes faster than it can be read".into(),
        ))
    }

    /// Puts what was seen into the tree; gives the children that are there.
    fn take(&mut self, seen: Seen) -> BTreeSet<String> {
        let Seen { path, node, children } = seen;
        let below = if path == "/" {
            path.clone()
        } else {
            format!("{path}/")
        };
        let present: BTreeSet<String> = children
            .into_iter()
            .map(|child| format!("{below}{child}"))
            .filter(|child| child.starts_with(&self.prefix))
            .collect();
        // Children that are gone, with all that was below them.
        let gone: Vec<String> = self
            .nodes
            .range::<str, _>((Bound::Included(&*below), Bound::Unbounded))
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(&below))
            .filter(|known| {
                let rest = known.get(below.len()..).unwrap_or_default();
                let child = rest.split('/').next().unwrap_or_default();
                !present.contains(&format!("{below}{child}"))
            })
            .cloned()
            .collect();
        for path in gone {
            self.nodes.remove(&path);
        }
        if path != self.root {
            match node {
                Some(node) => {
                    self.nodes.insert(path, node);
                }
                None => {
                    self.nodes.remove(&path);
                }
            }
        }
        present
    }

    /// All keys. What they hold is given away: a later call has it only for those that were read since.
    pub(super) fn entries(&mut self) -> Vec<Entry> {
        let base = self.base.len();
        let keys = self.nodes.iter_mut().filter_map(|(path, node)| {
            let value = node.value.as_mut()?;
            Some(Entry {
                key: path.get(base..)?.to_owned(),
                value: std::mem::take(value),
                revision: Revision(u64::try_from(node.mzxid).unwrap_or(0)),
            })
        });
        keys.collect()
    }
}

/// Reads a node and leaves watches for what it holds, for its children, or for its coming.
async fn look(session: &Session, path: String, root: &str) -> Result<Seen, Failure> {
    loop {
        let held = async {
            if path == *root {
                return Ok(None);
            }
            read(session, &path, true).await
        };
        let (held, children) = futures::join!(held, children(session, &path));
        let held = held?;
        let Some(children) = children? else {
            if path == *root && !await_coming(session, &path).await? {
                // It came meanwhile.
                continue;
            }
            return Ok(Seen {
                path,
                node: None,
                children: Vec::new(),
            });
        };
        let node = held.map(|(value, stat)| Node {
            mzxid: stat.mzxid,
            value,
        });
        return Ok(Seen { path, node, children });
    }
}

async fn children(session: &Session, path: &str) -> Result<Option<Vec<String>>, Failure> {
    match session.ask(Op::GetChildren, jute::reading(path, true)).await {
        Ok(mut answer) => Ok(Some(answer.body.texts()?)),
        Err(Failure::Code(code::NO_NODE)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Leaves a watch for a node that is not there. False if it is there after all.
async fn await_coming(session: &Session, path: &str) -> Result<bool, Failure> {
    match session.ask(Op::Exists, jute::reading(path, true)).await {
        Ok(_) => Ok(false),
        Err(Failure::Code(code::NO_NODE)) => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// What a node holds (`None`: nothing, it is a folder), with what is known of it; `None` if it is not there.
pub(super) async fn read(
    session: &Session,
    path: &str,
    watch: bool,
) -> Result<Option<(Option<Bytes>, Stat)>, Failure> {
    match session.ask(Op::GetData, jute::reading(path, watch)).await {
        Ok(mut answer) => Ok(Some((answer.body.buffer()?, answer.body.stat()?))),
        Err(Failure::Code(code::NO_NODE)) => Ok(None),
        Err(failure) => Err(failure),
    }
}
