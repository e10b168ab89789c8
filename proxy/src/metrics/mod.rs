//! What traffic did: counted by the worker that carried it, read by anybody.
//!
//! **Invariants.** Every figure has one writer (its worker), which loads and stores without a locked
//! instruction; readers add the workers' shards up. Shards are allocated when a worker first needs them.
//! Figures belong to identities (gateway, route, instance), not to tables, and outlive swaps.
//!
//! **Absent.** No labels beyond names from the configuration and closed enums.

mod exposition;
mod latency;
mod shard;

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use exposition::{Process, exposition};
pub(crate) use latency::Latency;
pub(crate) use shard::{EndpointShard, GatewayShard, RouteShard, Shards};

/// Adds to a figure that only the calling thread writes.
pub(crate) fn add(figure: &AtomicU64, n: u64) {
    figure.store(figure.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// Subtracts from a figure that only the calling thread writes.
pub(crate) fn subtract(figure: &AtomicU64, n: u64) {
    figure.store(figure.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
}
