//! The way through control to what it manages: `/proxy/...` (spec of the API §10).
//!
//! **Job.** [`target`] says which address a path leads to, and whether it may; [`forward`] passes a request
//! and its answer on as they come, and tunnels what is upgraded (WebSocket).
//!
//! **Invariants.** Without a setting that says otherwise, only addresses of gateways and instances are reached.
//! A token of ours is never passed on. Nothing is collected: bodies pass in pieces, each awaited for a bounded
//! time. Pages that pass run in a sandbox of their browser, so that they cannot act as the pages of control,
//! whose origin they share.
//!
//! **Absent.** No pool of connections: this is for people who look at an instance, not for traffic.

pub(crate) mod forward;
pub(crate) mod target;
mod tunnel;
