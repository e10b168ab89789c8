//! What a snapshot costs until workers can serve by it.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up must stop")]

use std::sync::Arc;

use divan::Bencher;
use weir_benches::{gateway, snapshot};
use weir_model::{Generation, Snapshot};
use weir_proxy::internals::Compiling;

const GATEWAYS: u16 = 10_000;
const ROUTES: usize = 4;

fn main() {
    divan::main();
}

/// The first table of a process.
#[divan::bench(args = [1, 100, GATEWAYS], sample_count = 10, sample_size = 1)]
fn all(bencher: Bencher<'_, '_>, gateways: u16) {
    let snapshot = snapshot(gateways, ROUTES, 1);
    bencher
        .with_inputs(|| Compiling::new().unwrap())
        .bench_local_refs(|compiling| compiling.apply(&snapshot));
}

/// One gateway among many differs: the rest is compared and shared.
#[divan::bench(args = [1, 100, GATEWAYS], sample_count = 10, sample_size = 1)]
fn one_changed(bencher: Bencher<'_, '_>, gateways: u16) {
    let before = snapshot(gateways, ROUTES, 1);
    let changed = {
        let mut all = before.gateways().to_vec();
        let last = gateways - 1;
        all[usize::from(last)] = Arc::new(gateway(&format!("gateway{last}"), 10_000 + last, &[None, None]));
        Snapshot::new_shared("bench", Generation(2), all).unwrap()
    };
    let mut compiling = Compiling::new().unwrap();
    let mut is_changed = false;
    bencher
        .with_inputs(|| {
            is_changed = !is_changed;
            is_changed
        })
        .bench_local_values(|is_changed| compiling.apply(if is_changed { &changed } else { &before }));
}

/// What an agent does before that: check and digest.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn read_from_the_wire(bencher: Bencher<'_, '_>) {
    let bytes = weir_model::wire::v1::write(&snapshot(GATEWAYS, ROUTES, 1));
    bencher.bench_local(|| {
        weir_model::wire::v1::read(&bytes)
            .unwrap()
            .snapshot
            .gateways()
            .len()
    });
}
