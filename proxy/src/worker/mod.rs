//! One thread that carries traffic: a current-thread runtime, a socket per listener of its own, its own pools and
//! figures. Workers share the table (read only), the counters of decisions and nothing else on the way of a request.

mod budget;
mod connection;
mod context;
mod leave;

use std::{
    collections::HashMap,
    net::SocketAddr,
    os::fd::AsFd as _,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, oneshot},
};
use weir_model::Protocol;

pub(crate) use self::{
    connection::{Connection, Cut, Elapsed},
    context::{Context, CurrentTable, WorkerFigures},
    leave::{Leave, Left},
};
use crate::{
    access_log::{self, Log},
    choose::Entry,
    config::Config,
    error::{ErrorKind, StartError},
    http,
    listener::ListeningSocket,
    metrics::{add, subtract},
    proxy_protocol,
    table::Table,
    tcp,
    tls::{self, Acceptor},
};

/// Orders that may wait for a worker.
const ORDERS_MAX: usize = 1_024;
/// Pause after the process ran out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection that came in.
#[derive(Debug)]
pub(crate) struct Accepted<S = TcpStream> {
    pub(crate) stream: S,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) entry: Entry,
}

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Accept from this socket, too.
    Listen {
        address: SocketAddr,
        socket: std::net::TcpListener,
        virtual_hosts: bool,
    },
    /// Accept what waits at this socket, then close it.
    Unlisten { address: SocketAddr },
    /// Give another handle of each socket.
    Share {
        done: oneshot::Sender<Vec<ListeningSocket>>,
    },
    /// Take leave, cut what is left at the end, answer what became of all, and end.
    Drain {
        leave: Leave,
        done: oneshot::Sender<Left>,
    },
}

/// A running worker, seen from outside.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) figures: Arc<WorkerFigures>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start(
        number: usize,
        config: Arc<Config>,
        tables: Arc<ArcSwap<Table>>,
        epoch: Instant,
        log: Option<Log>,
    ) -> Result<Self, StartError> {
        let wrong = |source| StartError::Worker {
            worker: number,
            source,
        };
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        let figures = Arc::new(WorkerFigures::default());
        let shared = Arc::clone(&figures);
        // The runtime belongs to its thread, so the thread makes it and tells whether it could.
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("weir-worker-{number}"))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .enable_time()
                    .build_local(Default::default());
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                drop(ready.send(Ok(())));
                let mut context = Context::new(config, number, tables, shared, epoch);
                context.log = log;
                let context = Rc::new(context);
                runtime.block_on(run(context, queue));
            })
            .map_err(wrong)?;
        started
            .recv()
            .unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
            .map_err(wrong)?;
        Ok(Self {
            orders,
            figures,
            thread: Some(thread),
        })
    }

    /// Waits for the thread; it must have been told to end.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker ended in a panic");
        }
    }
}

async fn run(context: Rc<Context>, mut orders: mpsc::Receiver<Order>) {
    let ticking = Rc::clone(&context);
    tokio::task::spawn_local(async move {
        let mut ticks = tokio::time::interval(connection::TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            ticking.tick();
            ticking.pool.expire(ticking.now_ms());
            ticking.sessions.expire(ticking.now_ms());
        }
    });
    if context.log.is_some() {
        let logging = Rc::clone(&context);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(access_log::FLUSH).await;
                if let Some(log) = &logging.log {
                    log.flush();
                }
            }
        });
    }
    let mut sockets: HashMap<SocketAddr, Vec<Listening>> = HashMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Listen {
                address,
                socket,
                virtual_hosts,
            } => {
                let closing = Rc::new(Notify::new());
                match TcpListener::from_std(socket).map(Rc::new) {
                    Ok(socket) => {
                        sockets.entry(address).or_default().push(Listening {
                            socket: Rc::clone(&socket),
                            virtual_hosts,
                            closing: Rc::clone(&closing),
                        });
                        tokio::task::spawn_local(accept(
                            Rc::clone(&context),
                            socket,
                            address,
                            virtual_hosts,
                            closing,
                        ));
                    }
                    Err(error) => tracing::error!(%address, %error, "a socket cannot be used by this worker"),
                }
            }
            Order::Unlisten { address } => {
                for listening in sockets.remove(&address).unwrap_or_default() {
                    listening.closing.notify_one();
                }
            }
            Order::Share { done } => {
                let all = sockets
                    .iter()
                    .flat_map(|(address, all)| all.iter().filter_map(|one| one.share(*address)));
                // The asker may be gone.
                let _ = done.send(all.collect());
            }
            Order::Drain { leave, done } => {
                for listening in std::mem::take(&mut sockets).into_values().flatten() {
                    listening.closing.notify_one();
                }
                let left = leave::take(&context, leave).await;
                if let Some(log) = &context.log {
                    log.flush();
                }
                // The asker may be gone; the leave is taken all the same.
                let _ = done.send(left);
                return;
            }
        }
    }
}

