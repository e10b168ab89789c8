//! What a change of one gateway among 10 000 with four routes each costs on its way from publisher to agent, and what it would cost
//! if nothing were remembered.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up must stop")]

use std::sync::Arc;

use divan::Bencher;
use tokio::runtime::Runtime;
use weir_benches::snapshot;
use weir_model::{Gateway, Generation, Snapshot, wire::v1};
use weir_store::{memory::Memory, protocol};

const GATEWAYS: u16 = 10_000;
const ROUTES: usize = 4;
const PREFIX: &str = "bench";

fn main() {
    divan::main();
}

/// The same gateways, one of them with other weights.
fn changed(before: &Snapshot, number: u64) -> Vec<Gateway> {
    let mut gateways: Vec<Gateway> = before
        .gateways()
        .iter()
        .map(|gateway| Gateway::clone(gateway))
        .collect();
    let at = usize::try_from(number * 7919).unwrap() % gateways.len();
    let gateway = gateways.get_mut(at).unwrap();
    gateway.virtual_hosts = vec![format!("{number}.{at}.example")];
    gateways
}

/// Gateways that were lowered anew to a snapshot.
#[divan::bench(args = [true, false], sample_count = 20, sample_size = 1)]
fn seal(bencher: Bencher<'_, '_>, knowing: bool) {
    let before = snapshot(GATEWAYS, ROUTES, 1);
    let mut number = 1;
    bencher
        .with_inputs(|| {
            number += 1;
            changed(&before, number)
        })
        .bench_local_values(|gateways| {
            if knowing {
                Snapshot::sound_part_after(&before, "bench", Generation(2), gateways).0
            } else {
                Snapshot::sound_part("bench", Generation(2), gateways).0
            }
        });
}

/// Packs and writes to a store in memory.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn publish(bencher: Bencher<'_, '_>) {
    let runtime = Runtime::new().unwrap();
    let store = Memory::new();
    let mut last = snapshot(GATEWAYS, ROUTES, 1);
    let mut place = runtime
        .block_on(protocol::publish(&store, PREFIX, &last, None))
        .unwrap();
    let mut number = 1;
    bencher
        .with_inputs(|| {
            number += 1;
            let gateways = changed(&last, number);
            last = Snapshot::sound_part_after(&last, "bench", Generation(number), gateways).0;
            last.clone()
        })
        .bench_local_values(|snapshot| {
            place = runtime
                .block_on(protocol::publish(&store, PREFIX, &snapshot, Some(place)))
                .unwrap();
        });
}

/// Reads from a store in memory, parses, checks.
#[divan::bench(args = [true, false], sample_count = 20, sample_size = 1)]
fn read(bencher: Bencher<'_, '_>, knowing: bool) {
    let runtime = Runtime::new().unwrap();
    let store = Arc::new(Memory::new());
    let mut last = snapshot(GATEWAYS, ROUTES, 1);
    let mut place = runtime
        .block_on(protocol::publish(&*store, PREFIX, &last, None))
        .unwrap();
    let mut readers = (protocol::Reader::new(), v1::Reader::default());
    let mut read = |knowing: bool| {
        if !knowing {
            readers = (protocol::Reader::new(), v1::Reader::default());
        }
        let published = runtime
            .block_on(readers.0.read(&*store, PREFIX))
            .unwrap()
            .unwrap();
        readers.1.read(&published.document).unwrap().snapshot
    };
    read(false);
    let mut number = 1;
    bencher
        .with_inputs(|| {
            number += 1;
            let gateways = changed(&last, number);
            last = Snapshot::sound_part_after(&last, "bench", Generation(number), gateways).0;
            place = runtime
                .block_on(protocol::publish(&*store, PREFIX, &last, Some(place)))
                .unwrap();
        })
        .bench_local_values(|()| read(knowing));
}
