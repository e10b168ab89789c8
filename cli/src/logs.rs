//! Log output of the processes that run parts of Weir here.

use tracing_subscriber::EnvFilter;

/// Logs to standard error. The variable `WEIR_LOG` (`info`, `weir_control=debug`, ...) wins over `level`.
pub(crate) fn init(level: &str) {
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    // A second initialisation (tests in one process) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
}
