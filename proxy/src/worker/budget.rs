//! How many retries a worker may still make.

use std::cell::Cell;

use crate::config::RetryBudget;

/// What a retry costs, so that hundredths of one can be counted.
const RETRY: u64 = 100;
/// Seconds whose allowance can be saved up.
const SAVED_SECONDS: u64 = 10;

/// A bucket: each request and each second put something in, each retry takes [`RETRY`] out.
#[derive(Debug)]
pub(crate) struct Budget {
    per_request: u64,
    per_second: u64,
    full: u64,
    left: Cell<u64>,
    filled_at_ms: Cell<u64>,
}

impl Budget {
    pub(crate) fn new(config: RetryBudget) -> Self {
        let per_second = u64::from(config.per_second) * RETRY;
        let per_request = u64::from(config.percent);
        // At least one request's worth and one retry, else nothing could ever be saved for one.
        let full = (per_second * SAVED_SECONDS).max(if per_request > 0 { RETRY + per_request } else { 0 });
        Self {
            per_request,
            per_second,
            full,
            left: Cell::new(full),
            filled_at_ms: Cell::new(0),
        }
    }

    /// A request came.
    pub(crate) fn request(&self) {
        self.left.set((self.left.get() + self.per_request).min(self.full));
    }

    /// Takes a retry out, if there is one.
    pub(crate) fn take(&self, now_ms: u64) -> bool {
        let passed = now_ms.saturating_sub(self.filled_at_ms.get());
        let gained = passed.min(SAVED_SECONDS * 1_000) * self.per_second / 1_000;
        // Parts that round down to nothing are not lost: the clock is only moved when something was gained.
        if gained > 0 {
            self.filled_at_ms.set(now_ms);
            self.left.set((self.left.get() + gained).min(self.full));
        }
        match self.left.get().checked_sub(RETRY) {
            Some(left) => {
                self.left.set(left);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use crate::config::RetryBudget;

    fn taken(budget: &Budget, now_ms: u64) -> usize {
        (0..10_000).take_while(|_| budget.take(now_ms)).count()
    }

    #[test]
    fn retries_are_a_share_of_requests_and_some_each_second() {
        let budget = Budget::new(RetryBudget {
            percent: 20,
            per_second: 10,
        });
        assert_eq!(
            taken(&budget, 0),
            100,
            "what ten seconds give is there at the start"
        );
        for _ in 0..50 {
            budget.request();
        }
        assert_eq!(taken(&budget, 0), 10);
        assert_eq!(taken(&budget, 500), 5);
        assert_eq!(taken(&budget, 3_600_000), 100, "and no more is saved");
    }

    #[test]
    fn nothing_allowed_is_nothing() {
        let budget = Budget::new(RetryBudget {
            percent: 0,
            per_second: 0,
        });
        budget.request();
        assert_eq!(taken(&budget, 10_000), 0);
    }
}
