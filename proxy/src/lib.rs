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
mod departed;
mod error;
mod exchange;
mod h2;
mod health;
mod http;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod listener;
mod live;
mod metrics;
mod network;
mod proxy;
mod proxy_protocol;
mod resolve;
mod rewrite;
mod schedule;
mod table;
mod tcp;
mod tls;
mod upstream;
mod waits;
mod worker;

pub use access_log::{AccessLog, LogBatch, LogField, LogFields, LogFormat, LogOutput, LogTap};
pub use config::{Announce, Config, ErrorPage, Limits, RetryBudget, Timeouts};
pub use error::{ErrorKind, StartError};
pub use listener::ListeningSocket;
pub use network::{Network, NetworkError};
pub use proxy::{Applied, Drained, Proxy};
