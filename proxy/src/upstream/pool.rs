//! Connections to instances that wait for a next request. One pool per worker.
//!
//! **Invariants.** What is in the pool has no request on it and nothing unread. A connection on which
//! anything happens while it waits (the instance closed it, or said something nobody asked for) is never
//! handed out. Both the number per instance and the number in all are bounded.
//!
//! **Race.** The instance may close a connection in the moment in which it is handed out. Then nothing of an
//! answer arrives, and the caller repeats the request elsewhere if that is safe; a request that must not be
//! repeated asks for a connection that was used a moment ago ([`Pool::take`]).
//!
//! **Absent.** No connecting, no limit on connections in use.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
};

use super::Link;
use crate::config::Config;

/// Connections kept by one worker, to all instances together.
const TOTAL_MAX: usize = 8_192;

/// Connections that wait, by the key of their instance.
pub(crate) struct Pool {
    per_endpoint_max: usize,
    idle_ms_max: u64,
    idle: RefCell<Idle>,
}

#[derive(Default)]
struct Idle {
    by_endpoint: HashMap<u64, Vec<Waiting>, BuildHasherDefault<KeyHasher>>,
    total: usize,
}

struct Waiting {
    stream: Link,
    since_ms: u64,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("total", &self.idle.borrow().total)
            .finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            per_endpoint_max: config.pool_idle_max,
            idle_ms_max: u64::try_from(config.timeouts.pool_idle.as_millis()).unwrap_or(u64::MAX),
            idle: RefCell::default(),
        }
    }

    /// The connection used last that still waits, and for no longer than `idle_ms_max` milliseconds.
    pub(crate) fn take(&self, key: u64, now_ms: u64, idle_ms_max: u64) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let Idle { by_endpoint, total } = &mut *idle;
        let waiting = by_endpoint.get_mut(&key)?;
        let limit = idle_ms_max.min(self.idle_ms_max);
        // The newest is last: if it waited too long, so did all.
        while waiting.last()?.since_ms.saturating_add(limit) >= now_ms {
            let Waiting { stream, .. } = waiting.pop()?;
            *total -= 1;
            if stream.is_quiet() {
                return Some(stream);
            }
        }
        None
    }

    /// Keeps a connection for later, or closes it if there are enough.
    pub(crate) fn put(&self, key: u64, stream: Link, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        if idle.total >= TOTAL_MAX || !stream.is_kept() {
            return;
        }
        let waiting = idle.by_endpoint.entry(key).or_default();
        if waiting.len() < self.per_endpoint_max {
            waiting.push(Waiting {
                stream,
                since_ms: now_ms,
            });
            idle.total += 1;
        }
    }

    /// Closes what waited too long or is no longer usable. Called with every tick of the worker's clock.
    pub(crate) fn expire(&self, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        let Idle { by_endpoint, total } = &mut *idle;
        by_endpoint.retain(|_, waiting| {
            let before = waiting.len();
            waiting.retain(|waiting| {
                waiting.since_ms.saturating_add(self.idle_ms_max) >= now_ms && waiting.stream.is_quiet()
            });
            *total -= before - waiting.len();
            // Empty from before: the instance is gone, or every connection to it is in use.
            before > 0
        });
    }

    /// Closes all, to have their descriptors for something else.
    pub(crate) fn clear(&self) {
        *self.idle.borrow_mut() = Idle::default();
    }
}

/// Keys are unique small numbers of ours: spreading them is enough.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

#[cfg(test)]
mod tests;
