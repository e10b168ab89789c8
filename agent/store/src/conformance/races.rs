//! Several that write the same key.

use std::sync::Arc;

use super::{bytes, name};
use crate::{Expect, Store, StoreError};

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
