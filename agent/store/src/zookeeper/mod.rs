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
mod lease;
mod session;
mod tree;
mod watch;
mod write;

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use self::{
    jute::{Acl, Op},
    lease::Lease,
    session::{Session, Ticket, Way},
    tree::Tree,
    write::stat_of,
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
    session: tokio::sync::Mutex<Held>,
    leases: Mutex<HashMap<LeaseId, Arc<Lease>>>,
    listings: Listings,
}

/// The connection of readers.
#[derive(Debug, Default)]
struct Held {
    session: Option<Arc<Session>>,
    /// When it was last tried in vain to make one.
    failed: Option<Instant>,
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
        let asked = Instant::now();
        let mut held = self.session.lock().await;
        if let Some(session) = held.session.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        // Who waited while somebody else tried in vain does not try after that: all of them would wait for each other.
        if held.failed.is_some_and(|failed| failed >= asked) {
            return Err(session::lost());
        }
        match Session::open(&self.way, self.next_host(), &fresh(SESSION), true).await {
            Ok(session) => {
                let session = Arc::new(session);
                held.session = Some(Arc::clone(&session));
                Ok(session)
            }
            Err(error) => {
                held.failed = Some(Instant::now());
                Err(error)
            }
        }
    }
}

fn fresh(timeout: Duration) -> Ticket {
    Ticket {
        session: 0,
        password: Bytes::from_static(&[0; 16]),
        timeout,
    }
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
        let session = self.session().await?;
        self.delete_by(&session, key, expect).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        check_prefix(prefix)?;
        let told = self.listings.recall(prefix, after).ok_or(StoreError::Compacted)?;
        let tree = Tree::new(self.session().await?, &self.chroot, prefix)?;
        watch::open(tree, after, (*told).clone()).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.open_lease(ttl).await
    }

    async fn renew(&self, lease: &LeaseId) -> Result<(), StoreError> {
        self.renew_lease(lease).await
    }

    async fn revoke(&self, lease: &LeaseId) -> Result<(), StoreError> {
        self.close_lease(lease).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Acl, ZooKeeper, check_node};

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
        for key in ["a//b", "a/", "a/./b", "..", "a\u{1}"] {
            assert!(check_node(key).is_err(), "{key:?}");
        }
        check_node("vamp/default/weir").unwrap();
    }
}
