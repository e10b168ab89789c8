//! What a store does after its server was killed, frozen, wiped or set back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::StreamExt as _;
use rustix::process::Signal;
use weir_store::{Change, Expect, LeaseId, Revision, Store, StoreError, Watch};
use weir_tests::stores::{Kind, Server, Setup};

use super::server;

const PATIENCE: Duration = Duration::from_secs(20);

/// Tries until the store answers.
async fn answered<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
}

async fn put(store: &dyn Store, key: &str, value: &'static str) -> Revision {
    let value = Bytes::from_static(value.as_bytes());
    store.put(key, value, Expect::Any, None).await.unwrap()
}

async fn watch(store: &dyn Store, prefix: &str) -> Watch {
    let (_, place) = store.list(prefix).await.unwrap();
    store.watch(prefix, place).await.unwrap()
}

/// The last word of a watch whose store was lost.
async fn last_word(watch: &mut Watch) -> StoreError {
    let word = tokio::time::timeout(PATIENCE, watch.next()).await;
    match word.expect("a loss is noticed in time") {
        Some(Err(error)) => error,
        other => panic!("the store was lost, and the watch says {other:?}"),
    }
}

async fn over_all(check: impl AsyncFn(Server)) {
    for kind in Kind::ALL {
        if let Some(server) = server(kind, Setup::default()) {
            check(server).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_everything_goes_on() {
    over_all(async |mut server| {
        let store = server.connect();
        let first = put(&*store, "a/key", "1").await;
        let lease = store.grant(Duration::from_secs(30)).await.unwrap();
        let leased = Bytes::from_static(b"leased");
        store
            .put("a/leased", leased.clone(), Expect::Absent, Some(&lease))
            .await
            .unwrap();
        let (before, place) = store.list("a/").await.unwrap();
        let mut watching = watch(&*store, "a/").await;
        server.kill();
        let word = last_word(&mut watching).await;
        assert!(matches!(word, StoreError::Unavailable(_)), "{word:?}");
        let refused = store.get("a/key").await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        server.start_again();

        let (after, later) = answered("list", async || store.list("a/").await).await;
        assert_eq!((after, later >= place), (before, true), "{}", server.kind());
        // The lease lives on, and so does what it holds.
        answered("renew", async || store.renew(&lease).await).await;
        let second = put(&*store, "a/key", "2").await;
        assert!(second > first, "{}: revisions go on", server.kind());
        let late = store.put("a/key", Bytes::new(), Expect::At(first), None).await;
        assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
        let mut watching = store.watch("a/", later).await.unwrap();
        let told = watching.next().await.unwrap().unwrap();
        assert!(
            matches!(&told, Change::Put(entry) if entry.key == "a/key" && entry.revision == second),
            "{told:?}"
        );
        store.revoke(&lease).await.unwrap();
        assert_eq!(store.get("a/leased").await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_store_says_so_and_no_removals() {
    over_all(async |mut server| {
        let store = server.connect();
        for number in 0..50 {
            put(&*store, &format!("a/{number}"), "1").await;
        }
        let lease = store.grant(Duration::from_secs(30)).await.unwrap();
        let (_, place) = store.list("a/").await.unwrap();
        let mut watching = watch(&*store, "a/").await;
        server.wipe();
        server.start_again();
        let word = last_word(&mut watching).await;
        assert!(
            matches!(word, StoreError::Unavailable(_) | StoreError::Compacted),
            "{}: {word:?}",
            server.kind()
        );
        from_before(&server, &store, place, &lease).await;
        let (entries, _) = answered("list", async || store.list("a/").await).await;
        assert!(entries.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_set_back_says_so() {
    over_all(async |mut server| {
        let store = server.connect();
        put(&*store, "a/old", "1").await;
        let backup = server.back_up();
        for number in 0..50 {
            answered("put", async || {
                let key = format!("a/{number}");
                store.put(&key, Bytes::new(), Expect::Any, None).await
            })
            .await;
        }
        let lease = store.grant(Duration::from_secs(30)).await.unwrap();
        let (_, place) = store.list("a/").await.unwrap();
        let mut watching = watch(&*store, "a/").await;
        server.set_back(&backup);
        server.start_again();
        let word = last_word(&mut watching).await;
        assert!(
            matches!(word, StoreError::Unavailable(_) | StoreError::Compacted),
            "{}: {word:?}",
            server.kind()
        );
        from_before(&server, &store, place, &lease).await;
        let keys = answered("keys", async || store.keys("a/").await).await;
        assert_eq!(keys, ["a/old"]);
    })
    .await;
}

/// A watch from a place that the store does not know any more must read anew, and a lease of before is over.
async fn from_before(server: &Server, store: &Arc<dyn Store>, place: Revision, lease: &LeaseId) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let outcome = match store.watch("a/", place).await {
            Ok(mut watch) => tokio::time::timeout(PATIENCE, watch.next())
                .await
                .unwrap()
                .unwrap(),
            Err(error) => Err(error),
        };
        match outcome {
            Err(StoreError::Compacted) => break,
            // Connections of before are still found dead, one after the other.
            Err(StoreError::Unavailable(_)) if Instant::now() < deadline => {}
            other => panic!("{}: {other:?}", server.kind()),
        }
    }
    let renewed = async {
        loop {
            match store.renew(lease).await {
                Err(StoreError::Unavailable(_)) => {}
                outcome => return outcome,
            }
        }
    };
    let renewed = tokio::time::timeout(PATIENCE, renewed).await.unwrap();
    assert!(
        matches!(renewed, Err(StoreError::LeaseLost)),
        "{}: {renewed:?}",
        server.kind()
    );
}

/// A server that takes connections and says nothing is noticed, by requests and by watches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_noticed() {
    over_all(async |server| {
        let store = server.connect();
        put(&*store, "a/key", "1").await;
        let mut watching = watch(&*store, "a/").await;
        server.signal(Signal::STOP);
        // A moment passes until its last thread stands still.
        let deadline = Instant::now() + PATIENCE;
        let (place, took) = loop {
            let asked = Instant::now();
            let place = store.place("a/key").await;
            if place.is_err() || asked > deadline {
                break (place, asked.elapsed());
            }
        };
        server.signal(Signal::CONT);
        assert!(matches!(place, Err(StoreError::Unavailable(_))), "{place:?}");
        assert!(took < Duration::from_secs(5), "{}: {took:?}", server.kind());
        // What comes then is told: by this watch, or by one that begins anew after its last word.
        let written = answered("put", async || {
            store.put("a/key", Bytes::new(), Expect::Any, None).await
        })
        .await;
        let told = tokio::time::timeout(PATIENCE, watching.next()).await.unwrap();
        match told {
            Some(Ok(change)) => assert_eq!(change.revision(), written),
            Some(Err(StoreError::Unavailable(_))) => {}
            other => panic!("{}: {other:?}", server.kind()),
        }
    })
    .await;
}
