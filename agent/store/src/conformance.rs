//! What every store must do, as one suite: tests of a store call [`all`] with an empty one.
//!
//! Each case works below a prefix of its own and panics with what was expected. Time is the machine's:
//! leases are short, waits have deadlines.
#![expect(
    clippy::unwrap_used,
    reason = "a suite for tests: what fails here fails the test, with its place"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};
use weir_model::{Acknowledgement, AgentId, Generation, Snapshot};

use crate::{
    Change, Entry, Expect, Revision, Store, StoreError, Watch,
    protocol::{self, ProtocolError},
};

/// Longest wait for anything that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Every case.
///
/// # Panics
/// If the store does not behave.
pub async fn all(store: Arc<dyn Store>) {
    let given = &*store;
    reading_and_writing(given, "conformance/kv").await;
    expectations(given, "conformance/expect").await;
    listing(given, "conformance/list").await;
    large_values(given, "conformance/large").await;
    places_and_keys(given, "conformance/places").await;
    watching(given, "conformance/watch").await;
    watching_what_is_not_there(given, "conformance/coming").await;
    watching_without_gap(&store, "conformance/gapless").await;
    compare_and_set_by_many(&store, "conformance/race").await;
    creating_by_many(&store, "conformance/create").await;
    leases(given, "conformance/lease").await;
    publishing(given, "conformance/publish").await;
    publishing_interrupted(given, "conformance/interrupted").await;
    acknowledging(given, "conformance/ack").await;
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn name(prefix: &str, key: &str) -> String {
    format!("{prefix}/{key}")
}

/// The next change of a watch.
async fn next(watch: &mut Watch) -> Result<Change, StoreError> {
    timeout(PATIENCE, watch.next())
        .await
        .expect("a change in time")
        .expect("the watch goes on")
}

/// Waits until a check gives something.
async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// What was written is read; keys and values of unusual form too.
pub async fn reading_and_writing(store: &dyn Store, prefix: &str) {
    let key = name(prefix, "a b/ü/50%25?x=1#y");
    assert_eq!(store.get(&key).await.unwrap(), None);
    let written = store.put(&key, bytes("one"), Expect::Any, None).await.unwrap();
    let entry = store.get(&key).await.unwrap().expect("it was written");
    assert_eq!(
        (&entry.key, &entry.value, entry.revision),
        (&key, &bytes("one"), written)
    );
    let binary = Bytes::from((0..=255u8).collect::<Vec<u8>>());
    let again = store.put(&key, binary.clone(), Expect::Any, None).await.unwrap();
    assert!(again > written, "revisions grow");
    assert_eq!(store.get(&key).await.unwrap().expect("there").value, binary);
    store.put(&key, Bytes::new(), Expect::Any, None).await.unwrap();
    assert_eq!(
        store.get(&key).await.unwrap().expect("empty, but there").value,
        Bytes::new()
    );
    assert!(store.delete(&key, Expect::Any).await.unwrap());
    assert!(
        !store.delete(&key, Expect::Any).await.unwrap(),
        "it was gone already"
    );
    assert_eq!(store.get(&key).await.unwrap(), None);
    for key in ["", "/slash"] {
        let refused = store.put(key, Bytes::new(), Expect::Any, None).await;
        assert!(
            matches!(refused, Err(StoreError::InvalidKey { .. })),
            "{key:?}: {refused:?}"
        );
    }
}

/// A write or removal whose expectation does not hold changes nothing and says what is there.
pub async fn expectations(store: &dyn Store, prefix: &str) {
    let key = name(prefix, "key");
    let conflict = |outcome: StoreError| match outcome {
        StoreError::Conflict { found, .. } => found,
        other => panic!("a conflict was expected, not {other:?}"),
    };
    let at_nothing = Expect::At(Revision(1));
    let refused = store.put(&key, bytes("x"), at_nothing, None).await.unwrap_err();
    assert_eq!(conflict(refused), None);
    let refused = store.delete(&key, at_nothing).await.unwrap_err();
    assert_eq!(conflict(refused), None);
    assert!(!store.delete(&key, Expect::Absent).await.unwrap());

    let first = store.put(&key, bytes("1"), Expect::Absent, None).await.unwrap();
    let refused = store
        .put(&key, bytes("x"), Expect::Absent, None)
        .await
        .unwrap_err();
    assert_eq!(conflict(refused), Some(first));
    let second = store
        .put(&key, bytes("2"), Expect::At(first), None)
        .await
        .unwrap();
    let refused = store
        .put(&key, bytes("x"), Expect::At(first), None)
        .await
        .unwrap_err();
    assert_eq!(conflict(refused), Some(second));
    let refused = store.delete(&key, Expect::At(first)).await.unwrap_err();
    assert_eq!(conflict(refused), Some(second));
    assert_eq!(store.get(&key).await.unwrap().expect("kept").value, bytes("2"));
    assert!(store.delete(&key, Expect::At(second)).await.unwrap());
    let third = store.put(&key, bytes("3"), Expect::Absent, None).await.unwrap();
    assert!(third > second, "a revision is never given twice");
}

/// A listing is in order of keys, of one moment, and of its prefix only; many and large entries too.
pub async fn listing(store: &dyn Store, prefix: &str) {
    assert!(store.list(&name(prefix, "")).await.unwrap().0.is_empty());
    for key in ["b", "a/2", "a/10", "a", "c"] {
        store
            .put(&name(prefix, key), bytes(key), Expect::Any, None)
            .await
            .unwrap();
    }
    store
        .put(&format!("{prefix}-beside"), bytes(""), Expect::Any, None)
        .await
        .unwrap();
    let (entries, revision) = store.list(&name(prefix, "")).await.unwrap();
    let keys: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    assert_eq!(keys, ["a", "a/10", "a/2", "b", "c"].map(|key| name(prefix, key)));
    assert!(entries.iter().all(|entry| entry.revision <= revision));
    let (below, _) = store.list(&name(prefix, "a/")).await.unwrap();
    assert_eq!(below.len(), 2);

    for number in 0..1200 {
        let key = name(prefix, &format!("many/{number:04}"));
        store.put(&key, bytes("m"), Expect::Any, None).await.unwrap();
    }
    let (many, _) = store.list(&name(prefix, "many/")).await.unwrap();
    assert_eq!(many.len(), 1200);
    assert!(many.is_sorted_by(|a, b| a.key < b.key));
}

/// Values up to the limit are whole, longer ones refused.
pub async fn large_values(store: &dyn Store, prefix: &str) {
    let bytes_max = store.capabilities().value_bytes_max;
    let pattern: Vec<u8> = (0..bytes_max).map(|at| (at * 31 % 251) as u8).collect();
    for number in 0..6 {
        let value = Bytes::from(pattern.clone());
        store
            .put(&name(prefix, &number.to_string()), value, Expect::Any, None)
            .await
            .unwrap();
    }
    let (entries, _) = store.list(&name(prefix, "")).await.unwrap();
    assert_eq!(entries.len(), 6);
    assert!(
        entries.iter().all(|entry| entry.value == pattern),
        "values come back whole"
    );
    let value = Bytes::from(vec![0; bytes_max + 1]);
    let refused = store.put(&name(prefix, "over"), value, Expect::Any, None).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    for entry in entries {
        store.delete(&entry.key, Expect::Any).await.unwrap();
    }
}

/// A watch tells what changes below its prefix after its place, in order, and nothing else. A store that
/// remembers changes tells each of them.
pub async fn watching(store: &dyn Store, prefix: &str) {
    let history = store.capabilities().history;
    let key = name(prefix, "in/key");
    store.put(&key, bytes("before"), Expect::Any, None).await.unwrap();
    let gone = name(prefix, "in/gone");
    store
        .put(&gone, bytes("before"), Expect::Any, None)
        .await
        .unwrap();
    let (_, place) = store.list(&name(prefix, "in/")).await.unwrap();
    let mut live = store.watch(&name(prefix, "in/"), place).await.unwrap();
    let first = store.put(&key, bytes("1"), Expect::Any, None).await.unwrap();
    store
        .put(&name(prefix, "out"), bytes("x"), Expect::Any, None)
        .await
        .unwrap();
    store.delete(&key, Expect::Any).await.unwrap();
    let last = store.put(&key, bytes("2"), Expect::Any, None).await.unwrap();
    store.delete(&gone, Expect::Any).await.unwrap();
    // One that begins later, from the same place, is told the same.
    let mut late = store.watch(&name(prefix, "in/"), place).await.unwrap();
    let put = |value: &str, revision| {
        Change::Put(Entry {
            key: key.clone(),
            value: bytes(value),
            revision,
        })
    };
    for watch in [&mut live, &mut late] {
        let mut told = Vec::new();
        loop {
            let change = next(watch).await.unwrap();
            let end = change.key() == gone;
            told.push(change);
            if end {
                break;
            }
        }
        assert!(told.is_sorted_by_key(Change::revision), "{told:?}");
        let removal = told.pop().expect("it was pushed");
        assert!(
            matches!(&removal, Change::Deleted { revision, .. } if *revision > first),
            "{removal:?}"
        );
        assert_eq!(told.last(), Some(&put("2", last)));
        if history {
            assert_eq!(told.first(), Some(&put("1", first)));
            match told.get(1) {
                Some(Change::Deleted { key: gone, revision }) => {
                    assert_eq!(*gone, key);
                    assert!(first < *revision && *revision < last);
                }
                other => panic!("a removal was expected, not {other:?}"),
            }
        } else {
            assert!(told.iter().all(|change| change.key() == key), "{told:?}");
        }
    }
    let (_, place) = store.list(&name(prefix, "in/")).await.unwrap();
    let mut from_last = store.watch(&name(prefix, "in/"), place).await.unwrap();
    let quiet = timeout(Duration::from_millis(100), from_last.next()).await;
    assert!(quiet.is_err(), "nothing has changed: {quiet:?}");
    // A place that this store never reached: it was replaced by an older one.
    let never = match store
        .watch(&name(prefix, "in/"), Revision(last.0 + 1_000_000_000))
        .await
    {
        Ok(mut watch) => next(&mut watch).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(matches!(never, Err(StoreError::Compacted)), "{never:?}");
}

/// A watch for one key that is not there, nor the folders before it, hears of it when it comes, and of nothing
/// that only begins differently.
pub async fn watching_what_is_not_there(store: &dyn Store, prefix: &str) {
    let key = name(prefix, "not/yet/there");
    let (entries, place) = store.list(&key).await.unwrap();
    assert!(entries.is_empty());
    let mut watch = store.watch(&key, place).await.unwrap();
    store
        .put(&name(prefix, "not/yet/the"), bytes("x"), Expect::Any, None)
        .await
        .unwrap();
    for value in ["1", "2", "3"] {
        let written = store.put(&key, bytes(value), Expect::Any, None).await.unwrap();
        let told = next(&mut watch).await.unwrap();
        assert_eq!((told.key(), told.revision()), (&*key, written));
    }
    assert!(store.delete(&key, Expect::Any).await.unwrap());
    assert!(matches!(next(&mut watch).await.unwrap(), Change::Deleted { .. }));
    // With the last key of a folder the folder may go, and come again.
    store
        .delete(&name(prefix, "not/yet/the"), Expect::Any)
        .await
        .unwrap();
    let written = store.put(&key, bytes("4"), Expect::Absent, None).await.unwrap();
    let told = next(&mut watch).await.unwrap();
    assert_eq!((told.key(), told.revision()), (&*key, written));
}

/// Where keys are, and which there are, without what they hold.
pub async fn places_and_keys(store: &dyn Store, prefix: &str) {
    let key = name(prefix, "a/b");
    assert_eq!(store.place(&key).await.unwrap(), None);
    let written = store.put(&key, Bytes::new(), Expect::Any, None).await.unwrap();
    assert_eq!(store.place(&key).await.unwrap(), Some(written));
    // Only a folder of some stores.
    assert_eq!(store.place(&name(prefix, "a")).await.unwrap(), None);
    assert_eq!(store.get(&name(prefix, "a")).await.unwrap(), None);
    store
        .put(&name(prefix, "a"), bytes("x"), Expect::Absent, None)
        .await
        .unwrap();
    let keys = store.keys(&name(prefix, "")).await.unwrap();
    assert_eq!(keys, [name(prefix, "a"), name(prefix, "a/b")]);
    assert!(store.delete(&name(prefix, "a"), Expect::Any).await.unwrap());
    assert_eq!(store.keys(&name(prefix, "")).await.unwrap(), [key]);
    assert!(store.keys(&name(prefix, "other/")).await.unwrap().is_empty());
}

/// List, then watch: under concurrent writers the two together are the whole truth.
pub async fn watching_without_gap(store: &Arc<dyn Store>, prefix: &str) {
    const WRITERS: usize = 4;
    const WRITES: usize = 100;
    let folder = name(prefix, "");
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, prefix) = (Arc::clone(store), prefix.to_owned());
            tokio::spawn(async move {
                for count in 0..WRITES {
                    let key = name(&prefix, &format!("{writer}/{}", count % 5));
                    let value = bytes(&format!("{writer}:{count}"));
                    store.put(&key, value, Expect::Any, None).await.unwrap();
                    if count % 7 == 0 {
                        store.delete(&key, Expect::Any).await.unwrap();
                    }
                }
            })
        })
        .collect();
    let (tell, truth) = tokio::sync::watch::channel(None);
    let reading: Vec<_> = (0..3)
        .map(|_| {
            let (store, folder, mut truth) = (Arc::clone(store), folder.clone(), truth.clone());
            tokio::spawn(async move {
                let (entries, mut place) = store.list(&folder).await.unwrap();
                let mut seen: BTreeMap<String, Bytes> = entries
                    .into_iter()
                    .map(|entry| (entry.key, entry.value))
                    .collect();
                let mut watch = store.watch(&folder, place).await.unwrap();
                loop {
                    if truth.borrow().as_ref() == Some(&seen) {
                        return;
                    }
                    let change = tokio::select! {
                        change = next(&mut watch) => change.unwrap(),
                        Ok(()) = truth.changed() => continue,
                    };
                    assert!(change.revision() >= place, "changes come in order");
                    place = change.revision();
                    match change {
                        Change::Put(entry) => seen.insert(entry.key, entry.value),
                        Change::Deleted { key, .. } => seen.remove(&key),
                    };
                }
            })
        })
        .collect();
    for writer in writing {
        writer.await.unwrap();
    }
    let (entries, _) = store.list(&folder).await.unwrap();
    let found: BTreeMap<String, Bytes> = entries
        .into_iter()
        .map(|entry| (entry.key, entry.value))
        .collect();
    tell.send_replace(Some(found));
    for reader in reading {
        reader.await.unwrap();
    }
}

