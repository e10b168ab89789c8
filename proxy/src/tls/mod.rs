//! TLS that ends at a gateway.
//!
//! **Job.** Make of the certificates of a gateway what handshakes need ([`Acceptor`]), keep it as the files change
//! ([`watch`]), and take a connection through its handshake ([`serve`]).
//!
//! **Invariants.** A certificate that cannot be used never takes the place of one that can. A table that changes nothing
//! of a gateway's TLS leaves its tickets valid. Handshakes are bounded in number and time. Keys stay out of logs.
//!
//! **Absent.** No early data, no OCSP. The authority of clients' certificates is read with the snapshot and not watched.

mod accept;
mod acceptor;
mod certificate;
mod expiry;
mod hello;
mod stream;
mod watch;

pub(crate) use self::{
    accept::{HANDSHAKES_MAX, serve},
    acceptor::Acceptor,
    certificate::{read_identity, read_roots},
    hello::{HELLO_BYTES_MAX, Hello, read as read_hello},
    stream::Stream,
    watch::Watch,
};
