//! What this process logs, for those who read it over the API (`/logs`, spec of the API §7).
//!
//! **Job.** [`LogLayer`] sits beside the layer that writes the log and puts every line into a bounded queue;
//! streams read from there.
//!
//! **Invariants.** Logging never waits for a reader: one that is too slow loses lines, and is told how many.
//! Without a reader a line costs nothing but looking.
//!
//! **Absent.** No memory of lines from before a reader came.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use tokio::sync::broadcast;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use crate::state::now_ms;

/// Lines that a slow reader may be behind.
const LINES_MAX: usize = 1024;
/// Longest message in bytes; the rest is cut.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Where the lines of a process go. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub struct LogFeed(broadcast::Sender<Arc<LogLine>>);

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// Module that says it.
    pub(crate) logger: String,
    pub(crate) level: Level,
    /// The sentence and its fields.
    pub(crate) message: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
}

impl Default for LogFeed {
    fn default() -> Self {
        Self::new()
    }
}

impl LogFeed {
    /// A feed that nothing flows into until [`LogFeed::layer`] is put into a subscriber.
    pub fn new() -> Self {
        Self(broadcast::Sender::new(LINES_MAX))
    }

    /// What feeds it.
    pub fn layer(&self) -> LogLayer {
        LogLayer(self.clone())
    }

    /// Lines from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<LogLine>> {
        self.0.subscribe()
    }
}

/// A layer of a `tracing` subscriber. Which lines come is for a filter to say.
#[derive(Clone, Debug)]
pub struct LogLayer(LogFeed);

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let sender = &self.0.0;
        if sender.receiver_count() == 0 {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let line = LogLine {
            logger: metadata.target().to_owned(),
            level: *metadata.level(),
            message: text.finished(),
            at_ms: now_ms(),
        };
        // The last reader may have gone this moment.
        let _ = sender.send(Arc::new(line));
    }
}

/// `message field=value ...`
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finished(self) -> String {
        let mut text = self.message;
        text.push_str(&self.fields);
        if text.len() > MESSAGE_BYTES_MAX {
            let end = (0..=MESSAGE_BYTES_MAX)
                .rev()
                .find(|end| text.is_char_boundary(*end))
                .unwrap_or_default();
            text.truncate(end);
            text.push_str("...");
        }
        text
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;
    use tracing::Level;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{LINES_MAX, LogFeed, MESSAGE_BYTES_MAX};

    #[test]
    fn lines_have_their_fields_and_a_bound() {
        let feed = LogFeed::new();
        let subscriber = tracing_subscriber::registry().with(feed.layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("before there is a reader");
            let mut reader = feed.subscribe();
            tracing::warn!(gateway = "shop/80", error = %"gone", "a gateway {}", "fell");
            let line = reader.try_recv().unwrap();
            assert_eq!((line.level, line.logger.as_str()), (Level::WARN, module_path!()));
            assert_eq!(line.message, "a gateway fell gateway=\"shop/80\" error=gone");
            tracing::info!("{}", "ö".repeat(MESSAGE_BYTES_MAX));
            assert_eq!(reader.try_recv().unwrap().message.len(), MESSAGE_BYTES_MAX + 3);
            for _ in 0..2 * LINES_MAX {
                tracing::info!("one of many");
            }
            assert_eq!(
                reader.try_recv(),
                Err(TryRecvError::Lagged(LINES_MAX as u64)),
                "a slow reader costs a bounded queue"
            );
        });
    }
}
