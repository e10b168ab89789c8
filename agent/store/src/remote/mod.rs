//! A store of another process of this host, over loopback TCP.
//!
//! **Job.** Lets agents share the embedded store of a control ([`serve`], [`Remote`]). Frames of JSON with a
//! length before each (`wire`), requests with ids over one connection, watches as streams.
//!
//! **Invariants.** An answer belongs to the request whose id it has. A request that is not answered in time
//! ends the connection, so a peer that hangs is noticed by watches too. Frames, requests and watches have
//! bounds on both sides.
//!
//! **Absent.** No authentication and no encryption, hence loopback only. No retries: a loss is told, and the
//! next use connects again.

mod client;
mod connection;
mod server;
mod wire;

pub use client::Remote;
pub use server::serve;

#[cfg(test)]
mod tests;
