//! The control service: artifacts, API, reconcilers, events.
//!
//! **Job.** [`Control`] opens the storage and the driver, runs the reconcilers and serves the REST API.
//!
//! **Invariants.** What the API acknowledged is durable. Reconcilers take no arguments and can be killed at
//! any point. Shutdown first stops taking requests, then the reconcilers, then (unless told otherwise) the
//! instances.
//!
//! **Absent.** No proxy: traffic goes through agents, which are told by snapshots in the store.

mod api;
mod config;
mod control;
mod error;
mod event;
mod publish;
mod reconcile;
mod state;
mod traffic;

pub use config::{Config, Origins, Storage};
pub use control::Control;