/// A socket of this worker.
struct Listening {
    socket: Rc<TcpListener>,
    virtual_hosts: bool,
    closing: Rc<Notify>,
}

impl Listening {
    fn share(&self, address: SocketAddr) -> Option<ListeningSocket> {
        let handle = self.socket.as_fd().try_clone_to_owned();
        handle
            .inspect_err(|error| tracing::error!(%address, %error, "a socket cannot be shared"))
            .ok()
            .map(|handle| ListeningSocket {
                address,
                virtual_hosts: self.virtual_hosts,
                socket: handle.into(),
            })
    }
}

async fn accept(
    context: Rc<Context>,
    socket: Rc<TcpListener>,
    address: SocketAddr,
    virtual_hosts: bool,
    closing: Rc<Notify>,
) {
    loop {
        while context.connections.len() >= context.config.connections_max {
            tokio::select! {
                () = context.connections.one_gone() => {}
                () = closing.notified() => return,
            }
        }
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = closing.notified() => break,
        };
        take(&context, accepted, address, virtual_hosts).await;
    }
    // Closing a socket resets what waits in its queue: take it first.
    loop {
        match socket.accept().now_or_never() {
            Some(accepted @ Ok(_)) => take(&context, accepted, address, virtual_hosts).await,
            Some(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            // There is none, or no descriptor for one.
            _ => break,
        }
    }
}

async fn take(
    context: &Rc<Context>,
    accepted: std::io::Result<(TcpStream, SocketAddr)>,
    address: SocketAddr,
    virtual_hosts: bool,
) {
    let (stream, peer) = match accepted {
        Ok(accepted) => accepted,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => return,
        Err(error) => {
            // Told once, not twenty times a second while it lasts.
            if !context.cannot_accept.replace(true) {
                tracing::warn!(%address, %error, "connections cannot be accepted: they wait");
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return;
        }
    };
    if context.cannot_accept.replace(false) {
        tracing::info!(%address, "connections can be accepted again");
    }
    add(&context.figures.connections_total, 1);
    add(&context.figures.connections_open, 1);
    let connection = context.connections.open(Rc::clone(context));
    let entry = Entry::new(address, virtual_hosts);
    let protocol = if virtual_hosts {
        Some((Protocol::Http, false, None))
    } else {
        let table = context.table();
        entry
            .slot(&table)
            .and_then(|slot| table.gateway(slot))
            .map(|gateway| {
                let expects_header = gateway.source.options.accept_proxy_protocol;
                (gateway.protocol(), expects_header, gateway.tls.clone())
            })
    };
    let Some((protocol, expects_header, acceptor)) = protocol else {
        return;
    };
    // A socket on one address need not be asked where a connection came in.
    let local = if address.ip().is_unspecified() {
        stream.local_addr().unwrap_or(address)
    } else {
        address
    };
    let accepted = Accepted {
        stream,
        peer,
        local,
        entry,
    };
    let context = Rc::clone(context);
    if !expects_header {
        return carry(context, accepted, connection, protocol, acceptor);
    }
    let abort_by = connection.abort_by();
    let task = tokio::task::spawn_local(async move {
        let mut accepted = accepted;
        let limit = context.config.timeouts.head;
        let told = proxy_protocol::receive(&mut accepted.stream);
        let addresses = match connection.within(limit, told).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => {
                tracing::debug!(peer = %accepted.peer, %error, "a connection is closed");
                return context.rejected(ErrorKind::ProxyHeader);
            }
            Err(Elapsed) => return context.rejected(ErrorKind::ProxyHeader),
        };
        if let Some((client, to)) = addresses {
            accepted.peer = client;
            accepted.local = to;
        }
        carry(context, accepted, connection, protocol, acceptor);
    });
    abort_by(task.abort_handle());
}

/// Serves a connection whose client is known.
fn carry(
    context: Rc<Context>,
    accepted: Accepted,
    connection: Connection,
    protocol: Protocol,
    acceptor: Option<Arc<Acceptor>>,
) {
    let abort_by = connection.abort_by();
    let task = match (protocol, acceptor) {
        (protocol, Some(acceptor)) => {
            tokio::task::spawn_local(tls::serve(context, accepted, connection, protocol, acceptor))
        }
        (Protocol::Http, None) => tokio::task::spawn_local(http::serve(context, accepted, connection)),
        (Protocol::Tcp, None) => tokio::task::spawn_local(tcp::serve(context, accepted, connection)),
    };
    abort_by(task.abort_handle());
}

/// Sum of a figure over workers.
pub(crate) fn sum(
    workers: &[Worker],
    figure: impl Fn(&WorkerFigures) -> &std::sync::atomic::AtomicU64,
) -> u64 {
    workers.iter().fold(0, |sum, worker| {
        sum.wrapping_add(figure(&worker.figures).load(Ordering::Relaxed))
    })
}
