//! Where histories end: compaction at etcd, no history at Consul and ZooKeeper.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use weir_store::{Expect, Revision, StoreError};
use weir_tests::stores::{Kind, Setup};

use super::server;

/// By etcd's own interface, as its operators and its automatic compaction do.
async fn compact(port: u16, revision: Revision) {
    let answer = reqwest::Client::new()
        .post(format!("http://127.0.0.1:{port}/v3/kv/compaction"))
        .body(format!("{{\"revision\":\"{}\",\"physical\":true}}", revision.0))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_was_compacted_away_must_be_read_anew() {
    let Some(server) = server(Kind::Etcd, Setup::default()) else {
        return;
    };
    let store = server.connect();
    let put = async |number: u32| {
        store
            .put(&format!("a/{number}"), Bytes::new(), Expect::Any, None)
            .await
            .unwrap()
    };
    put(0).await;
    let (_, place) = store.list("a/").await.unwrap();
    let mut live = store.watch("a/", place).await.unwrap();
    let mut last = place;
    for number in 0..20 {
        last = put(number).await;
    }
    compact(server.port(), last).await;
    let outcome = match store.watch("a/", place).await {
        Ok(mut watch) => watch.next().await.unwrap().map(|change| change.revision()),
        Err(error) => Err(error),
    };
    assert!(matches!(outcome, Err(StoreError::Compacted)), "{outcome:?}");
    // Who watched all along has missed nothing.
    for _ in 0..20 {
        live.next().await.unwrap().unwrap();
    }
    let next = put(99).await;
    assert_eq!(live.next().await.unwrap().unwrap().revision(), next);
    let mut from_last = store.watch("a/", last).await.unwrap();
    assert_eq!(from_last.next().await.unwrap().unwrap().revision(), next);
}

/// A watch that waits for one key costs nothing while others are written, and nothing while nothing is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_is_no_busy_loop() {
    let Some(server) = server(Kind::Consul, Setup::default()) else {
        return;
    };
    let store = server.connect();
    // Consul's index of a key that is not there moves with every other key.
    let (_, place) = store.list("not/there").await.unwrap();
    let mut watch = store.watch("not/there", place).await.unwrap();
    let waiting = tokio::spawn(async move { watch.next().await });
    let before = cpu();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        store.put("other", Bytes::new(), Expect::Any, None).await.unwrap();
    }
    let used = cpu() - before;
    // This test's own thirty writes included; a loop would take most of the three seconds.
    assert!(used < Duration::from_millis(1500), "{used:?}");
    let written = store
        .put("not/there", Bytes::new(), Expect::Absent, None)
        .await
        .unwrap();
    let told = tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(told.unwrap().unwrap().revision(), written);
}

/// Processor time of the calling process's present threads.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}
