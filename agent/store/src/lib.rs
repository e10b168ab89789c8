//! The key-value stores that carry snapshots from control to agents.
//!
//! **Job.** One trait ([`Store`]) with compare-and-set, leases and watches; backends; and the protocol by
//! which a snapshot is published in chunks under a store's value limit ([`protocol`]).
//!
//! **Invariants.** A watch never loses the last change: it reports again from what the reader has seen, or
//! says that the reader must read everything anew. A write with an expectation either met it or changed nothing.
//!
//! **Absent.** No knowledge of gateways beyond the snapshot's bytes (the `file` store aside, whose document
//! is one of gateways); no retries (callers decide).

#[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
mod address;
mod connect;
mod error;
#[cfg(any(feature = "etcd", feature = "consul"))]
mod http;
mod index;
mod key;
#[cfg(any(feature = "consul", feature = "zookeeper"))]
mod listings;
mod local;
mod store;
#[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
mod tls;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "consul")]
pub mod consul;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(feature = "file")]
pub mod file;
pub mod memory;
pub mod protocol;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(feature = "zookeeper")]
pub mod zookeeper;

pub use connect::connect;
pub use error::StoreError;
pub use store::{Capabilities, Change, Entry, Expect, LeaseId, Revision, Store, Watch};
