//! Events: how they are written and read outside, the ones that the API itself makes, and their end.
//!
//! **Job.** Between the outside forms (REST, spec of metrics and events §1) and `weir_persist`'s.
//!
//! **Invariants.** What is printed reads back as an event.
//!
//! **Absent.** No storage and no delivery: `weir_persist` keeps them, `State::commit` tells subscribers.

pub(crate) mod date;
pub(crate) mod draft;
pub(crate) mod query;
pub(crate) mod retention;

use jiff::Timestamp;
use serde_json::{Map, Value};
use weir_persist::{Event, EventDraft};

use crate::state::now_ms;

/// What the API did to an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    /// `POST`
    Create,
    /// `PUT`, also for new names
    Update,
    /// `DELETE`
    Delete,
}

impl Archive {
    const fn tag(self) -> &'static str {
        match self {
            Self::Create => "archive:create",
            Self::Update => "archive:update",
            Self::Delete => "archive:delete",
        }
    }

    /// The event that tells of a change. `source` is the text of the request.
    pub(crate) fn event(self, kind: &str, name: &str, source: &str) -> EventDraft {
        EventDraft {
            tags: vec![format!("{kind}:{name}"), self.tag().to_owned()],
            value: if source.is_empty() {
                Value::Null
            } else {
                Value::from(source)
            },
            timestamp_ms: now_ms(),
            kind: "archive".to_owned(),
        }
    }
}

/// An event as REST shows it.
pub(crate) fn view(event: &Event) -> Value {
    let mut view = Map::new();
    view.insert("id".to_owned(), Value::from(event.id.to_string()));
    view.insert("tags".to_owned(), Value::from(event.tags.clone()));
    view.insert("timestamp".to_owned(), Value::from(timestamp(event.timestamp_ms)));
    view.insert("type".to_owned(), Value::from(event.kind.as_str()));
    if !event.value.is_null() {
        view.insert("value".to_owned(), event.value.clone());
    }
    Value::Object(view)
}

/// ISO 8601 in UTC with milliseconds.
pub(crate) fn timestamp(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    let timestamp = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    format!("{timestamp:.3}")
}
