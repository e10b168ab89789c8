//! A latency distribution that one thread records and any thread reads, without locks.
//!
//! The layout is that of a high dynamic range histogram (Gil Tene, HdrHistogram) with two significant
//! decimal digits from 1 µs to over 1 h: 256 values of one microsecond each, then 128 per power of two. The
//! crate of that name cannot be written by one thread while another reads, so the hot half is
//! here and a test holds it against the crate. Octaves are allocated when first used: a route whose requests take similar times
//! costs a few kilobytes.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use weir_model::LatencyCounts;

const HALF_BITS: u32 = 7;
const HALF: usize = 1 << HALF_BITS;
/// Octave 0 holds 0..128, octave 1 128..256, each with steps of 1 µs; octave k steps of 2^(k-1) µs.
const OCTAVES: usize = 27;
/// Longer times count as this.
const VALUE_MAX_US: u64 = 3_600_000_000;

type Octave = [AtomicU64; HALF];

/// Written by one worker, read by any thread.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    octaves: [OnceLock<Box<Octave>>; OCTAVES],
}

const fn place(value_us: u64) -> (usize, usize) {
    let value = if value_us > VALUE_MAX_US {
        VALUE_MAX_US
    } else {
        value_us
    };
    if value < HALF as u64 {
        #[expect(clippy::cast_possible_truncation, reason = "below 128")]
        return (0, value as usize);
    }
    let magnitude = 63 - value.leading_zeros() - HALF_BITS;
    #[expect(clippy::cast_possible_truncation, reason = "below 256")]
    let step = (value >> magnitude) as usize;
    (magnitude as usize + 1, step - HALF)
}

const fn highest_value(octave: usize, step: usize) -> u64 {
    if octave == 0 {
        return step as u64;
    }
    let magnitude = octave - 1;
    (((step + HALF) as u64 + 1) << magnitude) - 1
}

impl Latency {
    /// Counts one request. Only the owning worker calls this.
    pub(crate) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let (octave, step) = place(us);
        let Some(octave) = self.octaves.get(octave) else {
            return;
        };
        let counts = octave.get_or_init(|| Box::new([const { AtomicU64::new(0) }; HALF]));
        if let Some(count) = counts.get(step) {
            super::add(count, 1);
        }
    }

    /// Adds what was counted to `total`.
    pub(crate) fn read_into(&self, total: &mut LatencyCounts) {
        let mut seen = Vec::new();
        for (octave, counts) in self.octaves.iter().enumerate() {
            let Some(counts) = counts.get() else { continue };
            for (step, count) in counts.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    seen.push((highest_value(octave, step), count));
                }
            }
        }
        total.add(&LatencyCounts(seen));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use weir_model::LatencyCounts;

    use super::{Latency, VALUE_MAX_US};

    proptest! {
        #[test]
        fn agrees_with_the_crate(values in proptest::collection::vec(0u64..VALUE_MAX_US, 1..200)) {
            let latency = Latency::default();
            let mut oracle = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 32, 2).expect("bounds");
            for value in &values {
                latency.record(Duration::from_micros(*value));
                oracle.record(*value).expect("in bounds");
            }
            let mut counts = LatencyCounts::default();
            latency.read_into(&mut counts);
            let expected: Vec<(u64, u64)> = oracle
                .iter_recorded()
                .map(|step| (oracle.highest_equivalent(step.value_iterated_to()), step.count_at_value()))
                .collect();
            prop_assert_eq!(counts.0, expected);
        }
    }

    #[test]
    fn what_is_longer_than_the_longest_counts_as_that() {
        let latency = Latency::default();
        latency.record(Duration::from_secs(1_000_000));
        let mut counts = LatencyCounts::default();
        latency.read_into(&mut counts);
        assert_eq!(counts.total(), 1);
        assert!(counts.0[0].0 >= VALUE_MAX_US);
    }
}
