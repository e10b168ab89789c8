//! ZooKeeper, by a client of our own for the few requests that are needed.
//!
//! **Job.** [`Store`] over ZooKeeper: a key is a node's path, a revision the number of the transaction that
//! last changed what the node holds.
//!
//! **Nodes.** A node that holds nothing (null, which is another thing than empty) is a folder and no key.
//! Folders are made when they are needed and removed with their last key.
//!
//! **Compare-and-set.** ZooKeeper compares a node's version, which begins anew when the node is made again.
//! So every making of a node also writes its folder, and every write with an expectation checks the folder's
//! version: what was read still holds when it is written.
//!
//! **Leases** are sessions of their own, each on its own connection, and live only by [`Store::renew`]. A lost
//! connection is made again by the next use of the lease. The server keeps them for at least two of its ticks (4 s).
//!
//! **Watches.** ZooKeeper does not remember changes. A watch begins at a listing that this store has made;
//! see `tree` for how nothing is missed.
//!
//! **Absent.** SASL. The crate `zookeeper-client` is not used: it brings a second reactor and about fifty
//! crates to the agent, keeps every session alive by itself, and cannot tell a folder from an empty value.

mod jute;
mod session;
mod tree;
mod watch;

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use self::{
    jute::{Acl, Op, Stat, Step, code},
    session::{Failure, Session, Ticket, Way},
    tree::Tree,
};
use crate::{
    Capabilities, Entry, Expect, LeaseId, Revision, Store, StoreError, Watch,
    address::{Address, Secret},
    key::{check_path, check_prefix, refused},
    listings::Listings,
    tls,
};

/// Longest value in bytes: servers take 1 MiB for a whole request by default.
const VALUE_BYTES_MAX: usize = 1000 * 1024;
/// Session of readers and of writes without a lease.
const SESSION: Duration = Duration::from_secs(10);
/// How long a write is tried again because others change the same key or folder.
const RACE_MAX: Duration = Duration::from_secs(3);
/// Most leases of one store at once.
const LEASES_MAX: usize = 1000;

/// `zk://[USER:PASSWORD@]HOST:PORT[,HOST:PORT..][/CHROOT][?acl=open|private|readable&ca=FILE&cert=FILE&key=FILE&tls=true&server_name=NAME&password_file=FILE]`.
/// With a user (digest authentication) new nodes are `private` unless said otherwise.
#[derive(Debug)]
pub struct ZooKeeper {
    way: Way,
    /// Empty, or an absolute path.
    chroot: String,
    acl: Acl,
    /// Which host is tried first.
    host: AtomicUsize,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    leases: Mutex<HashMap<LeaseId, Arc<Lease>>>,
    listings: Listings,
}

#[derive(Debug)]
struct Lease {
    ticket: Ticket,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    used: Mutex<Instant>,
}

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

fn revision(zxid: i64) -> Revision {
    Revision(u64::try_from(zxid).unwrap_or(0))
}

