//! Outages of stores under traffic: requests and WebSockets must not notice, changes must arrive afterwards.
//!
//! For each store a world of its own (server, control and agent as processes, 2000 requests/s, 50 WebSockets), and one
//! scenario after the other; the stores run at the same time. What was measured is printed as tables
//! (`docs/reliability.md`).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::large_futures,
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    reason = "a test says what it expects, a measurement what it saw"
)]

mod agent;
mod cluster;
mod control;
mod origin;
mod process;
mod report;
mod scenarios;
mod traffic;
mod world;
mod writers;

use std::thread;

use weir_tests::stores::Kind;
use world::{Outside, World};

async fn chaos(kind: Kind) {
    let Some(mut out) = Outside::new(kind).await else {
        eprintln!("skipped: {kind} is not installed");
        return;
    };
    let ways = [out.server.url_at(out.relay.port()), out.server.url()];
    let mut world = World::new(kind.to_string(), ways).await;
    Box::pin(scenarios::all(&mut world, &mut out)).await;
}

/// All stores at the same time, each on a thread of its own: most of the time is waiting. While something is worked on,
/// `WEIR_CHAOS_STORES=etcd,cluster` runs these alone.
#[test]
fn outages_are_not_noticed() {
    let only = std::env::var("WEIR_CHAOS_STORES").unwrap_or_default();
    let is_wanted = |name: &&str| only.is_empty() || only.split(',').any(|wanted| wanted == *name);
    let worlds: Vec<_> = ["etcd", "consul", "zookeeper", "cluster"]
        .into_iter()
        .filter(is_wanted)
        .map(|name| {
            let run = move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    match name {
                        "etcd" => Box::pin(chaos(Kind::Etcd)).await,
                        "consul" => Box::pin(chaos(Kind::Consul)).await,
                        "zookeeper" => Box::pin(chaos(Kind::ZooKeeper)).await,
                        _ => Box::pin(cluster::partitioned()).await,
                    }
                });
            };
            thread::Builder::new().name(name.to_owned()).spawn(run).unwrap()
        })
        .collect();
    let failed: Vec<_> = worlds
        .into_iter()
        .filter_map(|world| {
            let name = world.thread().name().unwrap_or_default().to_owned();
            world.join().is_err().then_some(name)
        })
        .collect();
    assert!(failed.is_empty(), "see above: {failed:?}");
}
