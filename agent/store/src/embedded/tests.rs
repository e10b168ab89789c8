use std::time::Duration;

use bytes::Bytes;

use super::Embedded;
use crate::{Expect, Revision, Store as _, StoreError};

const ONE: Bytes = Bytes::from_static(b"1");
const TWO: Bytes = Bytes::from_static(b"2");

#[tokio::test]
async fn keys_outlive_the_process_but_not_those_of_leases() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sub/store.redb");
    let store = Embedded::open(&path).unwrap();
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    let kept = store.put("kept", ONE, Expect::Absent, None).await.unwrap();
    store.put("gone", ONE, Expect::Any, None).await.unwrap();
    store.delete("gone", Expect::Any).await.unwrap();
    store.put("leased", ONE, Expect::Any, Some(&lease)).await.unwrap();
    store.put("became leased", ONE, Expect::Any, None).await.unwrap();
    store
        .put("became leased", TWO, Expect::Any, Some(&lease))
        .await
        .unwrap();
    store
        .put("became plain", ONE, Expect::Any, Some(&lease))
        .await
        .unwrap();
    let last = store.put("became plain", TWO, Expect::Any, None).await.unwrap();
    drop(store);

    let store = Embedded::open(&path).unwrap();
    let (entries, revision) = store.list("").await.unwrap();
    let keys: Vec<_> = entries
        .iter()
        .map(|entry| (entry.key.as_str(), &entry.value))
        .collect();
    assert_eq!(keys, [("became plain", &TWO), ("kept", &ONE)]);
    assert!(revision > last, "revisions go on");
    assert!(matches!(store.renew(&lease).await, Err(StoreError::LeaseLost)));
    let before = store.watch("", last).await.err();
    assert!(matches!(before, Some(StoreError::Compacted)), "{before:?}");
    let next = store.put("kept", TWO, Expect::At(kept), None).await.unwrap();
    assert!(next > revision);
}

#[tokio::test]
async fn revisions_of_leased_writes_are_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut highest = Revision(0);
    for _ in 0..3 {
        let store = Embedded::open(&path).unwrap();
        let lease = store.grant(Duration::from_secs(60)).await.unwrap();
        for _ in 0..3 {
            let revision = store.put("a", ONE, Expect::Any, Some(&lease)).await.unwrap();
            assert!(revision > highest);
            highest = revision;
        }
    }
}

#[test]
fn a_file_in_use_is_told_apart_from_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Embedded::open(&path).unwrap();
    let second = Embedded::open(&path).unwrap_err();
    assert!(matches!(second, StoreError::Locked { .. }), "{second}");
    drop(store);

    std::fs::write(&path, b"this is not a database, whatever its name says").unwrap();
    let damaged = Embedded::open(&path).unwrap_err();
    assert!(matches!(damaged, StoreError::Corrupt(_)), "{damaged:?}");
    let message = damaged.to_string();
    assert!(
        message.contains("store.redb") && message.contains("move it away"),
        "{message}"
    );
    assert!(path.exists(), "a damaged file is left for people to look at");

    let missing = Embedded::open(folder.path()).unwrap_err();
    assert!(matches!(missing, StoreError::Unavailable(_)), "{missing:?}");
}
