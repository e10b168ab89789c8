//! Watches: what they tell, in which order, and from where.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::timeout;

use super::{bytes, name, next};
use crate::{Change, Entry, Expect, Revision, Store, StoreError};

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
