//! Addresses of instances that are given by name.
//!
//! A name is resolved by a thread of its own, at once when it is new and every few seconds after, so that no
//! worker ever waits for a name server. The last good answer is kept while a name server fails.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    time::Duration,
};

use arc_swap::ArcSwapOption;

/// Between two look-ups of every name.
const PERIOD: Duration = Duration::from_secs(10);
/// Names that may wait for their first look-up; more wait for the next period.
const QUEUE_MAX: usize = 1_024;

/// Where an instance is.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// An IP address, or a host that can never be one.
    Fixed(Option<SocketAddr>),
    /// A name.
    Named(Arc<Name>),
}

/// A name and what it last meant.
#[derive(Debug)]
pub(crate) struct Name {
    host: String,
    port: u16,
    current: ArcSwapOption<SocketAddr>,
}

impl Address {
    pub(crate) fn current(&self) -> Option<SocketAddr> {
        match self {
            Self::Fixed(address) => *address,
            Self::Named(name) => name.current.load().as_deref().copied(),
        }
    }
}

impl Name {
    fn look_up(&self) {
        match (self.host.as_str(), self.port).to_socket_addrs() {
            Ok(found) => {
                let found: Vec<SocketAddr> = found.collect();
                let current = self.current.load().as_deref().copied();
                // An address that is still among the answers stays, so that connections are reused.
                if current.is_none_or(|current| !found.contains(&current)) {
                    // IPv4 first: a host without IPv6 often answers a name with both.
                    let best = found.iter().find(|address| address.is_ipv4()).or(found.first());
                    if let Some(best) = best {
                        self.current.store(Some(Arc::new(*best)));
                    }
                }
            }
            Err(error) => tracing::warn!(host = self.host, %error, "a host name could not be resolved"),
        }
    }
}

/// Resolves names until it is dropped.
#[derive(Debug)]
pub(crate) struct Resolver {
    new: mpsc::SyncSender<Arc<Name>>,
    names: Arc<Mutex<Vec<Weak<Name>>>>,
}

impl Resolver {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (new, queue) = mpsc::sync_channel::<Arc<Name>>(QUEUE_MAX);
        let names = Arc::new(Mutex::new(Vec::<Weak<Name>>::new()));
        let known = Arc::clone(&names);
        std::thread::Builder::new()
            .name("weir-resolver".to_owned())
            .spawn(move || {
                loop {
                    match queue.recv_timeout(PERIOD) {
                        Ok(name) => name.look_up(),
                        Err(mpsc::RecvTimeoutError::Disconnected) => return,
                        Err(mpsc::RecvTimeoutError::Timeout) => {
                            let mut live = Vec::new();
                            known
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .retain(|name| {
                                    let name = name.upgrade();
                                    live.extend(name.clone());
                                    name.is_some()
                                });
                            for name in live {
                                name.look_up();
                            }
                        }
                    }
                }
            })?;
        Ok(Self { new, names })
    }

    /// Where this host is; a name is looked up in the background from now on.
    pub(crate) fn address(&self, host: &str, port: u16) -> Address {
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if let Ok(ip) = literal.parse::<IpAddr>() {
            return Address::Fixed(Some(SocketAddr::new(ip, port)));
        }
        if host.is_empty() {
            return Address::Fixed(None);
        }
        let name = Arc::new(Name {
            host: host.to_owned(),
            port,
            current: ArcSwapOption::empty(),
        });
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&name));
        if self.new.try_send(Arc::clone(&name)).is_err() {
            tracing::warn!(
                host,
                "many new host names at once: this one is resolved with the next round"
            );
        }
        Address::Named(name)
    }
}
