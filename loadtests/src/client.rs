//! The clients: closed loops over plain sockets, on one thread.

use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::{sync::Semaphore, task::LocalSet};
use tokio_rustls::TlsConnector;

use crate::connection::{Connection, HOST, connector};

/// What the clients of one round saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) latency_us: Histogram<u64>,
    /// Connections that are still open, for as long as this lives.
    pub(crate) open: Vec<Connection>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) to: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) requests: u64,
    pub(crate) keep_alive: bool,
    pub(crate) body_bytes: usize,
    /// Certificate of the target (DER), if it is spoken to by TLS.
    pub(crate) certificate: Option<Vec<u8>>,
    /// HTTP/2 instead of HTTP/1.1.
    pub(crate) http2: bool,
    /// Whether TLS sessions are resumed.
    pub(crate) resume: bool,
    /// A request is a WebSocket message, its answer the echo.
    pub(crate) websocket: bool,
    /// Requests are due at this rate, over all clients; 0: whenever the one before was answered.
    pub(crate) requests_per_second: u32,
    /// An answer may also be one byte longer: two services take turns.
    pub(crate) lengths_differ: bool,
    /// Requests under way at a time, however many connections there are.
    pub(crate) at_once: usize,
}

/// An exchange takes at most this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the load on the calling thread.
pub(crate) fn run(load: Load) -> anyhow::Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seen = Rc::new(RefCell::new(Seen {
        requests: 0,
        errors: 0,
        latency_us: Histogram::new_with_bounds(1, 60_000_000, 3)?,
        open: Vec::new(),
    }));
    let tls = match &load.certificate {
        Some(certificate) => Some(connector(certificate, load.http2, load.resume)?),
        None => None,
    };
    let load = Rc::new(load);
    let permits = Rc::new(Semaphore::new(load.at_once));
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let mut clients = Vec::new();
        let begin = Instant::now();
        for number in 0..load.connections {
            let share = load.requests / load.connections as u64
                + u64::from((number as u64) < load.requests % load.connections as u64);
            clients.push(tokio::task::spawn_local(client(
                Rc::clone(&load),
                tls.clone(),
                share,
                Due::of(&load, number, begin),
                Rc::clone(&seen),
                Rc::clone(&permits),
            )));
        }
        for client in clients {
            client.await.context("a client failed")?;
        }
        anyhow::Ok(())
    })?;
    drop(local);
    Rc::into_inner(seen)
        .map(RefCell::into_inner)
        .context("a client is still running")
}

/// When the requests of one client are due.
struct Due {
    next: Instant,
    /// None: as soon as the last one was answered.
    every: Option<Duration>,
}

impl Due {
    fn of(load: &Load, number: usize, begin: Instant) -> Self {
        let all = f64::from(load.requests_per_second);
        let every = (load.requests_per_second > 0).then(|| {
            #[expect(clippy::cast_precision_loss, reason = "clients are few")]
            Duration::from_secs_f64(load.connections as f64 / all)
        });
        #[expect(clippy::cast_precision_loss, reason = "as above")]
        let share = number as f64 / load.connections as f64;
        Self {
            next: begin + every.unwrap_or_default().mul_f64(share),
            every,
        }
    }

    /// Waits for the next request's time, and tells it: a late answer to the one before counts against both.
    async fn next(&mut self) -> Instant {
        let Some(every) = self.every else {
            return Instant::now();
        };
        let due = self.next;
        self.next += every;
        tokio::time::sleep_until(due.into()).await;
        due
    }
}

async fn client(
    load: Rc<Load>,
    tls: Option<TlsConnector>,
    requests: u64,
    mut due: Due,
    seen: Rc<RefCell<Seen>>,
    permits: Rc<Semaphore>,
) {
    let connection = if load.keep_alive {
        ""
    } else {
        "Connection: close\r\n"
    };
    let request = format!(
        "GET /load HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: load/1.0\r\nAccept: */*\r\nCookie: a=b\r\n{connection}\r\n"
    );
    let mut buffer = vec![0; 64 * 1024];
    let mut kept: Option<Connection> = None;
    for _ in 0..requests {
        let Ok(_permit) = permits.acquire().await else {
            return;
        };
        let began = due.next().await;
        let outcome = tokio::time::timeout(PATIENCE, async {
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => Connection::open(&load, tls.as_ref()).await?,
            };
            stream
                .ask(
                    request.as_bytes(),
                    &mut buffer,
                    load.body_bytes,
                    load.lengths_differ,
                )
                .await?;
            std::io::Result::Ok(stream)
        })
        .await;
        let mut seen = seen.borrow_mut();
        seen.requests += 1;
        match outcome {
            Ok(Ok(stream)) => {
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                seen.latency_us.saturating_record(took);
                if load.keep_alive {
                    kept = Some(stream);
                }
            }
            _ => seen.errors += 1,
        }
    }
    seen.borrow_mut().open.extend(kept);
}
