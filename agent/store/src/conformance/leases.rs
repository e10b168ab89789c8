//! Keys that vanish with their lease.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::{bytes, eventually, name};
use crate::{Change, Expect, Store, StoreError};

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
