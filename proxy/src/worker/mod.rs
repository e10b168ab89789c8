//! One thread that carries traffic: a current-thread runtime, a socket per listener of its own, its own pools and
//! figures. Workers share the table (read only), the counters of decisions and nothing else on the way of a request.

mod connection;
mod context;

use std::{
    collections::HashMap,
    net::SocketAddr,
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
    connection::{Connection, Elapsed},
    context::{Context, CurrentTable, WorkerFigures},
};
use crate::{
    choose::Entry,
    config::Config,
    error::StartError,
    http,
    metrics::{add, subtract},
    table::Table,
    tcp,
};

/// Orders that may wait for a worker.
const ORDERS_MAX: usize = 1_024;
/// Idle connections ended by a worker in one step of leave-taking, and the pause between two steps: a
/// storm of reconnecting clients would hit whatever takes over.
const CLOSE_STEP: usize = 64;
const CLOSE_PAUSE: Duration = Duration::from_millis(10);
/// Pause after the process ran out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection that came in.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
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
    /// Take leave until then, cut what is left, answer how many connections that were, and end.
    Drain {
        deadline: Instant,
        done: oneshot::Sender<usize>,
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
                let context = Rc::new(Context::new(config, number, tables, shared, epoch));
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
        }
    });
    let mut sockets: HashMap<SocketAddr, Rc<Notify>> = HashMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Listen {
                address,
                socket,
                virtual_hosts,
            } => {
                let closing = Rc::new(Notify::new());
                match TcpListener::from_std(socket) {
                    Ok(socket) => {
                        sockets.insert(address, Rc::clone(&closing));
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
                if let Some(closing) = sockets.remove(&address) {
                    closing.notify_one();
                }
            }
            Order::Drain { deadline, done } => {
                for closing in sockets.values() {
                    closing.notify_one();
                }
                let cut = take_leave(&context, deadline).await;
                // The asker may be gone; the leave is taken all the same.
                let _ = done.send(cut);
                return;
            }
        }
    }
}

async fn take_leave(context: &Rc<Context>, deadline: Instant) -> usize {
    context.drain();
    let deadline = tokio::time::Instant::from_std(deadline);
    // Sockets first accept what waits in their queues.
    tokio::task::yield_now().await;
    while context.connections.len() > 0 && tokio::time::Instant::now() < deadline {
        context.connections.close_idle(CLOSE_STEP);
        let _ = tokio::time::timeout(CLOSE_PAUSE, context.connections.one_gone()).await;
    }
    let cut = context.connections.close_all();
    while context.connections.len() > 0 {
        tokio::task::yield_now().await;
    }
    cut
}

async fn accept(
    context: Rc<Context>,
    socket: TcpListener,
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
    while let Some(accepted) = socket.accept().now_or_never() {
        take(&context, accepted, address, virtual_hosts).await;
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
            tracing::warn!(%address, %error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return;
        }
    };
    add(&context.figures.connections_total, 1);
    add(&context.figures.connections_open, 1);
    let connection = context.connections.open(Rc::clone(context));
    let entry = Entry::new(address, virtual_hosts);
    let protocol = if virtual_hosts {
        Some(Protocol::Http)
    } else {
        let table = context.table();
        entry
            .slot(&table)
            .and_then(|slot| table.gateway(slot))
            .map(|gateway| gateway.protocol())
    };
    let Some(protocol) = protocol else { return };
    let local = stream.local_addr().unwrap_or(address);
    let _ = stream.set_nodelay(true);
    let accepted = Accepted {
        stream,
        peer,
        local,
        entry,
    };
    let abort_by = connection.abort_by();
    let context = Rc::clone(context);
    let task = match protocol {
        Protocol::Http => tokio::task::spawn_local(http::serve(context, accepted, connection)),
        Protocol::Tcp => tokio::task::spawn_local(tcp::serve(context, accepted, connection)),
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
