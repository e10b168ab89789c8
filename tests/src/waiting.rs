//! Waiting with a bound.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Looks again and again until there is something.
///
/// # Panics
/// If there is nothing after `at_most`; `what` says what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, at_most: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + at_most;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {at_most:?}: {what}");
        thread::sleep(LOOK);
    }
}
