//! Pauses between attempts to reach a store.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// First pause.
const FIRST: Duration = Duration::from_millis(100);
/// Longest pause.
const MAX: Duration = Duration::from_secs(1);

/// Pauses that double from 100 ms to 1 s, each cut by up to a half at random: many agents that lost one
/// store do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    random: RandomState,
    count: u64,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self {
            pause: FIRST,
            random: RandomState::new(),
            count: 0,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.pause = FIRST;
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        self.count = self.count.wrapping_add(1);
        let parts = u32::try_from(self.random.hash_one(self.count) % 512).unwrap_or(0);
        let pause = self.pause * (512 + parts) / 1024;
        self.pause = (self.pause * 2).min(MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, FIRST, MAX};

    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew() {
        let mut backoff = Backoff::new();
        let mut expected = FIRST;
        for _ in 0..20 {
            let pause = backoff.next();
            assert!(
                expected / 2 <= pause && pause < expected,
                "{pause:?} of {expected:?}"
            );
            expected = (expected * 2).min(MAX);
        }
        assert_eq!(expected, MAX);
        backoff.reset();
        assert!(backoff.next() < FIRST);
    }
}
