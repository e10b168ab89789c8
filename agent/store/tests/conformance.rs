//! The suite over every store of this crate that can be written.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_store::{
    conformance,
    embedded::Embedded,
    memory::Memory,
    remote::{Remote, serve},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    conformance::all(Arc::new(Memory::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(&folder.path().join("store.redb")).unwrap();
    conformance::all(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_over_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(&folder.path().join("store.redb")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, Arc::new(store), shutdown.clone()));
    conformance::all(Arc::new(Remote::connect(address).await.unwrap())).await;
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
