//! What it costs to find a request's way: gateway, conditions, weights, instance.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up must stop")]

use std::net::SocketAddr;

use divan::{Bencher, black_box};
use weir_benches::{gateway, requests::Browser, snapshot};
use weir_model::{Gateway, GatewayName, Generation, Snapshot, Target, Weight};
use weir_proxy::internals::{Chooser, Compiling};

fn main() {
    divan::main();
}

fn chooser(snapshot: &Snapshot) -> Chooser {
    let mut compiling = Compiling::new().unwrap();
    compiling.apply(snapshot);
    compiling.chooser(SocketAddr::from(([127, 0, 0, 1], 10_000)))
}

fn sound(gateways: Vec<Gateway>) -> Snapshot {
    Snapshot::new("bench", Generation(1), gateways).unwrap()
}

/// By weight, one of so many gateways.
#[divan::bench(args = [1, 10_000])]
fn among_gateways(bencher: Bencher<'_, '_>, gateways: u16) {
    let chooser = chooser(&snapshot(gateways, 4, 1));
    bencher.bench_local(|| chooser.choose(black_box(&Browser)).unwrap());
}

/// So many conditions that do not match, then the weights.
#[divan::bench(args = [0, 10, 100])]
fn after_conditions(bencher: Bencher<'_, '_>, conditions: usize) {
    let texts: Vec<Option<String>> = (0..conditions)
        .map(|index| Some(format!("header X-Release has {index}")))
        .chain([None])
        .collect();
    let mut gateway = gateway("g", 10_000, &texts);
    for (route, text) in gateway.routes.iter_mut().zip(&texts) {
        route.weight = if text.is_none() {
            Weight::FULL
        } else {
            Weight::ZERO
        };
    }
    let chooser = chooser(&sound(vec![gateway]));
    assert_eq!(
        chooser.choose(&Browser).unwrap(),
        (1, u16::try_from(conditions).unwrap())
    );
    bencher.bench_local(|| chooser.choose(black_box(&Browser)).unwrap());
}

/// Through so many gateways, one leading to the next.
#[divan::bench(args = [1, 3, 8])]
fn chained(bencher: Bencher<'_, '_>, levels: u16) {
    let gateways = (0..levels)
        .map(|level| {
            let mut gateway = gateway(&format!("level{level}"), 10_000 + level, &[None]);
            if level + 1 < levels {
                gateway.routes[0].target =
                    Target::Gateway(GatewayName::new(format!("level{}", level + 1)).unwrap());
            }
            gateway
        })
        .collect();
    let chooser = chooser(&sound(gateways));
    assert_eq!(chooser.choose(&Browser).unwrap().0, usize::from(levels));
    bencher.bench_local(|| chooser.choose(black_box(&Browser)).unwrap());
}
