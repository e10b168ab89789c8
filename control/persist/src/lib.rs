//! Where artifacts and events are kept.
//!
//! **Job.** The trait [`Persistence`] and its backends: SQLite, PostgreSQL and memory; the conformance suite that every
//! backend passes (feature `conformance`).
//!
//! **Invariants.** A commit is atomic and durable when it returns: all of its writes and events, or none.
//! Every write has the next revision of its artifact. Events are append-only.
//!
//! **Absent.** No knowledge of what an artifact means: bodies are JSON.

pub mod backup;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod event;
pub mod memory;
mod persistence;
pub mod postgres;
mod sql;
pub mod sqlite;

pub use event::expand_tags;
pub use persistence::{
    Aggregate, AggregateKind, EVENT_BYTES_MIN, EVENTS_REMOVED_MAX, Event, EventBounds, EventDraft,
    EventQuery, EventTotals, HISTORY_MAX, Page, PersistError, Persistence, Stored, Write,
};
