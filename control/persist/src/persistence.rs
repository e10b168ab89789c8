//! The port: what control needs of its storage.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// A stored artifact or record.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Kind in the plural: `breeds`, `deployments`, or a record kind of control's own.
    pub kind: String,
    /// Name within the kind.
    pub name: String,
    /// 1 for the first version, one more for each write or removal; an artifact that is made anew goes on
    /// counting, so a revision never means two things.
    pub revision: u64,
    /// Content.
    pub body: Value,
    /// When it was written, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Versions of an artifact that are kept.
pub const HISTORY_MAX: u64 = 50;

/// Events that are removed in one transaction at most, so that no removal holds up writes for long.
pub const EVENTS_REMOVED_MAX: u64 = 2_000;

/// What an event counts beside its type, tags and value, in bytes.
pub const EVENT_BYTES_MIN: u64 = 64;

/// How many events there are, and how much they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTotals {
    /// Events.
    pub events: u64,
    /// Bytes: of each event the type, the tags and the value as JSON, and [`EVENT_BYTES_MIN`]. A database needs a few
    /// times as much on the disk.
    pub bytes: u64,
}

/// How many events are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventBounds {
    /// Most events; `None`: any number.
    pub events_max: Option<u64>,
    /// Most bytes, counted as in [`EventTotals::bytes`]; `None`: any number.
    pub bytes_max: Option<u64>,
}

impl EventBounds {
    /// Whether there are more than these bounds allow.
    pub fn are_crossed_by(&self, totals: EventTotals) -> bool {
        self.events_max.is_some_and(|most| totals.events > most)
            || self.bytes_max.is_some_and(|most| totals.bytes > most)
    }
}

/// One write of a commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Creates or replaces.
    Put {
        /// Kind in the plural.
        kind: String,
        /// Name.
        name: String,
        /// Content.
        body: Value,
        /// The revision that is to be replaced: `Some(0)` for none, `None` for any.
        expect: Option<u64>,
    },
    /// Removes, if it is there.
    Delete {
        /// Kind in the plural.
        kind: String,
        /// Name.
        name: String,
    },
    /// Writes nothing; the commit fails unless this revision is there.
    Require {
        /// Kind in the plural.
        kind: String,
        /// Name.
        name: String,
        /// The revision, 0 for none.
        revision: u64,
    },
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Items to skip.
    pub offset: u64,
    /// Most items to return.
    pub limit: u64,
}

impl Page {
    /// Everything.
    pub const ALL: Self = Self {
        offset: 0,
        limit: i64::MAX as u64,
    };
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Ascending in the order of appending; unique.
    pub id: u64,
    /// With expanded tags: `a:b` also has `a`.
    pub tags: Vec<String>,
    /// What it says; `Null` if nothing.
    pub value: Value,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// `event`, `archive`, `metrics`, ...
    #[serde(rename = "type")]
    pub kind: String,
}

/// An event that is about to be appended.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDraft {
    /// At least one; expanded when appended.
    pub tags: Vec<String>,
    /// What it says; `Null` if nothing.
    pub value: Value,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// `event` by default.
    pub kind: String,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventQuery {
    /// All of these.
    pub tags: Vec<String>,
    /// Exactly this type.
    pub kind: Option<String>,
    /// At or after, milliseconds since the Unix epoch.
    pub from_ms: Option<u64>,
    /// Before, milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
    /// After this id.
    pub after_id: Option<u64>,
}

/// How values of events are summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateKind {
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// Mean.
    Average,
    /// Total.
    Sum,
    /// How many events.
    Count,
}

/// What to sum up.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// How.
    pub kind: AggregateKind,
    /// Dotted path into the value (`cpu`, `value.cpu`, or with the event's type in front: `allocation.cpu`);
    /// `None`, `value` or the event's type alone: the value itself.
    pub field: Option<String>,
}

/// What went wrong with storage.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PersistError {
    /// A write's expectation was not met; nothing of the commit was done.
    #[error("{kind} `{name}` is at revision {found}, not {expected}")]
    Conflict {
        /// Kind in the plural.
        kind: String,
        /// Name.
        name: String,
        /// Revision that was expected.
        expected: u64,
        /// Revision that is there; 0 for none.
        found: u64,
    },
    /// There is no room for more; nothing of the commit was done.
    #[error("the storage is full")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It can be read, not written; nothing of the commit was done.
    #[error("the storage is read-only")]
    ReadOnly(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The storage is broken or away.
    #[error("the storage failed")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored cannot be read.
    #[error("the storage holds something that cannot be read: {0}")]
    Corrupt(String),
}

/// What control needs of its storage.
#[async_trait]
pub trait Persistence: Send + Sync + fmt::Debug {
    /// One word for people and configuration: `sqlite`, `memory`, ...
    fn kind(&self) -> &'static str;

    /// Reads one.
    async fn get(&self, kind: &str, name: &str) -> Result<Option<Stored>, PersistError>;

    /// Kinds of which there is at least one, in order of names.
    async fn kinds(&self) -> Result<Vec<String>, PersistError>;

    /// Reads a part of a kind, in order of names, and how many there are in all.
    async fn list(&self, kind: &str, page: Page) -> Result<(Vec<Stored>, u64), PersistError>;

    /// Older versions of one, newest first, the present one included. A removed artifact keeps its history.
    /// At least the last [`HISTORY_MAX`] versions are kept; a removal counts as one but is not answered.
    async fn history(&self, kind: &str, name: &str, page: Page) -> Result<Vec<Stored>, PersistError>;

    /// Does all of this, or nothing. Answers the events as they were appended.
    async fn commit(&self, writes: Vec<Write>, events: Vec<EventDraft>) -> Result<Vec<Event>, PersistError>;

    /// A part of the matching events, newest first (by time, then by id), and how many there are in all.
    async fn events(&self, query: &EventQuery, page: Page) -> Result<(Vec<Event>, u64), PersistError>;

    /// The first `limit` matching events in the order of their ids: for readers that go on where they were
    /// (`after_id`).
    async fn events_in_order(&self, query: &EventQuery, limit: u64) -> Result<Vec<Event>, PersistError>;

    /// Sums up the matching events; `None` when no event has such a number. A count without a field counts
    /// all of them.
    async fn aggregate(&self, query: &EventQuery, aggregate: &Aggregate)
    -> Result<Option<f64>, PersistError>;

    /// Removes events older than this, of one type or of all; how many.
    async fn expire_events(&self, kind: Option<&str>, before_ms: u64) -> Result<u64, PersistError>;

    /// How many events there are. Costs the same however many these are.
    async fn event_totals(&self) -> Result<EventTotals, PersistError>;

    /// Removes the oldest events (by time, then by id) until the others are within the bounds, at most
    /// [`EVENTS_REMOVED_MAX`] of them; how many. There are none left to remove when it answers fewer than that.
    async fn trim_events(&self, bounds: EventBounds) -> Result<u64, PersistError>;
}
