//! The proxy as its owner sees it.

mod frame;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;
use weir_model::{AgentId, Digest, Frame, Generation, Refusal, Snapshot};

use self::frame::gateway_frame;
use crate::{
    access_log::{Log, Writer},
    config::Config,
    departed::Departed,
    error::{ErrorKind, StartError},
    health::Health,
    listener::{self, ListeningSocket},
    metrics::{Process, exposition},
    resolve::Resolver,
    table::{Compiler, Retired, Table},
    worker::{self, Leave, Order, Worker},
};

/// A connection that had a request so lately will have another soon.
const LIVELY: Duration = Duration::from_secs(3);

/// What became of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Gateways that are not served as asked, and why: a port that is taken, a chain that leads nowhere.
    pub refused: Vec<Refusal>,
}

/// What became of the connections at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were ended while they waited for a request. Those that ended with an answer that said so
    /// are not counted.
    pub idle: usize,
    /// Connections that were still busy at the deadline and were cut.
    pub cut: usize,
    /// TCP and upgraded (WebSocket) connections among those.
    pub cut_tunnels: usize,
}

/// A running data plane. Cheap to clone: every clone is the same proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Arc<Config>,
    id: AgentId,
    tables: Arc<ArcSwap<Table>>,
    workers: Vec<Worker>,
    /// Ends after the workers.
    log: Option<Writer>,
    leaving: AtomicBool,
    started_at_ms: u64,
    /// When the clock of workers and checks began.
    epoch: Instant,
    health: Health,
    /// Instances that left the table while requests to them may be under way.
    departed: Departed,
    retired: Retired,
    /// Only one snapshot is applied at a time; no worker ever takes this lock.
    control: tokio::sync::Mutex<Control>,
    ended: Mutex<bool>,
}

#[derive(Debug)]
struct Control {
    compiler: Compiler,
    /// Sockets that are open; the value says whether it is the one for virtual hosts.
    sockets: HashMap<SocketAddr, bool>,
    /// Whether every socket that the table wants is open.
    is_open: bool,
    /// Taken over and not asked for yet.
    adopted: BTreeMap<SocketAddr, Vec<std::net::TcpListener>>,
}

impl Control {
    /// Sockets that the table wants no more, or for something else, and those that it wants and are not open; the value says
    /// whether it is the one for virtual hosts.
    fn differing(
        &self,
        table: &Table,
        virtual_hosts: Option<SocketAddr>,
    ) -> (BTreeSet<SocketAddr>, BTreeMap<SocketAddr, bool>) {
        let shared = virtual_hosts.filter(|_| table.has_hosts());
        let use_of = |address: SocketAddr| {
            let is_shared = shared == Some(address);
            (is_shared || table.by_listener(address).is_some()).then_some(is_shared)
        };
        let open = self.sockets.iter().map(|(address, used)| (*address, *used));
        let gone = open.filter(|(address, used)| use_of(*address) != Some(*used));
        let wanted = table.sockets().chain(shared);
        let wanted = wanted.map(|address| (address, shared == Some(address)));
        let new = wanted.filter(|(address, used)| self.sockets.get(address) != Some(used));
        (gone.map(|(address, _)| address).collect(), new.collect())
    }
}

