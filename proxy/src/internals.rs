//! Doors to private parts for benches and fuzzing, behind the feature `internals`. Not an API: anything here changes with
//! the parts behind it.

use std::{
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use weir_model::{LatencyCounts, Snapshot};

use crate::{
    Config, ErrorKind, Limits,
    choose::{self, Entry},
    condition::RequestView,
    http::internals,
    metrics::Latency,
    proxy_protocol,
    resolve::Resolver,
    table::{Compiler, Table},
    tls,
    worker::{Context, WorkerFigures},
};

pub use internals::{Body, Chunks, RequestHead, ResponseHead};

/// Reads the head of a request; `None`: it is not complete.
///
/// # Errors
/// Why it is refused.
pub fn request_head<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Option<RequestHead<'b>>, ErrorKind> {
    internals::request_head(bytes, limits)
}

/// The head of a request as it would be passed on to an instance; `None`: it is not complete or refused.
pub fn forwarded_request(bytes: &[u8], limits: &Limits) -> Option<Vec<u8>> {
    internals::forwarded_request(bytes, limits)
}

/// Reads the head of a response to a request with method HEAD or not; `None`: it is not complete.
///
/// # Errors
/// It has no reading, or several.
pub fn response_head(
    bytes: &[u8],
    head_only: bool,
    limits: &Limits,
) -> Result<Option<ResponseHead>, Refused> {
    internals::response_head(bytes, head_only, limits).map_err(|()| Refused)
}

/// Bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What a PROXY protocol header says: bytes that it takes, client and destination.
pub type ProxyHeader = (usize, Option<(SocketAddr, SocketAddr)>);

/// Reads a PROXY protocol header; `None`: it is not complete.
///
/// # Errors
/// It is none.
pub fn proxy_header(bytes: &[u8]) -> Result<Option<ProxyHeader>, Refused> {
    match proxy_protocol::read(bytes) {
        Ok(header) => Ok(header.map(|header| (header.length, header.addresses))),
        Err(_) => Err(Refused),
    }
}

/// What a whole `ClientHello` at the front of bytes says: bytes up to the end of its last record, and the name.
pub type ServerName = (usize, Option<String>);

/// Reads a `ClientHello`; `None`: it is not complete.
///
/// # Errors
/// It is none, or has more than one reading.
pub fn server_name(bytes: &[u8]) -> Result<Option<ServerName>, Refused> {
    match tls::read_hello(bytes) {
        Ok(tls::Hello::Whole(name)) => {
            // Where it ends is where one byte less is not enough.
            let mut length = bytes.len();
            while length > 0
                && matches!(
                    tls::read_hello(bytes.get(..length - 1).unwrap_or_default()),
                    Ok(tls::Hello::Whole(_))
                )
            {
                length -= 1;
            }
            Ok(Some((length, name)))
        }
        Ok(tls::Hello::Partial(_)) => Ok(None),
        Ok(tls::Hello::Other) | Err(_) => Err(Refused),
    }
}

/// A latency distribution of one worker.
#[derive(Debug, Default)]
pub struct Histogram(Latency);

impl Histogram {
    /// Counts one request.
    pub fn record(&self, took: Duration) {
        self.0.record(took);
    }

    /// What was counted.
    pub fn counts(&self) -> LatencyCounts {
        let mut counts = LatencyCounts::default();
        self.0.read_into(&mut counts);
        counts
    }
}

/// Compiles one snapshot after the other.
#[derive(Debug)]
pub struct Compiling {
    compiler: Compiler,
    table: Arc<Table>,
}

impl Compiling {
    /// Begins with a table that serves nothing.
    ///
    /// # Errors
    /// The thread that resolves names could not be started.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            compiler: Compiler::new(1, Resolver::start()?, Instant::now()),
            table: Arc::new(Table::empty()),
        })
    }

    /// The next table; returns how many gateways it has.
    pub fn apply(&mut self, snapshot: &Snapshot) -> usize {
        let table = self.compiler.compile(
            snapshot,
            snapshot.generation(),
            Some(snapshot.digest()),
            &self.table,
            Instant::now(),
        );
        self.table = Arc::new(table);
        self.table.gateways().count()
    }

    /// A worker's view of the table of the moment, for requests that come in at `listener`.
    pub fn chooser(&self, listener: SocketAddr) -> Chooser {
        Chooser {
            context: Rc::new(Context::new(
                Arc::new(Config::default()),
                0,
                Arc::new(ArcSwap::new(Arc::clone(&self.table))),
                Arc::new(WorkerFigures::default()),
                Instant::now(),
            )),
            entry: Entry::new(listener, false),
        }
    }
}

/// Chooses ways for requests as a worker does.
pub struct Chooser {
    context: Rc<Context>,
    entry: Entry,
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chooser").finish_non_exhaustive()
    }
}

impl Chooser {
    /// Where a request goes: how many gateways it crosses, and the index of the last one's route.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn choose(&self, request: &impl RequestView) -> Result<(usize, u16), ErrorKind> {
        let choice = choose::choose(&self.context, &self.entry, request)?;
        let last = choice.hops().last().ok_or(ErrorKind::NoRoute)?;
        Ok((choice.hops().count(), last.route))
    }
}
