//! Log output of the processes that run parts of Weir here.

use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};
use weir_control::LogFeed;

/// What `/logs` shows, whatever standard error does.
const SHOWN: &str = "info";

/// Logs to standard error. The variable `WEIR_LOG` (`info`, `weir_control=debug`, ...) wins over `level`. Answers
/// what the API shows of it.
pub(crate) fn init(level: &str) -> LogFeed {
    let filter = |level| EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let written = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_filter(filter(level));
    let feed = LogFeed::new();
    // A second initialisation (tests in one process) keeps the first.
    let _ = tracing_subscriber::registry()
        .with(written)
        .with(feed.layer().with_filter(filter(SHOWN)))
        .try_init();
    feed
}
