//! Writes: a node is compared and changed in one transaction with its folder.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    ZooKeeper,
    jute::{self, Op, Stat, Step, code},
    revision,
    session::{Failure, Session},
    tree,
};
use crate::{Expect, Revision, StoreError};

/// How long a write is tried again because others change the same key or folder.
const RACE_MAX: Duration = Duration::from_secs(3);

/// A node as a writer finds it.
struct Found {
    /// `None`: it is not there.
    stat: Option<Stat>,
    /// It is a key, not only a folder.
    is_key: bool,
    /// Version of the folder it is in; `None`: that is no folder of ours (or not there).
    folder: Option<i32>,
}

impl Found {
    fn revision(&self) -> Option<Revision> {
        let stat = self.stat.filter(|_| self.is_key)?;
        Some(revision(stat.mzxid))
    }
}

impl ZooKeeper {
    pub(super) async fn put_by(
        &self,
        session: &Session,
        key: &str,
        value: &Bytes,
        expect: Expect,
        leased: bool,
    ) -> Result<Revision, StoreError> {
        let path = self.path(key);
        let (folder, data) = (folder_of(&path), Some(&value[..]));
        let create = |ephemeral| Step::Create {
            path: &path,
            data,
            acl: self.acl,
            ephemeral,
        };
        // Writing the folder is what tells a node made again from the one before.
        let mark = |version| Step::Set {
            path: folder,
            data: None,
            version,
        };
        let owner = if leased { session.ticket.session } else { 0 };
        let deadline = Instant::now() + RACE_MAX;
        loop {
            let found = self.find(session, &path).await?;
            check(key, expect, found.revision())?;
            let mut steps = Vec::new();
            match found.stat {
                None => {
                    steps.push(create(leased));
                    steps.extend(found.folder.map(|_| mark(-1)));
                }
                Some(stat) if stat.owner == owner => {
                    steps.extend(found.folder.map(|version| Step::Check {
                        path: folder,
                        version,
                    }));
                    steps.push(Step::Set {
                        path: &path,
                        data,
                        version: stat.version,
                    });
                }
                Some(stat) if stat.children > 0 => {
                    return Err(StoreError::Unsupported(
                        "bind a key to a lease that has keys below it".into(),
                    ));
                }
                Some(stat) => {
                    let version = stat.version;
                    steps.extend(found.folder.map(mark));
                    steps.push(Step::Delete { path: &path, version });
                    steps.push(create(leased));
                }
            }
            let (place, outcome) = transaction(session, &steps).await?;
            match outcome {
                code::OK => return Ok(revision(place)),
                code::NO_NODE => self.make_folders(session, folder).await?,
                code::BAD_VERSION | code::NODE_EXISTS | code::NOT_EMPTY => {}
                code::NO_CHILDREN_FOR_EPHEMERALS => {
                    return Err(StoreError::Unsupported(
                        "hold a key below one that is bound to a lease".into(),
                    ));
                }
                other => return Err(Failure::Code(other).into()),
            }
            if Instant::now() > deadline {
                return Err(raced());
            }
        }
    }

    pub(super) async fn delete_by(
        &self,
        session: &Session,
        key: &str,
        expect: Expect,
    ) -> Result<bool, StoreError> {
        let path = self.path(key);
        let folder = folder_of(&path);
        let deadline = Instant::now() + RACE_MAX;
        loop {
            let found = self.find(session, &path).await?;
            check(key, expect, found.revision())?;
            let Some(stat) = found.stat.filter(|_| found.is_key) else {
                return Ok(false);
            };
            let mut steps = Vec::new();
            steps.extend(found.folder.map(|version| Step::Check {
                path: folder,
                version,
            }));
            let (path, version) = (&*path, stat.version);
            steps.push(if stat.children > 0 {
                let data = None;
                Step::Set { path, data, version }
            } else {
                Step::Delete { path, version }
            });
            match transaction(session, &steps).await?.1 {
                code::OK => {
                    if stat.children == 0 {
                        self.tidy(session, folder).await;
                    }
                    return Ok(true);
                }
                code::BAD_VERSION | code::NO_NODE | code::NOT_EMPTY => {}
                other => return Err(Failure::Code(other).into()),
            }
            if Instant::now() > deadline {
                return Err(raced());
            }
        }
    }

