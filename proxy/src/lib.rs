//! The data plane: routes HTTP and TCP by an immutable table that is swapped as one.
//!
//! **Job.** Take a [`weir_model::Snapshot`], open and close sockets as it says, route every request by it, and
//! count what came of it.
//!
//! **Invariants.** A request sees one table from its first decision to its last. A swap closes no connection
//! and rebinds no socket that both tables have. No lock and no shared cache line on the way of a request but
//! the one counter of each decision. Bytes from the network never panic.
//!
//! **Absent.** No store, no artifacts, no API: an agent feeds [`Proxy::apply`]. No scripts in the request path.

mod access_log;
mod admin;
mod buffer;
mod choose;
pub mod condition;
mod config;
mod error;
mod exchange;
mod http;
mod listener;
mod live;
mod metrics;
mod proxy;
mod resolve;
mod schedule;
mod table;
mod tcp;
mod upstream;
mod worker;

pub use config::{Config, Limits, Timeouts};
pub use error::{ErrorKind, StartError};
pub use proxy::{Applied, Drained, Proxy};
