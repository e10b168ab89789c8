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

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_persist::{Event, EventDraft};

use crate::{
    figures,
    state::{State, now_ms},
};

/// Time between two removals of old events.
const EXPIRY_PERIOD: Duration = Duration::from_secs(10 * 60);

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

/// Removes events that are older than `event_retention`, and figures that are older than `figures_retention`, now
/// and from time to time.
pub(crate) fn start_expiry(state: Arc<State>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let figures = figures::TYPES.map(|kind| (Some(kind), state.config.figures_retention));
        let all = [(None, state.config.event_retention)];
        let limits: Vec<(Option<&str>, Duration)> = figures
            .into_iter()
            .chain(all)
            .filter(|(_, retention)| !retention.is_zero())
            .collect();
        if limits.is_empty() {
            return;
        }
        let mut ticks = tokio::time::interval(EXPIRY_PERIOD);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            for (kind, retention) in &limits {
                let retention_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
                let before_ms = now_ms().saturating_sub(retention_ms);
                match state.persist.expire_events(*kind, before_ms).await {
                    Ok(0) => {}
                    Ok(expired) => tracing::debug!(expired, "old events were removed"),
                    Err(error) => {
                        tracing::warn!(%error, "old events could not be removed; it is tried again");
                    }
                }
            }
        }
    })
}
