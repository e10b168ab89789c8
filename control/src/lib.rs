//! The control service: artifacts, API, reconcilers, events.
//!
//! **Job.** [`Control`] opens the storage and the driver, runs the reconcilers and serves the REST API.
//!
//! **Invariants.** What the API acknowledged is durable. Reconcilers take no arguments and can be killed at
//! any point. Shutdown first stops taking requests, then the reconcilers, then (unless told otherwise) the
//! instances.
//!
//! **Absent.** No proxy: traffic goes through agents, which are told by snapshots in the store.

mod access;
mod api;
mod config;
mod configuration;
mod control;
mod drivers;
mod error;
mod event;
mod figures;
mod leader;
mod logs;
mod publish;
mod reconcile;
mod reverse;
mod sla;
mod state;
mod tls;
mod traffic;
mod vga;

pub use config::{AgentToken, Checks, Config, Origins, Storage, TlsFiles};
pub use control::Control;
pub use drivers::{Docker, DockerEngine, DockerFlags};
pub use event::retention::{EventFlags, Retention};
pub use logs::{LogFeed, LogLayer};
pub use weir_persist::backup;
pub use weir_plan::Quota;
