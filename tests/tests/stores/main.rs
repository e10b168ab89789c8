//! The rules of stores against real servers: etcd, Consul and ZooKeeper, in clear, with TLS and credentials, over
//! restarts, wipes and backups. A server that is not installed is a skip, in CI a failure.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what it expects, and what it skips"
)]

mod access;
mod checks;
mod cluster;
mod history;
mod outage;

use weir_store::conformance;
use weir_tests::stores::{Kind, Server, Setup};

/// A server, or a word that there is none.
fn server(kind: Kind, setup: Setup) -> Option<Server> {
    let server = Server::start(kind, setup);
    if server.is_none() {
        eprintln!("skipped: {kind} is not installed");
    }
    server
}

async fn conforms(kind: Kind, setup: Setup) {
    let Some(server) = server(kind, setup) else { return };
    conformance::all(server.connect()).await;
}

const GUARDED: Setup = Setup {
    tls: true,
    auth: true,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_conforms() {
    conforms(Kind::Etcd, Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_conforms() {
    conforms(Kind::Consul, Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_conforms() {
    conforms(Kind::ZooKeeper, Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_conforms_with_tls_and_users() {
    conforms(Kind::Etcd, GUARDED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_conforms_with_tls_and_tokens() {
    conforms(Kind::Consul, GUARDED).await;
}

/// In a chroot besides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_conforms_with_tls_and_digests() {
    let Some(server) = server(Kind::ZooKeeper, GUARDED) else {
        return;
    };
    let url = server.url().replace('?', "/a/chroot?");
    conformance::all(weir_store::connect(&url).unwrap()).await;
    let outside = server.connect().keys("").await.unwrap();
    assert!(
        outside
            .iter()
            .all(|key| key.starts_with("a/chroot/") || key.starts_with("zookeeper")),
        "{outside:?}"
    );
}
