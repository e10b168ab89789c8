//! What a change costs a running proxy, from the snapshot to the pointer that workers read: compiling, sockets, the pointer,
//! health checks told, figures of what left, and the table before let go of.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up must stop")]

use std::sync::Arc;

use divan::Bencher;
use tokio::runtime::Runtime;
use weir_benches::{gateway, snapshot};
use weir_model::{Gateway, Generation, Snapshot};
use weir_proxy::{Config, Proxy};

const ROUTES: usize = 4;

fn main() {
    divan::main();
}

/// Gateways that are reached by their host names: no sockets, so that any machine can run it.
fn hosted(gateways: u16) -> Vec<Arc<Gateway>> {
    let mut all = snapshot(gateways, ROUTES, 1).gateways().to_vec();
    for gateway in &mut all {
        Arc::make_mut(gateway).listener = None;
    }
    all
}

fn sealed(gateways: Vec<Arc<Gateway>>, generation: u64) -> Snapshot {
    Snapshot::new_shared("bench", Generation(generation), gateways).unwrap()
}

/// A proxy that serves the first of two snapshots, and applies one after the other.
fn alternating(bencher: Bencher<'_, '_>, snapshots: [Snapshot; 2]) {
    let runtime = Runtime::new().unwrap();
    let config = Config {
        workers: 2,
        health: None,
        ..Config::default()
    };
    let proxy = Proxy::start(config).unwrap();
    runtime.block_on(proxy.apply(&snapshots[0]));
    let mut next = 0;
    bencher
        .with_inputs(|| {
            next = 1 - next;
            next
        })
        .bench_local_values(|next| runtime.block_on(proxy.apply(&snapshots[next])));
}

/// The weights of one gateway change.
#[divan::bench(args = [100, 1_000, 10_000], sample_count = 50, sample_size = 1)]
fn one_changes(bencher: Bencher<'_, '_>, gateways: u16) {
    let all = hosted(gateways);
    let mut other = all.clone();
    let middle = usize::from(gateways / 2);
    Arc::make_mut(&mut other[middle]).routes.swap(0, 3);
    alternating(bencher, [sealed(all, 1), sealed(other, 2)]);
}

/// One gateway, with a host name, comes and goes.
#[divan::bench(args = [1_000, 10_000], sample_count = 50, sample_size = 1)]
fn one_comes_and_goes(bencher: Bencher<'_, '_>, gateways: u16) {
    let all = hosted(gateways);
    let mut other = all.clone();
    let mut new = gateway("new", 1, &[None, None]);
    new.listener = None;
    other.insert(usize::from(gateways / 2), Arc::new(new));
    alternating(bencher, [sealed(all, 1), sealed(other, 2)]);
}

/// Nothing changes, but whoever read the document kept nothing: every gateway is compared.
#[divan::bench(args = [1_000, 10_000], sample_count = 20, sample_size = 1)]
fn nothing_was_kept(bencher: Bencher<'_, '_>, gateways: u16) {
    alternating(
        bencher,
        [sealed(hosted(gateways), 1), sealed(hosted(gateways), 2)],
    );
}
