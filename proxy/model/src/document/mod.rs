//! The document that a person writes for an edge proxy without any control.
//!
//! ```yaml
//! gateways:
//!   shop:
//!     port: 8080                 # or `8080/tcp`; `address: 127.0.0.1`, else every local address
//!     sticky: route              # route | instance | none
//!     virtual_hosts: [shop.example]
//!     routes:                    # in order: the first whose condition matches wins
//!       a: {weight: 90%, instances: ["127.0.0.1:9001", {id: x, host: h, port: 1, state: draining}]}
//!       b: {weight: 10%, condition: "User-Agent == Firefox", condition_strength: 100%, instances: ["127.0.0.1:9002"]}
//!       c: {gateway: other}
//!       d:
//!         health: {protocol: http, path: /health, interval: 2s, timeout: 5s, rise: 2, fall: 3}
//!         timeouts: {connect: 5s, first_byte: 50s, idle: 50s, request: 10m, tunnel: 1h}
//!         tls: {server_name: inner.example, authority: /etc/tls/ca.pem}   # TLS to its instances
//!         send_proxy_protocol: v2
//!         protocol: http2
//!         ejection: {errors: 5, pause: 10s}
//!         slow_start: 10s
//!         instances: ["127.0.0.1:9003"]
//!     tls: {certificates: [{certificate: /etc/tls/shop.pem, key: /etc/tls/shop.key}], minimum: "1.2"}
//!     accept_proxy_protocol: true
//!   front:
//!     port: 443/tcp
//!     routes:
//!       a: {weight: 0%, server_names: [a.example, "*.b.example"], instances: ["127.0.0.1:9443"]}   # by SNI
//! ```
//!
//! **Job.** From an already parsed tree (YAML or JSON) to checked gateways, and back.
//!
//! **Invariants.** Reading is strict and tells every problem at once: unknown keys are refused, and what is
//! read makes a [`Snapshot`](crate::Snapshot) without problems. What [`write()`] writes, [`read()`] reads as the same.
//!
//! **Absent.** No YAML parser and no files: `weir-store` has those.

mod fields;
mod options;
mod read;
mod share;
#[cfg(test)]
mod tests;
mod write;

use thiserror::Error;

pub use self::{
    options::{GATEWAY_OPTIONS, ROUTE_OPTIONS, gateway_options, route_options},
    read::read,
    write::{write, write_options},
};

/// What is wrong at one place of a document.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{path}: {message}")]
pub struct DocumentProblem {
    /// Keys from the top, joined by `/` (a key that has a `/` is in quotes), elements of lists by number
    /// from 0: `gateways/shop/routes/a/instances/0`. A lone `/` is the document.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// The address that a gateway listens on if it names none: every local one.
const ADDRESS_DEFAULT: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// Splits `host:port`; an IPv6 address is in brackets.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// The inverse of [`host_and_port`], as far as there is one.
fn joined(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
