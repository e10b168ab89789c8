//! Settings of the proxy, checked.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use weir_model::HealthCheck;

use crate::{access_log::AccessLog, error::StartError, network::Network};

/// Settings of a [`crate::Proxy`]. Defaults are those of Vamp's gateway agent where it had one
/// (spec of the gateway agent, §1.5).
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker threads, each with a runtime and a socket per listener of its own. Default: one per processor.
    pub workers: usize,
    /// Where requests are told apart by their Host header alone; `None`: virtual hosts are not served.
    pub virtual_hosts: Option<SocketAddr>,
    /// Bounds of what a client or an instance may send.
    pub limits: Limits,
    /// Bounds of waiting.
    pub timeouts: Timeouts,
    /// Attempts to connect after the first, over all instances of a route.
    pub retries: u32,
    /// Idle connections kept to each instance by each worker.
    pub pool_idle_max: usize,
    /// Connections that one worker serves at a time; further ones wait in the listening queue.
    pub connections_max: usize,
    /// Length of the listening queue of each socket.
    pub backlog: u32,
    /// Records of requests; `None` (the default): none are kept.
    pub access_log: Option<AccessLog>,
    /// Idle connections per second, over all workers, that are ended at [`crate::Proxy::shutdown`]; more if the deadline
    /// is near. Default 1000.
    pub drain_rate: NonZeroU32,
    /// Bound of retries over all requests of a worker, so that a failing service is not buried under them.
    pub retry_budget: RetryBudget,
    /// How instances are checked whose route does not say it; `None`: not at all. Default: Vamp's
    /// ([`HealthCheck::tcp`]).
    pub health: Option<HealthCheck>,
    /// Whose `X-Forwarded-*` and `Forwarded` lines are believed. Empty (the default): nobody's are, and nobody's are
    /// removed, as Vamp has it. Otherwise those of others are removed, and for a trusted sender the client is the
    /// right-most address of `X-Forwarded-For` that is not trusted.
    pub trusted_proxies: Vec<Network>,
    /// Lines that requests get besides `X-Forwarded-For` and `X-Forwarded-Proto`.
    pub announce: Announce,
    /// Answers of one's own, by status, instead of the short texts. At most [`ErrorPage::BYTES_MAX`] each.
    pub error_pages: BTreeMap<u16, ErrorPage>,
}

/// What an instance is told of a request beyond `X-Forwarded-For` and `X-Forwarded-Proto`. Default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announce {
    /// `Forwarded` (RFC 7239): client, host and scheme.
    pub forwarded: bool,
    /// `X-Forwarded-Host` and `X-Forwarded-Port`, where the client's side did not say them.
    pub host_and_port: bool,
    /// `Via` (RFC 9110 §7.6.3).
    pub via: bool,
    /// `traceparent` (W3C Trace Context) for a request without one; one that is there is always passed on.
    pub begin_trace: bool,
}

/// How many retries a worker may make: a share of its requests and so many per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Retries per hundred requests. Default 20.
    pub percent: u32,
    /// Retries per second that are allowed whatever the number of requests; what ten seconds leave unused is
    /// kept. Default 10.
    pub per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20,
            per_second: 10,
        }
    }
}

/// An answer of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// Value of `Content-Type`.
    pub content_type: String,
    /// The body.
    pub body: bytes::Bytes,
}

impl ErrorPage {
    /// Longest body in bytes.
    pub const BYTES_MAX: usize = 32 * 1024;
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            virtual_hosts: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            retries: 3,
            pool_idle_max: 128,
            connections_max: 16_384,
            backlog: 4_096,
            access_log: None,
            drain_rate: NonZeroU32::new(1_000).expect("not zero"),
            retry_budget: RetryBudget::default(),
            health: Some(HealthCheck::tcp()),
            trusted_proxies: Vec::new(),
            announce: Announce::default(),
            error_pages: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Whether it can be served by.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        if !(1..=256).contains(&self.workers) {
            return Err(StartError::WorkerCount(self.workers));
        }
        for (status, page) in &self.error_pages {
            let is_text = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
            let reason = if !(400..=599).contains(status) {
                "only statuses from 400 to 599 have one"
            } else if page.body.len() > ErrorPage::BYTES_MAX {
                "it is longer than 32 KiB"
            } else if page.content_type.is_empty() || !page.content_type.bytes().all(is_text) {
                "its content type is not one"
            } else {
                continue;
            };
            return Err(StartError::ErrorPage {
                status: *status,
                reason,
            });
        }
        Ok(())
    }
}

/// Bounds of what a client or an instance may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest request line in bytes (beyond: 414). Default 16 KiB.
    pub request_line_bytes_max: usize,
    /// Longest head (request or response) in bytes (beyond: 431, or 502 for a response). Default 64 KiB.
    pub head_bytes_max: usize,
    /// Most headers in a head. Default 100.
    pub headers_max: usize,
    /// Longest request body in bytes (beyond: 413); `None`: any length.
    pub body_bytes_max: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line_bytes_max: 16 * 1024,
            head_bytes_max: 64 * 1024,
            headers_max: 100,
            body_bytes_max: None,
        }
    }
}

/// Bounds of waiting.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte of a request to the end of its head (beyond: 408). Default 5 s.
    pub head: Duration,
    /// For a connection to an instance (beyond: 503). Default 5 s.
    pub connect: Duration,
    /// For the client to send or take more of a body. Default 50 s.
    pub client_idle: Duration,
    /// For the instance to send or take more (before the head of its answer: 504). Default 50 s.
    pub server: Duration,
    /// For the next request on a connection. Default 50 s.
    pub keep_alive: Duration,
    /// For an unused connection to an instance. Default 20 s.
    pub pool_idle: Duration,
    /// For either side of a TCP connection or an upgraded one to send something. Default 1 h.
    pub tunnel: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            client_idle: Duration::from_secs(50),
            server: Duration::from_secs(50),
            keep_alive: Duration::from_secs(50),
            pool_idle: Duration::from_secs(20),
            tunnel: Duration::from_secs(3600),
        }
    }
}