impl ZooKeeper {
    /// A store at an address; nothing is asked yet.
    ///
    /// # Errors
    /// [`StoreError::Address`] if the address is none, or its files cannot be used.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url, 2181, &["acl", "password_file"])?;
        let chroot = match &*address.path {
            "" => String::new(),
            path => {
                check_node(path).map_err(|error| address.wrong(&error.to_string()))?;
                format!("/{path}")
            }
        };
        let acl = match (address.option("acl"), &address.user) {
            (None, None) | (Some("open"), _) => Acl::Open,
            (None | Some("private"), Some(_)) => Acl::Private,
            (Some("readable"), Some(_)) => Acl::Readable,
            (Some("private" | "readable"), None) => {
                return Err(address.wrong("that `acl` needs a user: USER:PASSWORD@HOST"));
            }
            (Some(_), _) => return Err(address.wrong("`acl` is open, private or readable")),
        };
        let tls = match &address.tls {
            None => None,
            Some(options) => Some((
                Arc::new(tls::client(&address, options)?),
                options.server_name.clone(),
            )),
        };
        // Many agents do not all begin at the first host.
        let first = RandomState::new().hash_one(&address.hosts);
        Ok(Self {
            way: Way {
                tls,
                digest: address
                    .user
                    .map(|(user, password)| Secret(format!("{user}:{}", password.0))),
                hosts: address.hosts.into(),
            },
            chroot,
            acl,
            host: AtomicUsize::new(usize::try_from(first >> 40).unwrap_or(0)),
            session: tokio::sync::Mutex::default(),
            leases: Mutex::default(),
            listings: Listings::default(),
        })
    }

    fn path(&self, key: &str) -> String {
        format!("{}/{key}", self.chroot)
    }

    fn next_host(&self) -> usize {
        self.host.fetch_add(1, Ordering::Relaxed)
    }

    /// The connection of readers, made anew if it was lost.
    async fn session(&self) -> Result<Arc<Session>, StoreError> {
        let mut held = self.session.lock().await;
        if let Some(session) = held.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session::open(&self.way, self.next_host(), &fresh(SESSION), true).await?);
        *held = Some(Arc::clone(&session));
        Ok(session)
    }

    fn lease(&self, id: &LeaseId) -> Result<Arc<Lease>, StoreError> {
        let lease = self.leases().get(id).cloned().ok_or(StoreError::LeaseLost)?;
        *lease.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(lease)
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<LeaseId, Arc<Lease>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection of a lease, made anew if it was lost.
    async fn lease_session(&self, id: &LeaseId) -> Result<Arc<Session>, StoreError> {
        let lease = self.lease(id)?;
        let mut held = lease.session.lock().await;
        if let Some(session) = held.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        match Session::open(&self.way, self.next_host(), &lease.ticket, false).await {
            Ok(session) => {
                let session = Arc::new(session);
                *held = Some(Arc::clone(&session));
                Ok(session)
            }
            Err(StoreError::LeaseLost) => {
                self.leases().remove(id);
                Err(StoreError::LeaseLost)
            }
            Err(error) => Err(error),
        }
    }

    /// If a lease's connection was lost while it was used: was it because the lease is over?
    async fn lost_or(&self, id: &LeaseId, error: StoreError) -> StoreError {
        match self.lease_session(id).await {
            Err(StoreError::LeaseLost) => StoreError::LeaseLost,
            _ => error,
        }
    }

    async fn put_by(
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
async fn stat_of(session: &Session, path: &str) -> Result<Option<(Stat, bool)>, StoreError> {
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

fn fresh(timeout: Duration) -> Ticket {
    Ticket {
        session: 0,
        password: Bytes::from_static(&[0; 16]),
        timeout,
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

/// ZooKeeper refuses more characters than other stores.
fn check_node(key: &str) -> Result<(), StoreError> {
    check_path(key)?;
    let bad = |c: char| matches!(u32::from(c), 0x01..=0x1F | 0x7F..=0x9F | 0xD800..=0xF8FF | 0xFFF0..=0xFFFF);
    if key.contains(bad) {
        return Err(refused(key, "ZooKeeper does not take such characters"));
    }
    Ok(())
}

#[async_trait]
impl Store for ZooKeeper {
    fn kind(&self) -> &'static str {
        "zookeeper"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            value_bytes_max: VALUE_BYTES_MAX,
            leases: true,
            // With the default tick of 2 s.
            lease_ttl_min: Duration::from_secs(4),
            lease_factor_max: 1,
            history: false,
            writable: true,
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_node(key)?;
        let (session, path) = (self.session().await?, self.path(key));
        let (synced, read) = futures::join!(
            session.ask(Op::Sync, jute::path_only(&path)),
            tree::read(&session, &path, false)
        );
        synced.map_err(StoreError::from)?;
        let read = read.map_err(StoreError::from)?;
        Ok(read.and_then(|(value, stat)| {
            Some(Entry {
                key: key.to_owned(),
                value: value?,
                revision: revision(stat.mzxid),
            })
        }))
    }

    async fn place(&self, key: &str) -> Result<Option<Revision>, StoreError> {
        check_node(key)?;
        let (session, path) = (self.session().await?, self.path(key));
        let (synced, found) = futures::join!(
            session.ask(Op::Sync, jute::path_only(&path)),
            stat_of(&session, &path)
        );
        synced.map_err(StoreError::from)?;
        let key = found?.filter(|(_, is_key)| *is_key);
        Ok(key.map(|(stat, _)| revision(stat.mzxid)))
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        check_prefix(prefix)?;
        let mut tree = Tree::new(self.session().await?, &self.chroot, prefix)?;
        let at = tree.load().await?;
        let entries = tree.entries();
        self.listings.remember(prefix, at, &entries);
        Ok((entries, at))
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError> {
        check_node(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::TooLarge {
                bytes: value.len(),
                bytes_max: VALUE_BYTES_MAX,
            });
        }
        let Some(id) = lease else {
            let session = self.session().await?;
            return self.put_by(&session, key, &value, expect, false).await;
        };
        let session = self.lease_session(id).await?;
        match self.put_by(&session, key, &value, expect, true).await {
            Err(error @ StoreError::Unavailable(_)) => Err(self.lost_or(id, error).await),
            outcome => outcome,
        }
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        check_node(key)?;
        let (session, path) = (self.session().await?, self.path(key));
        let folder = folder_of(&path);
        let deadline = Instant::now() + RACE_MAX;
        loop {
            let found = self.find(&session, &path).await?;
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
            match transaction(&session, &steps).await?.1 {
                code::OK => {
                    if stat.children == 0 {
                        self.tidy(&session, folder).await;
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

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        check_prefix(prefix)?;
        let told = self.listings.recall(prefix, after).ok_or(StoreError::Compacted)?;
        let tree = Tree::new(self.session().await?, &self.chroot, prefix)?;
        watch::open(tree, after, (*told).clone()).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let session = Session::open(&self.way, self.next_host(), &fresh(ttl), false).await?;
        let id = LeaseId(format!("{:x}", session.ticket.session));
        let lease = Lease {
            ticket: session.ticket.clone(),
            session: tokio::sync::Mutex::new(Some(Arc::new(session))),
            used: Mutex::new(Instant::now()),
        };
        let mut leases = self.leases();
        // Those that nobody can have renewed in time.
        leases.retain(|_, lease| {
            let used = *lease.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.elapsed() < lease.ticket.timeout * 4
        });
        if leases.len() >= LEASES_MAX {
            return Err(StoreError::Unsupported("hold more than 1000 leases".into()));
        }
        leases.insert(id.clone(), Arc::new(lease));
        Ok(id)
    }

    async fn renew(&self, lease: &LeaseId) -> Result<(), StoreError> {
        let session = self.lease_session(lease).await?;
        match session.ask(Op::Ping, BytesMut::new()).await {
            Ok(_) => Ok(()),
            Err(Failure::Code(code::SESSION_EXPIRED)) => Err(StoreError::LeaseLost),
            Err(failure) => Err(self.lost_or(lease, failure.into()).await),
        }
    }

    async fn revoke(&self, lease: &LeaseId) -> Result<(), StoreError> {
        let session = self.lease_session(lease).await?;
        session.close().await?;
        self.leases().remove(lease);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Acl, ZooKeeper, check_node, folder_of};

    #[test]
    fn addresses_choose_chroot_and_access_list() {
        let store = ZooKeeper::new("zk://a,b:99/x/y").unwrap();
        assert_eq!((&*store.chroot, store.acl), ("/x/y", Acl::Open));
        assert_eq!(store.path("k"), "/x/y/k");
        let store = ZooKeeper::new("zookeeper://me:geheim@a").unwrap();
        assert_eq!((&*store.chroot, store.acl), ("", Acl::Private));
        assert!(!format!("{store:?}").contains("geheim"));
        let store = ZooKeeper::new("zk://me:geheim@a?acl=readable").unwrap();
        assert_eq!(store.acl, Acl::Readable);
        for url in ["zk://a?acl=private", "zk://a?acl=closed", "zk://a/x//y"] {
            assert!(ZooKeeper::new(url).is_err(), "{url}");
        }
    }

    #[test]
    fn paths_are_checked() {
        assert_eq!(folder_of("/a/b"), "/a");
        assert_eq!(folder_of("/a"), "/");
        for key in ["a//b", "a/", "a/./b", "..", "a\u{1}"] {
            assert!(check_node(key).is_err(), "{key:?}");
        }
        check_node("vamp/default/weir").unwrap();
    }
}
