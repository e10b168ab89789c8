//! HTTP/1.1 towards clients and instances; `LIFECYCLE.md` beside this file tells the life of a connection.
//!
//! **Invariants.** One request at a time per connection, in order; an answer goes to the request that it
//! answers or to nobody. Every request that was routed is accounted once. A connection that waits for its next
//! request holds no buffer. Nothing is allocated for a small request once the worker is warm.
//!
//! **Absent.** No routing (see `choose`), no accounting rules (see `exchange`), no TLS (see `tls`), no HTTP/2 (see `h2`).

mod answers;
mod connection;
mod downstream;
mod forward;
pub(crate) mod framing;
pub(crate) mod head;
#[cfg(feature = "internals")]
pub(crate) mod internals;
pub(crate) mod pipe;
mod transfer;
mod upload;

pub(crate) use self::{connection::serve, downstream::Downstream};
