//! Several controls on one real store: one leads, another takes over when it dies or freezes, and never do two write.
//!
//! Each store has a test of its own; they run at the same time. What was measured is printed. A store, PostgreSQL or HAProxy
//! that is not installed is a skip, in CI a failure.
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

mod control;
mod history;
mod others;
mod own;
mod shared;

use weir_tests::{
    postgres::Postgres,
    stores::{Kind, Server, Setup},
};

/// Controls on a shared database and controls with databases of their own, on one store of this kind.
async fn leaders(kind: Kind) {
    let Some(server) = Server::start(kind, Setup::default()) else {
        eprintln!("skipped: {kind} is not installed");
        return;
    };
    let Some(database) = Postgres::start() else {
        return;
    };
    // In namespaces of their own. None of them touches the server itself.
    let ((), (), shared) = tokio::join!(
        own::storage_of_its_own(&server),
        others::what_others_read(&server),
        shared::elections(&server, &database),
    );
    shared::outages(server, shared).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd() {
    leaders(Kind::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul() {
    leaders(Kind::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper() {
    leaders(Kind::ZooKeeper).await;
}
