//! Settings of the proxy, checked.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

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
        }
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
