//! Ends the process at a chosen step, for tests of what a crash leaves behind.
//!
//! In builds with debug assertions the variable `WEIR_ABORT_AT_STEP` says at which step (1 is the first) the process
//! ends without any farewell, as if it were killed. In all other builds nothing of this is there.

/// Environment variable with the number of the step.
#[cfg(debug_assertions)]
const VARIABLE: &str = "WEIR_ABORT_AT_STEP";

/// Passes a step: something was just done, or is about to be.
#[cfg(debug_assertions)]
pub(crate) fn step(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static LAST: OnceLock<Option<u64>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let last = LAST.get_or_init(|| std::env::var(VARIABLE).ok()?.parse().ok());
    if let Some(last) = last
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *last
    {
        tracing::error!(step = last, name, "ends here, as it was told to");
        std::process::abort();
    }
}

/// Passes a step: nothing.
#[cfg(not(debug_assertions))]
pub(crate) fn step(_name: &str) {}
