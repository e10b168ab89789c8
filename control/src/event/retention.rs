//! How long events are kept, and how many.
//!
//! **Job.** Looks from time to time at what there is ([`start`]), and has the oldest events removed that are too old or too
//! many. Settings are read each time: they can change while control runs.
//!
//! **Invariants.** Removals are steps of bounded size, so that commits never wait for more than one. What was removed for
//! being too many is logged and counted (`/stats`). Of several controls only the one that may act removes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use weir_artifact::units;
use weir_persist::{EVENTS_REMOVED_MAX, EventBounds};

use crate::{
    configuration::duration,
    figures, leader,
    state::{State, now_ms},
};

/// Time between two removals of old events.
const AGE_PERIOD: Duration = Duration::from_secs(10 * 60);
/// Time between two looks at how many there are.
const SIZE_PERIOD: Duration = Duration::from_secs(10);
/// Bytes of a megabyte.
const MEGABYTE: f64 = 1024.0 * 1024.0;

/// How long events are kept, and how many. Zero is: without a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events whose own time is older than this are removed. Default 30 days.
    pub age: Duration,
    /// The same for events of the types `metrics`, `health` and `allocation`, of which there are many. Default 2 hours.
    pub figures_age: Duration,
    /// Most events. Default 0.
    pub events_max: u64,
    /// Most bytes of events, counted as [`weir_persist::EventTotals::bytes`] does. Default 1 GiB.
    pub bytes_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(30 * 24 * 60 * 60),
            figures_age: Duration::from_secs(2 * 60 * 60),
            events_max: 0,
            bytes_max: 1024 * 1024 * 1024,
        }
    }
}

impl Retention {
    fn bounds(&self) -> EventBounds {
        let some = |most: u64| (most > 0).then_some(most);
        EventBounds {
            events_max: some(self.events_max),
            bytes_max: some(self.bytes_max),
        }
    }
}

/// How many events this control removed.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// Too old.
    pub(crate) by_age: AtomicU64,
    /// Too many.
    pub(crate) by_size: AtomicU64,
}

/// Removes what is too old or too much, now and from time to time.
pub(crate) fn start(state: Arc<State>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(SIZE_PERIOD);
        let mut listener = state.wake.listen();
        let mut looked: Option<(Instant, Retention)> = None;
        loop {
            let changed = async {
                loop {
                    listener.woken().await;
                    if looked.is_some_and(|(_, before)| before != state.live().retention) {
                        return;
                    }
                }
            };
            tokio::select! {
                _ = ticks.tick() => {}
                () = changed => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = look(&state, &mut looked) => {}
                // A step that was begun is done or not done, never half.
                () = stop.cancelled() => return,
            }
        }
    })
}

/// Removes what is due, if this control may. `looked`: when it last removed by age, and by which settings.
pub(crate) async fn look(state: &State, looked: &mut Option<(Instant, Retention)>) {
    if !leader::may_act(state) {
        *looked = None;
        return;
    }
    let retention = state.live().retention;
    let is_due = looked.is_none_or(|(at, before)| at.elapsed() >= AGE_PERIOD || before != retention);
    if is_due {
        *looked = Some((Instant::now(), retention));
        expire(state, retention).await;
    }
    trim(state, retention.bounds()).await;
}

async fn expire(state: &State, retention: Retention) {
    let of_figures = figures::TYPES.map(|kind| (Some(kind), retention.figures_age));
    for (kind, age) in of_figures.into_iter().chain([(None, retention.age)]) {
        if age.is_zero() {
            continue;
        }
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        match state
            .persist
            .expire_events(kind, now_ms().saturating_sub(age_ms))
            .await
        {
            Ok(0) => {}
            Ok(expired) => {
                state.removed.by_age.fetch_add(expired, Ordering::Relaxed);
                tracing::debug!(expired, "old events were removed");
            }
            Err(error) => tracing::warn!(%error, "old events could not be removed; it is tried again"),
        }
    }
}

