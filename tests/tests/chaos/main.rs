//! Outages of stores under traffic: requests and WebSockets must not notice, changes must arrive afterwards.
//!
//! For each store a world of its own (server, control's publisher, an agent as a process, traffic), and one scenario
//! after the other; the stores run at the same time. What was measured is printed as a table (`docs/reliability.md`).
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
mod dying;
mod report;
mod scenarios;
mod traffic;
mod world;

use weir_tests::stores::Kind;
use world::World;

async fn chaos(kind: Kind) {
    let Some(world) = World::new(kind).await else {
        eprintln!("skipped: {kind} is not installed");
        return;
    };
    Box::pin(scenarios::all(world)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd() {
    chaos(Kind::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul() {
    chaos(Kind::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper() {
    chaos(Kind::ZooKeeper).await;
}
