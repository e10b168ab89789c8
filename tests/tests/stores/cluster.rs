//! Three nodes of etcd: one is killed, one is cut off.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use rustix::process::Signal;
use weir_store::{Expect, StoreError};
use weir_tests::stores::Cluster;

/// Tries as long as an election may take.
async fn soon<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let deadline = Instant::now() + Cluster::ELECTION_MAX * 3;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if Instant::now() > deadline => panic!("{what}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_can_be_killed_or_cut_off() {
    let Some(mut cluster) = Cluster::start() else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "etcd is not installed"
        );
        eprintln!("skipped: etcd is not installed");
        return;
    };
    let store = weir_store::connect(&cluster.url()).unwrap();
    let counter = "a/counter";
    soon("the cluster serves", async || {
        store
            .put(counter, Bytes::from_static(b"0"), Expect::Any, None)
            .await
    })
    .await;
    let mut expected = 0u64;
    for round in 0..4 {
        let node = round % 3;
        if round % 2 == 0 {
            cluster.kill(node);
        } else {
            cluster.signal(node, Signal::STOP);
        }
        // Compare-and-set over the loss: what was written once is never lost, nor written twice.
        for _ in 0..5 {
            let entry = soon("read", async || store.get(counter).await).await.unwrap();
            let count: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
            assert_eq!(count, expected, "round {round}");
            let value = Bytes::from((count + 1).to_string());
            match store.put(counter, value, Expect::At(entry.revision), None).await {
                Ok(_) => expected += 1,
                // It was written or not; the next reading tells.
                Err(StoreError::Unavailable(_)) => {
                    let entry = soon("read", async || store.get(counter).await).await.unwrap();
                    expected = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                    assert!(expected == count || expected == count + 1);
                }
                Err(error) => panic!("round {round}: {error}"),
            }
        }
        // A watch that begins now works without the node.
        let (_, place) = soon("list", async || store.list("a/").await).await;
        let mut watch = soon("watch", async || store.watch("a/", place).await).await;
        let written = soon("put", async || {
            store.put("a/other", Bytes::new(), Expect::Any, None).await
        })
        .await;
        let told = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
        assert!(told.unwrap().unwrap().unwrap().revision() <= written);
        if round % 2 == 0 {
            cluster.start_again(node);
        } else {
            cluster.signal(node, Signal::CONT);
        }
        let alone = weir_store::connect(&cluster.url_of(node)).unwrap();
        soon("the node is back", async || alone.place(counter).await).await;
    }
    // Without a majority nothing is answered, and nothing is made up.
    cluster.kill(0);
    cluster.kill(1);
    let refused = store.get(counter).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
}