/// Of several that expect the same, one wins each time: a counter loses no increment.
pub async fn compare_and_set_by_many(store: &Arc<dyn Store>, prefix: &str) {
    const INCREMENTS: usize = 25;
    let key = name(prefix, "counter");
    store.put(&key, bytes("0"), Expect::Absent, None).await.unwrap();
    let counting: Vec<_> = (0..4)
        .map(|_| {
            let (store, key) = (Arc::clone(store), key.clone());
            tokio::spawn(async move {
                for _ in 0..INCREMENTS {
                    loop {
                        let entry = store.get(&key).await.unwrap().expect("the counter");
                        let count: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                        let value = bytes(&(count + 1).to_string());
                        match store.put(&key, value, Expect::At(entry.revision), None).await {
                            Ok(_) => break,
                            Err(StoreError::Conflict { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            })
        })
        .collect();
    for counter in counting {
        counter.await.unwrap();
    }
    let entry = store.get(&key).await.unwrap().expect("the counter");
    assert_eq!(entry.value, bytes("100"));
}

/// Of several that make or take over the same key at the same time, one wins each time, also if the key is removed
/// and made again meanwhile: it is never the key of before.
pub async fn creating_by_many(store: &Arc<dyn Store>, prefix: &str) {
    const ROUNDS: usize = 12;
    let key = name(prefix, "lock");
    let holders = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let taking: Vec<_> = (0..4)
        .map(|who| {
            let (store, key, holders) = (Arc::clone(store), key.clone(), Arc::clone(&holders));
            tokio::spawn(async move {
                let mut won = 0;
                while won < ROUNDS {
                    let mine = match store
                        .put(&key, bytes(&format!("{who}")), Expect::Absent, None)
                        .await
                    {
                        Ok(mine) => mine,
                        Err(StoreError::Conflict { .. }) => continue,
                        Err(error) => panic!("{error}"),
                    };
                    let before = holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    assert_eq!(before, 0, "two hold the key");
                    let mine = store
                        .put(&key, bytes(&format!("{who}, still")), Expect::At(mine), None)
                        .await
                        .unwrap();
                    holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    assert!(store.delete(&key, Expect::At(mine)).await.unwrap());
                    let late = store.put(&key, bytes("late"), Expect::At(mine), None).await;
                    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
                    won += 1;
                }
            })
        })
        .collect();
    for taker in taking {
        taker.await.unwrap();
    }
    assert_eq!(store.get(&key).await.unwrap(), None);
}

/// Keys vanish with their lease, are told to watches, and stay while it is renewed.
pub async fn leases(store: &dyn Store, prefix: &str) {
    let (held, plain) = (name(prefix, "held"), name(prefix, "plain"));
    let can = store.capabilities();
    let ttl = Duration::from_secs(2);
    let over_at_most = ttl.max(can.lease_ttl_min) * can.lease_factor_max + Duration::from_secs(10);
    let lease = store.grant(ttl).await.unwrap();
    store
        .put(&held, bytes("1"), Expect::Absent, Some(&lease))
        .await
        .unwrap();
    store.put(&plain, bytes("1"), Expect::Absent, None).await.unwrap();
    // Renewed beyond its length.
    let renewing = Instant::now();
    while renewing.elapsed() < ttl * 3 / 2 {
        store.renew(&lease).await.unwrap();
        sleep(ttl / 10).await;
    }
    let (entries, place) = store.list(&name(prefix, "")).await.unwrap();
    assert_eq!(entries.len(), 2, "the lease was renewed");
    let mut watch = store.watch(&name(prefix, ""), place).await.unwrap();
    let gone = timeout(over_at_most, watch.next())
        .await
        .expect("the lease ends in time")
        .expect("the watch goes on")
        .unwrap();
    assert!(
        matches!(&gone, Change::Deleted { key, .. } if *key == held),
        "{gone:?}"
    );
    assert_eq!(store.get(&held).await.unwrap(), None);
    assert!(store.get(&plain).await.unwrap().is_some(), "it has no lease");
    let over = store.renew(&lease).await;
    assert!(matches!(over, Err(StoreError::LeaseLost)), "{over:?}");
    let over = store.put(&held, bytes("2"), Expect::Any, Some(&lease)).await;
    assert!(matches!(over, Err(StoreError::LeaseLost)), "{over:?}");

    // Ended on purpose; and a key that was taken over by another lease, or by none, stays.
    let (old, new) = (
        store.grant(ttl * 10).await.unwrap(),
        store.grant(ttl * 10).await.unwrap(),
    );
    let (mine, moved, freed) = (name(prefix, "mine"), name(prefix, "moved"), name(prefix, "freed"));
    for key in [&mine, &moved, &freed] {
        store.put(key, bytes("1"), Expect::Any, Some(&old)).await.unwrap();
    }
    store
        .put(&moved, bytes("2"), Expect::Any, Some(&new))
        .await
        .unwrap();
    store.put(&freed, bytes("2"), Expect::Any, None).await.unwrap();
    store.revoke(&old).await.unwrap();
    assert_eq!(store.get(&mine).await.unwrap(), None);
    assert!(store.get(&moved).await.unwrap().is_some());
    assert!(store.get(&freed).await.unwrap().is_some());
    store.revoke(&new).await.unwrap();
    eventually("the lease's key is gone", async || {
        store.get(&moved).await.unwrap().is_none().then_some(())
    })
    .await;
}

fn snapshot(generation: u64, marker: &str) -> Snapshot {
    let document = format!("{marker}.example");
    let gateway = weir_model::Gateway {
        name: weir_model::GatewayName::new("shop").unwrap(),
        protocol: weir_model::Protocol::Http,
        listener: None,
        virtual_hosts: vec![document],
        sticky: weir_model::Sticky::None,
        options: weir_model::GatewayOptions::default(),
        routes: Vec::new(),
    };
    Snapshot::new("test", Generation(generation), vec![gateway]).unwrap()
}

/// A snapshot of several chunks comes back whole; numbers grow; of two publishers one is told.
pub async fn publishing(store: &dyn Store, prefix: &str) {
    assert_eq!(protocol::read(store, prefix).await.unwrap(), None);
    // Names without pattern pack badly, so that there are several chunks.
    let noise: String = (0u64..60_000)
        .map(|at| format!("{:016x}", at.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17)))
        .collect();
    let first = snapshot(7, &noise);
    let place = protocol::publish(store, prefix, &first, None).await.unwrap();
    let (manifest, found) = protocol::manifest(store, prefix)
        .await
        .unwrap()
        .expect("published");
    assert_eq!(found, place);
    assert!(
        manifest.chunks.len() > 1,
        "one chunk shows nothing: {}",
        manifest.chunks.len()
    );
    let read = protocol::read(store, prefix).await.unwrap().expect("published");
    assert_eq!(
        (read.generation, read.digest, read.revision),
        (first.generation(), first.digest(), place)
    );
    let document = weir_model::wire::v1::read(&read.bytes).unwrap();
    assert_eq!(document.snapshot, first);

    let twice = protocol::publish(store, prefix, &snapshot(7, "other"), Some(place)).await;
    assert!(matches!(twice, Err(ProtocolError::NotNewer { .. })), "{twice:?}");
    let unexpected = protocol::publish(store, prefix, &snapshot(8, "other"), None).await;
    assert!(
        matches!(unexpected, Err(ProtocolError::Outdated { found: Some(found) }) if found == place),
        "{unexpected:?}"
    );
    let second = protocol::publish(store, prefix, &snapshot(8, "second"), Some(place))
        .await
        .unwrap();
    let late = protocol::publish(store, prefix, &snapshot(9, "late"), Some(place)).await;
    assert!(matches!(late, Err(ProtocolError::Outdated { .. })), "{late:?}");
    for chunk in &manifest.chunks {
        let key = format!("{prefix}/weir/snapshot/{}", chunk.key);
        let kept = store.get(&key).await.unwrap();
        assert!(kept.is_some(), "a reader of generation 7 may still need it");
    }
    let third = protocol::publish(store, prefix, &snapshot(9, "third"), Some(second))
        .await
        .unwrap();
    let (chunks, _) = store
        .list(&format!("{prefix}/weir/snapshot/chunks/7-"))
        .await
        .unwrap();
    assert!(chunks.is_empty(), "nobody can need generation 7 now");
    let read = protocol::read(store, prefix).await.unwrap().expect("published");
    assert_eq!((read.generation, read.revision), (Generation(9), third));
}

/// A publisher that dies after its chunks leaves the old snapshot readable, and does not hinder the next.
pub async fn publishing_interrupted(store: &dyn Store, prefix: &str) {
    let old = snapshot(1, "old");
    let place = protocol::publish(store, prefix, &old, None).await.unwrap();
    let orphan = format!("{prefix}/weir/snapshot/chunks/2-0123456789ab/0");
    store
        .put(&orphan, bytes("half"), Expect::Any, None)
        .await
        .unwrap();
    let read = protocol::read(store, prefix).await.unwrap().expect("the old one");
    assert_eq!(read.digest, old.digest());
    let mut place = place;
    for generation in 2..=4 {
        let next = snapshot(generation, &format!("new{generation}"));
        place = protocol::publish(store, prefix, &next, Some(place))
            .await
            .unwrap();
    }
    assert_eq!(
        store.get(&orphan).await.unwrap(),
        None,
        "leftovers are removed later"
    );
}

/// What agents serve is listed while their leases live.
pub async fn acknowledging(store: &dyn Store, prefix: &str) {
    let acknowledgement = |agent: &str, generation| Acknowledgement {
        agent: AgentId::new(agent).unwrap(),
        admin: Some("127.0.0.1:1988".to_owned()),
        generation: Generation(generation),
        digest: None,
        seen: Generation(generation),
        refused: Vec::new(),
        version: "0".to_owned(),
        started_at_ms: 1,
        at_ms: 2,
        stale_ms: 0,
    };
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    let (b, a) = (acknowledgement("b", 1), acknowledgement("a", 2));
    protocol::acknowledge(store, prefix, &lease, &b).await.unwrap();
    protocol::acknowledge(store, prefix, &lease, &a).await.unwrap();
    let unreadable = format!("{}c", protocol::agents_prefix(prefix));
    store
        .put(&unreadable, bytes("?"), Expect::Any, Some(&lease))
        .await
        .unwrap();
    assert_eq!(protocol::agents(store, prefix).await.unwrap(), [a, b]);
    let outside = protocol::acknowledge(store, prefix, &lease, &acknowledgement("x/y", 1)).await;
    assert!(matches!(outside, Err(ProtocolError::AgentId(_))), "{outside:?}");
    store.revoke(&lease).await.unwrap();
    assert!(protocol::agents(store, prefix).await.unwrap().is_empty());
}
