use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Remote, serve};
use crate::{Expect, Revision, Store, StoreError, memory::Memory};

const PATIENCE: Duration = Duration::from_secs(20);

struct Served {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), StoreError>>,
}

async fn served_at(address: &str, store: Arc<dyn Store>) -> Served {
    let listener = TcpListener::bind(address).await.unwrap();
    let shutdown = CancellationToken::new();
    Served {
        address: listener.local_addr().unwrap(),
        task: tokio::spawn(serve(listener, store, shutdown.clone())),
        shutdown,
    }
}

impl Served {
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_loss_is_told_and_the_next_use_connects_again() {
    let memory: Arc<dyn Store> = Arc::new(Memory::new());
    let served = served_at("127.0.0.1:0", Arc::clone(&memory)).await;
    let address = served.address;
    let remote = Remote::connect(address).await.unwrap();
    remote
        .put("a", Bytes::from_static(b"1"), Expect::Any, None)
        .await
        .unwrap();
    let mut watch = remote.watch("", Revision(0)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().key(), "a");
    served.stop().await;
    let lost = timeout(PATIENCE, watch.next()).await.unwrap();
    assert!(matches!(lost, Some(Err(StoreError::Unavailable(_)))), "{lost:?}");
    assert!(watch.next().await.is_none());
    let away = remote.get("a").await;
    assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");

    let served = served_at(&address.to_string(), memory).await;
    assert_eq!(remote.get("a").await.unwrap().unwrap().value, &b"1"[..]);
    served.stop().await;
}

#[tokio::test]
async fn a_watch_that_is_dropped_ends_on_the_other_side_too() {
    let served = served_at("127.0.0.1:0", Arc::new(Memory::new())).await;
    let remote = Remote::connect(served.address).await.unwrap();
    // More than a connection may have at once.
    for _ in 0..1500 {
        drop(remote.watch("x", Revision(0)).await.unwrap());
    }
    served.stop().await;
}

#[tokio::test]
async fn strange_bytes_end_their_connection_only() {
    let served = served_at("127.0.0.1:0", Arc::new(Memory::new())).await;
    let remote = Remote::connect(served.address).await.unwrap();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 2, b'?', b'?'],
        &[255; 8],
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
        let _ = timeout(PATIENCE, ended).await.expect("the server ends it");
        assert!(rest.is_empty());
    }
    assert_eq!(remote.get("a").await.unwrap(), None);
    served.stop().await;
}

#[tokio::test]
async fn a_store_is_served_on_loopback_only() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve(listener, Arc::new(Memory::new()), CancellationToken::new()).await;
    assert!(matches!(refused, Err(StoreError::Unsupported(_))), "{refused:?}");
}

#[tokio::test]
async fn another_service_at_the_address_is_not_waited_for_forever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        stream
    });
    let refused = Remote::connect(address).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    drop(answering.await.unwrap());
}
