//! Exact shares without state but one counter.
//!
//! The share of a route is not drawn: request number `n` of a decision belongs to a route by arithmetic
//! alone. The first route takes the numbers at which `floor((n + 1) * weight / total)` steps up (Bresenham's
//! line), the rest is numbered anew for the routes that follow. So any `total / gcd` consecutive requests are
//! split exactly, any shorter run is within one request of its share at each level, and a counter shared by all workers
//! is all that is needed: no table, whatever the weights.

/// Weights of one decision, reduced to their smallest whole numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// (index of the route, its weight, total of this and the following ones); weights over zero only.
    steps: Box<[Step]>,
    total: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    index: u16,
    weight: u32,
    rest: u32,
}

impl Schedule {
    /// `None` if every weight is zero.
    pub(crate) fn new(weights: impl IntoIterator<Item = u16>) -> Option<Self> {
        let mut steps: Vec<Step> = weights
            .into_iter()
            .zip(0..=u16::MAX)
            .filter(|(weight, _)| *weight > 0)
            .map(|(weight, index)| Step {
                index,
                weight: u32::from(weight),
                rest: 0,
            })
            .collect();
        let common = steps.iter().fold(0, |common, step| gcd(common, step.weight));
        if common == 0 {
            return None;
        }
        let mut rest = 0;
        for step in steps.iter_mut().rev() {
            step.weight /= common;
            rest += step.weight;
            step.rest = rest;
        }
        Some(Self {
            steps: steps.into(),
            total: rest,
        })
    }

    /// The route of request number `n`.
    pub(crate) fn at(&self, n: u64) -> u16 {
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below a u32")]
        let mut n = (n % u64::from(self.total)) as u32;
        for step in &self.steps {
            // Weights total at most 65535 * 65535 / gcd; real ones 10 000: the products stay far below 2^64.
            let before = u64::from(n) * u64::from(step.weight) / u64::from(step.rest);
            let after = (u64::from(n) + 1) * u64::from(step.weight) / u64::from(step.rest);
            if after > before {
                return step.index;
            }
            #[expect(clippy::cast_possible_truncation, reason = "not above n")]
            {
                n -= before as u32;
            }
        }
        debug_assert!(false, "the last step takes every number");
        self.steps.last().map_or(0, |step| step.index)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Schedule;

    fn counts(schedule: &Schedule, from: u64, requests: u64, routes: usize) -> Vec<u64> {
        let mut counts = vec![0; routes];
        for n in from..from + requests {
            counts[usize::from(schedule.at(n))] += 1;
        }
        counts
    }

    #[test]
    fn eighty_twenty_is_exact_in_any_fifty() {
        let schedule = Schedule::new([8_000, 2_000]).expect("weights");
        for from in 0..100 {
            assert_eq!(counts(&schedule, from, 50, 2), [40, 10], "from {from}");
        }
    }

    #[test]
    fn a_zero_weight_gets_nothing_and_all_zero_is_no_schedule() {
        let schedule = Schedule::new([0, 10_000, 0]).expect("weights");
        assert_eq!(counts(&schedule, 7, 1_000, 3), [0, 1_000, 0]);
        assert_eq!(Schedule::new([0, 0]), None);
        assert_eq!(Schedule::new([]), None);
    }

    proptest! {
        #[test]
        fn every_full_period_is_exact_wherever_it_begins(
            parts in proptest::collection::vec(0u16..500, 1..6),
            from in 0u64..10_000,
        ) {
            let total: u64 = parts.iter().map(|w| u64::from(*w)).sum();
            prop_assume!(total > 0);
            let schedule = Schedule::new(parts.iter().copied()).expect("some weight");
            let expected: Vec<u64> = parts.iter().map(|w| u64::from(*w)).collect();
            prop_assert_eq!(counts(&schedule, from, total, parts.len()), expected);
        }

        #[test]
        fn short_runs_stay_close(
            parts in proptest::collection::vec(1u16..2_000, 2..6),
            from in 0u64..10_000,
            length in 1u64..1_000,
        ) {
            let total: u64 = parts.iter().map(|w| u64::from(*w)).sum();
            let schedule = Schedule::new(parts.iter().copied()).expect("some weight");
            for (count, part) in counts(&schedule, from, length, parts.len()).iter().zip(&parts) {
                let exact = length as f64 * f64::from(*part) / total as f64;
                prop_assert!((*count as f64 - exact).abs() < parts.len() as f64, "{} for {}", count, exact);
            }
        }
    }
}