/// Removes the oldest events until the others are within the bounds.
async fn trim(state: &State, bounds: EventBounds) {
    if bounds == EventBounds::default() {
        return;
    }
    let mut removed = 0;
    let trimmed = loop {
        // Readers say whether there is anything to do, so that writers are not asked in vain.
        match state.persist.event_totals().await {
            Ok(totals) if bounds.are_crossed_by(totals) => {}
            Ok(_) => break Ok(()),
            Err(error) => break Err(error),
        }
        match state.persist.trim_events(bounds).await {
            Ok(part) => {
                removed += part;
                state.removed.by_size.fetch_add(part, Ordering::Relaxed);
                if part < EVENTS_REMOVED_MAX {
                    break Ok(());
                }
            }
            Err(error) => break Err(error),
        }
    };
    if removed > 0 {
        tracing::info!(
            removed,
            events_max = bounds.events_max,
            bytes_max = bounds.bytes_max,
            "the oldest events were removed: there were more than are kept"
        );
    }
    if let Err(error) = trimmed {
        tracing::warn!(%error, "events that are too many could not be removed; it is tried again");
    }
}

/// `1GB`, `64MB`, or a number of bytes.
pub(crate) fn bytes(value: &Value) -> Option<u64> {
    let text = match value {
        Value::Number(number) => return number.as_u64(),
        Value::String(text) => text.trim(),
        _ => return None,
    };
    if let Ok(bytes) = text.parse() {
        return Some(bytes);
    }
    let bytes = units::memory_mb(text).ok()? * MEGABYTE;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite and not negative; more than there is room for is the most"
    )]
    let bytes = bytes as u64;
    Some(bytes)
}

/// Options about events.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Events")]
pub struct EventFlags {
    /// How long events are kept, such as 12h or 30d; 0: for ever
    #[arg(long, env = "WEIR_EVENT_AGE", value_name = "DURATION", default_value = "30d", value_parser = age)]
    event_age: Duration,
    /// How long events of the types metrics, health and allocation are kept; 0: as long as others
    #[arg(long, env = "WEIR_FIGURES_AGE", value_name = "DURATION", default_value = "2h", value_parser = age)]
    figures_age: Duration,
    /// Most events that are kept, the oldest go first; 0: any number
    #[arg(long, env = "WEIR_EVENTS_MAX", value_name = "COUNT", default_value_t = 0)]
    events_max: u64,
    /// Most bytes of events that are kept, such as 64MB or 1GB, the oldest go first; 0: any number
    #[arg(long, env = "WEIR_EVENT_BYTES_MAX", value_name = "SIZE", default_value = "1GB", value_parser = size)]
    event_bytes_max: u64,
}

impl EventFlags {
    /// What they say.
    pub fn retention(&self) -> Retention {
        Retention {
            age: self.event_age,
            figures_age: self.figures_age,
            events_max: self.events_max,
            bytes_max: self.event_bytes_max,
        }
    }
}

fn age(text: &str) -> Result<Duration, String> {
    duration(&Value::from(text)).ok_or_else(|| format!("`{text}` is not a duration such as 12h or 30d"))
}

fn size(text: &str) -> Result<u64, String> {
    bytes(&Value::from(text)).ok_or_else(|| format!("`{text}` is not a size such as 64MB or 1GB"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::bytes;

    #[test]
    fn sizes_have_units_or_are_bytes() {
        for (value, expected) in [
            (json!("1GB"), Some(1 << 30)),
            (json!("1.5 MB"), Some(3 << 19)),
            (json!(1000), Some(1000)),
            (json!("1000"), Some(1000)),
            (json!(0), Some(0)),
            (json!("much"), None),
            (json!(-1), None),
            (json!(1.5), None),
            (json!(true), None),
        ] {
            assert_eq!(bytes(&value), expected, "{value}");
        }
    }
}
