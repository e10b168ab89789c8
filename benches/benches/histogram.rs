//! What it costs to count a request's latency, and to read what was counted.

use std::time::Duration;

use divan::{Bencher, black_box};
use weir_proxy::internals::Histogram;

fn main() {
    divan::main();
}

#[divan::bench(args = [50, 5_000, 5_000_000])]
fn record(bencher: Bencher<'_, '_>, us: u64) {
    let histogram = Histogram::default();
    let took = Duration::from_micros(us);
    bencher.bench_local(|| histogram.record(black_box(took)));
}

#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let histogram = Histogram::default();
    for us in 0..100_000 {
        histogram.record(Duration::from_micros(us));
    }
    bencher.bench_local(|| histogram.counts());
}