    async fn find(&self, session: &Session, path: &str) -> Result<Found, StoreError> {
        let (synced, found, folder) = futures::join!(
            session.ask(Op::Sync, jute::path_only(path)),
            stat_of(session, path),
            tree::read(session, folder_of(path), false),
        );
        synced.map_err(StoreError::from)?;
        let found = found?;
        let folder = folder
            .map_err(StoreError::from)?
            .and_then(|(value, stat)| value.is_none().then_some(stat.version));
        Ok(Found {
            stat: found.map(|(stat, _)| stat),
            is_key: found.is_some_and(|(_, is_key)| is_key),
            folder,
        })
    }

    /// Makes a folder and those above it.
    async fn make_folders(&self, session: &Session, folder: &str) -> Result<(), StoreError> {
        let mut missing = vec![folder];
        while let Some(path) = missing.last().copied() {
            match session.ask(Op::Create, jute::folder(path, self.acl)).await {
                Ok(_) | Err(Failure::Code(code::NODE_EXISTS)) => {
                    missing.pop();
                }
                Err(Failure::Code(code::NO_NODE)) if path.len() > 1 => missing.push(folder_of(path)),
                Err(failure) => return Err(failure.into()),
            }
            if missing.len() > 512 {
                return Err(raced());
            }
        }
        Ok(())
    }

    /// Removes folders that nothing is in any more.
    async fn tidy(&self, session: &Session, mut folder: &str) {
        while folder.len() > self.chroot.len().max(1) {
            let Ok(Some((None, stat))) = tree::read(session, folder, false).await else {
                return;
            };
            if stat.children > 0 {
                return;
            }
            // If something came into it meanwhile, it stays.
            let removed = session.ask(Op::Delete, jute::delete(folder, stat.version)).await;
            if removed.is_err() {
                return;
            }
            folder = folder_of(folder);
        }
    }
}

/// A node, and whether it is a key.
pub(super) async fn stat_of(session: &Session, path: &str) -> Result<Option<(Stat, bool)>, StoreError> {
    let stat = match session.ask(Op::Exists, jute::reading(path, false)).await {
        Ok(mut answer) => answer.body.stat()?,
        Err(Failure::Code(code::NO_NODE)) => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    if stat.data_bytes > 0 {
        return Ok(Some((stat, true)));
    }
    // Empty, or nothing at all?
    let read = tree::read(session, path, false).await?;
    Ok(read.map(|(value, stat)| (stat, value.is_some())))
}

/// Place, and the code of the first step that failed.
async fn transaction(session: &Session, steps: &[Step<'_>]) -> Result<(i64, i32), StoreError> {
    match session.ask(Op::Multi, jute::multi(steps)).await {
        Ok(mut answer) => Ok((answer.zxid, jute::multi_outcome(&mut answer.body)?)),
        // Servers before 3.5 tell it in the head.
        Err(Failure::Code(code)) => Ok((0, code)),
        Err(Failure::Store(error)) => Err(error),
    }
}

/// The node above.
fn folder_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    }
}

fn raced() -> StoreError {
    StoreError::Unavailable("others change the same key all the time".into())
}

fn check(key: &str, expect: Expect, found: Option<Revision>) -> Result<(), StoreError> {
    let met = match expect {
        Expect::Any => true,
        Expect::Absent => found.is_none(),
        Expect::At(revision) => found == Some(revision),
    };
    if met {
        return Ok(());
    }
    Err(StoreError::Conflict {
        key: key.to_owned(),
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::folder_of;

    #[test]
    fn the_folder_is_the_node_above() {
        assert_eq!(folder_of("/a/b"), "/a");
        assert_eq!(folder_of("/a"), "/");
    }
}