impl Proxy {
    /// Starts the workers. Nothing is served until a snapshot is applied.
    ///
    /// # Errors
    /// [`StartError`] when threads or runtimes cannot be had.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let id = AgentId::new("proxy").expect("not empty");
        Self::start_as(id, config)
    }

    /// As [`Proxy::start`]; frames bear this name.
    ///
    /// # Errors
    /// [`StartError`] when threads or runtimes cannot be had.
    pub fn start_as(id: AgentId, config: Config) -> Result<Self, StartError> {
        config.check()?;
        let resolver = Resolver::start().map_err(|source| StartError::Worker { worker: 0, source })?;
        let config = Arc::new(config);
        let tables = Arc::new(ArcSwap::from_pointee(Table::empty()));
        let epoch = Instant::now();
        let settings = config.access_log.as_ref();
        let log = settings
            .map(Writer::start)
            .transpose()
            .map_err(StartError::AccessLog)?;
        let workers = (0..config.workers)
            .map(|number| {
                let log = settings.zip(log.as_ref());
                let log = log.and_then(|(settings, writer)| Log::new(settings, writer));
                Worker::start(number, Arc::clone(&config), Arc::clone(&tables), epoch, log)
            })
            .collect::<Result<_, _>>()?;
        let health =
            Health::start(config.health.clone(), Arc::clone(&tables), epoch).map_err(StartError::Health)?;
        let compiler = Compiler::new(config.workers, resolver, epoch);
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                id,
                tables,
                workers,
                log,
                leaving: AtomicBool::new(false),
                started_at_ms: unix_ms(),
                epoch,
                health,
                departed: Departed::default(),
                retired: Retired::default(),
                control: tokio::sync::Mutex::new(Control {
                    compiler,
                    sockets: HashMap::new(),
                    is_open: true,
                    adopted: BTreeMap::new(),
                }),
                ended: Mutex::new(false),
            }),
        })
    }

    /// Serves this snapshot from now on. Applying the same one again tries again to open the sockets that
    /// could not be had.
    pub async fn apply(&self, snapshot: &Snapshot) -> Applied {
        self.apply_keeping(snapshot, snapshot.digest(), &[]).await
    }

    /// As [`Proxy::apply`], where the snapshot is only the sound part of a document with digest `digest`: gateways
    /// named in `refused` stay as they were before.
    pub async fn apply_keeping(&self, snapshot: &Snapshot, digest: Digest, refused: &[Refusal]) -> Applied {
        let mut control = self.inner.control.lock().await;
        let before = self.inner.tables.load_full();
        let mut outcome = Applied::default();
        let kept: Vec<Arc<weir_model::Gateway>> = if refused.is_empty() {
            Vec::new()
        } else {
            let refused: HashSet<&str> = refused.iter().map(|refusal| refusal.gateway.as_str()).collect();
            before
                .gateways()
                .filter(|gateway| refused.contains(gateway.name().as_str()))
                .filter(|gateway| snapshot.gateway(gateway.name().as_str()).is_none())
                .map(|gateway| Arc::clone(&gateway.source))
                .collect()
        };
        let compiled = if kept.is_empty() {
            control.compiler.compile(
                snapshot,
                snapshot.generation(),
                Some(digest),
                &before,
                Instant::now(),
            )
        } else {
            // New gateways first: of two that want one socket the kept one gives way.
            let all = snapshot.gateways().iter().cloned().chain(kept).collect();
            let (sound, problems) =
                Snapshot::sound_part_shared(snapshot.namespace(), snapshot.generation(), all);
            outcome.refused.extend(problems.into_iter().map(|p| Refusal {
                gateway: p.gateway.to_string(),
                reason: p.kind.to_string(),
            }));
            control.compiler.compile(
                &sound,
                snapshot.generation(),
                Some(digest),
                &before,
                Instant::now(),
            )
        };
        outcome.refused.extend(control.compiler.take_refused());
        self.swap(&mut control, compiled, &before, &mut outcome).await;
        drop(before);
        self.inner.retired.release();
        outcome
    }

    /// Opens, swaps, closes: in this order no request meets a closed door.
    async fn swap(&self, control: &mut Control, table: Table, before: &Table, outcome: &mut Applied) {
        let inner = &self.inner;
        // A socket that is to be used otherwise, or overlaps a new one, must be closed first.
        let (gone, new) = if control.is_open && table.shares_sockets(before) {
            Default::default()
        } else {
            control.differing(&table, inner.config.virtual_hosts)
        };
        // Until the end: who drops this half way finds out with the next snapshot.
        control.is_open = false;
        let refused = outcome.refused.len();
        let mut opened = Vec::new();
        let mut delayed = Vec::new();
        for (address, virtual_hosts) in new {
            if gone.iter().any(|gone| gone.port() == address.port()) {
                delayed.push((address, virtual_hosts));
                continue;
            }
            let adopted = control.adopted.remove(&address);
            match self.open_or_adopt(address, adopted) {
                Ok(sockets) => opened.push((address, virtual_hosts, sockets)),
                Err(error) => outcome
                    .refused
                    .push(refusal(&table, address, virtual_hosts, &error)),
            }
        }
        let table = Arc::new(table);
        let replaced = inner.tables.swap(Arc::clone(&table));
        inner.departed.note(&replaced, &table, Instant::now());
        inner.retired.keep(replaced);
        inner.health.follow();
        for address in gone {
            control.sockets.remove(&address);
            for worker in &inner.workers {
                let _ = worker.orders.send(Order::Unlisten { address }).await;
            }
        }
        for (address, virtual_hosts) in delayed {
            match self.open_when_free(address).await {
                Ok(sockets) => opened.push((address, virtual_hosts, sockets)),
                Err(error) => outcome
                    .refused
                    .push(refusal(&table, address, virtual_hosts, &error)),
            }
        }
        for (address, virtual_hosts, sockets) in opened {
            control.sockets.insert(address, virtual_hosts);
            // A process before may have had more workers: each of its sockets has a queue of its own.
            for (worker, socket) in inner.workers.iter().cycle().zip(sockets) {
                let _ = worker
                    .orders
                    .send(Order::Listen {
                        address,
                        socket,
                        virtual_hosts,
                    })
                    .await;
            }
        }
        control.is_open = outcome.refused.len() == refused;
    }

    fn open_or_adopt(
        &self,
        address: SocketAddr,
        adopted: Option<Vec<std::net::TcpListener>>,
    ) -> std::io::Result<Vec<std::net::TcpListener>> {
        let (workers, backlog) = (self.inner.workers.len(), self.inner.config.backlog);
        let Some(mut sockets) = adopted else {
            return listener::open(address, workers, backlog);
        };
        let missing = workers.saturating_sub(sockets.len());
        sockets.extend(listener::join(address, missing, backlog)?);
        Ok(sockets)
    }

    /// Takes over the sockets of a process before this one: those that a snapshot asks for are used in place of new ones.
    /// Until then, or until [`Proxy::release`], connections wait in their queues.
    pub async fn adopt(&self, sockets: Vec<ListeningSocket>) {
        let mut control = self.inner.control.lock().await;
        for one in sockets {
            let all = control.adopted.entry(one.address).or_default();
            all.push(one.socket);
        }
    }

    /// Closes what was taken over and never asked for; how many sockets.
    pub async fn release(&self) -> usize {
        let adopted = std::mem::take(&mut self.inner.control.lock().await.adopted);
        adopted.values().map(Vec::len).sum()
    }

    /// Another handle of each open socket, for the process that takes over. This one goes on accepting until
    /// [`Proxy::hand_over`].
    pub async fn share(&self) -> Vec<ListeningSocket> {
        // Nothing is opened or closed meanwhile.
        let _control = self.inner.control.lock().await;
        let mut all = Vec::new();
        for worker in &self.inner.workers {
            let (done, answer) = oneshot::channel();
            if worker.orders.send(Order::Share { done }).await.is_ok() {
                all.extend(answer.await.unwrap_or_default());
            }
        }
        all
    }

    /// Workers need a moment to close a socket whose port is used anew with another address.
    async fn open_when_free(&self, address: SocketAddr) -> std::io::Result<Vec<std::net::TcpListener>> {
        let mut attempts = 0;
        loop {
            match listener::open(address, self.inner.workers.len(), self.inner.config.backlog) {
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && attempts < 100 => {
                    attempts += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                other => return other,
            }
        }
    }

    /// Generation and digest that are served.
    pub fn serving(&self) -> (Generation, Option<Digest>) {
        let table = self.inner.tables.load();
        (table.generation, table.digest)
    }

    /// Whether requests for this host lead to a gateway (virtual hosts), whatever its letters' case.
    pub fn has_host(&self, host: &[u8]) -> bool {
        self.inner.tables.load().by_host(host).is_some()
    }

    /// Gateways that are served, in the order of the snapshot.
    pub fn gateways(&self) -> Vec<Arc<weir_model::Gateway>> {
        let table = self.inner.tables.load_full();
        table
            .gateways()
            .map(|gateway| Arc::clone(&gateway.source))
            .collect()
    }

    /// What would be refused of a snapshot by its content alone: the compiler of the data plane looks at it, and no
    /// socket is opened. Files that it names (certificates) are read.
    ///
    /// # Errors
    /// [`StartError`] when the resolver's thread cannot be had.
    pub fn check(snapshot: &Snapshot) -> Result<Vec<Refusal>, StartError> {
        let resolver = Resolver::start().map_err(|source| StartError::Worker { worker: 0, source })?;
        let now = Instant::now();
        let mut compiler = Compiler::new(1, resolver, now);
        compiler.compile(
            snapshot,
            snapshot.generation(),
            Some(snapshot.digest()),
            &Table::empty(),
            now,
        );
        Ok(compiler.take_refused())
    }

    /// Sockets that are open.
    pub async fn sockets(&self) -> Vec<SocketAddr> {
        let control = self.inner.control.lock().await;
        let mut sockets: Vec<SocketAddr> = control.sockets.keys().copied().collect();
        sockets.sort_unstable();
        sockets
    }

    /// Cumulative figures since the start.
    pub fn frame(&self) -> Frame {
        self.inner.retired.release();
        let table = self.inner.tables.load_full();
        let now_ms = u64::try_from(self.inner.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        Frame {
            agent: self.inner.id.clone(),
            started_at_ms: self.inner.started_at_ms,
            at_ms: unix_ms(),
            generation: table.generation,
            digest: table.digest,
            stale_ms: None,
            gateways: table
                .gateways()
                .map(|gateway| gateway_frame(gateway, now_ms))
                .collect(),
            departed: Some(self.inner.departed.busy()),
        }
    }

    /// The figures as Prometheus text.
    pub fn metrics(&self) -> String {
        let workers = &self.inner.workers;
        let process = Process {
            connections_open: worker::sum(workers, |figures| &figures.connections_open),
            connections_total: worker::sum(workers, |figures| &figures.connections_total),
            retries_denied: worker::sum(workers, |figures| &figures.retries_denied),
            rejected: ErrorKind::ALL
                .into_iter()
                .enumerate()
                .map(|(index, kind)| {
                    let count = workers
                        .iter()
                        .filter_map(|worker| worker.figures.rejected.get(index))
                        .fold(0u64, |sum, figure| {
                            sum.wrapping_add(figure.load(Ordering::Relaxed))
                        });
                    (kind.label(), count)
                })
                .filter(|(_, count)| *count > 0)
                .collect(),
        };
        let mut text = exposition(&self.frame(), &process);
        if let Some(log) = &self.inner.log {
            log.expose(&mut text);
        }
        text
    }

    /// `/metrics`, `/health` and `/frames`.
    pub fn router(&self) -> axum::Router {
        crate::admin::router(self.clone())
    }

    /// Says in `/health` (503, `draining`) that the proxy is about to leave, and nothing else: whoever balances
    /// over several proxies has time to look elsewhere before [`Proxy::shutdown`].
    pub fn announce_leave(&self) {
        self.inner.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether it is leaving.
    pub fn is_leaving(&self) -> bool {
        self.inner.leaving.load(Ordering::Relaxed)
    }

    /// Opens the file of the access log anew, within a moment: its old one was moved away.
    pub fn reopen_access_log(&self) {
        if let Some(log) = &self.inner.log {
            log.reopen();
        }
    }

    /// Takes leave: stops accepting; answers say `Connection: close`; idle connections are ended at the configured rate,
    /// or as fast as `deadline` demands; all others may finish until then, tunnels too. What is left is cut, and the
    /// workers end. A request that has arrived is served. Later calls do nothing.
    pub async fn shutdown(&self, deadline: Duration) -> Drained {
        self.take_leave(deadline, Duration::ZERO).await
    }

    /// As [`Proxy::shutdown`], after another process took over the sockets: connections that are in use learn by their next
    /// answer that they end, so that no request meets the end of its connection.
    pub async fn hand_over(&self, deadline: Duration) -> Drained {
        self.take_leave(deadline, LIVELY).await
    }

    async fn take_leave(&self, deadline: Duration, lively: Duration) -> Drained {
        {
            let mut ended = self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut *ended, true) {
                return Drained::default();
            }
        }
        self.announce_leave();
        let leave = Leave {
            deadline: Instant::now() + deadline,
            lively_ms: u64::try_from(lively.as_millis()).unwrap_or(u64::MAX),
        };
        let mut answers = Vec::new();
        for worker in &self.inner.workers {
            let (done, answer) = oneshot::channel();
            if worker.orders.send(Order::Drain { leave, done }).await.is_ok() {
                answers.push(answer);
            }
        }
        let mut drained = Drained::default();
        for answer in answers {
            let left = answer.await.unwrap_or_default();
            drained.idle += left.idle;
            drained.cut += left.cut.all;
            drained.cut_tunnels += left.cut.tunnels;
        }
        drained
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // With the last sender gone the worker's loop ends, and with it its connections.
            let (closed, _) = tokio::sync::mpsc::channel(1);
            drop(std::mem::replace(&mut worker.orders, closed));
        }
        for worker in &mut self.workers {
            worker.join();
        }
    }
}

fn refusal(table: &Table, address: SocketAddr, virtual_hosts: bool, error: &std::io::Error) -> Refusal {
    let reason = match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("{address} is already in use by another program"),
        std::io::ErrorKind::PermissionDenied => format!("there is no permission to listen on {address}"),
        std::io::ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine"),
        _ => format!("cannot listen on {address}: {error}"),
    };
    if virtual_hosts {
        return Refusal {
            gateway: String::new(),
            reason: format!("virtual hosts are not served: {reason}"),
        };
    }
    let gateway = table.by_listener(address).and_then(|slot| table.gateway(slot));
    Refusal {
        gateway: gateway
            .map(|gateway| gateway.name().to_string())
            .unwrap_or_default(),
        reason,
    }
}

fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        .unwrap_or_default()
}
