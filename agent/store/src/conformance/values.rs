//! Keys and what they hold: reading, writing, expectations, listings, limits.

use bytes::Bytes;

use super::{bytes, name};
use crate::{Expect, Revision, Store, StoreError};

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
