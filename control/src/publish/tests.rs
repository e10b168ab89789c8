//! The publisher among faults of the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::bytes::Bytes;
use weir_driver::fake::Fake;
use weir_persist::memory::Memory;
use weir_store::{
    Capabilities, Entry, Expect, LeaseId, Revision, Store, StoreError, Watch, memory, protocol,
};

use crate::reconcile::{
    tests::alone::{delete_gateway, put_gateway},
    tests::rig::{Agent, PREFIX, Rig, eventually, gateway},
};

/// A store that can be away.
#[derive(Debug)]
struct Flaky {
    inner: memory::Memory,
    away: AtomicBool,
}

impl Flaky {
    fn here(&self) -> Result<&memory::Memory, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("switched off".into()));
        }
        Ok(&self.inner)
    }
}

#[async_trait]
impl Store for Flaky {
    fn kind(&self) -> &'static str {
        "flaky"
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.here()?.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        self.here()?.list(prefix).await
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError> {
        self.here()?.put(key, value, expect, lease).await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        self.here()?.delete(key, expect).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.here()?.watch(prefix, after).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.here()?.grant(ttl).await
    }

    async fn renew(&self, lease: &LeaseId) -> Result<(), StoreError> {
        self.here()?.renew(lease).await
    }

    async fn revoke(&self, lease: &LeaseId) -> Result<(), StoreError> {
        self.here()?.revoke(lease).await
    }
}

fn rig() -> (Rig, Arc<Flaky>) {
    let store = Arc::new(Flaky {
        inner: memory::Memory::new(),
        away: AtomicBool::new(false),
    });
    let rig = Rig::on(
        Arc::new(Memory::new()),
        Fake::new(),
        Arc::clone(&store) as Arc<dyn Store>,
    );
    (rig, store)
}

fn shop(weight: u32) -> weir_artifact::Gateway {
    gateway(&format!(
        "name: shop
port: 8080
routes:
  '[127.0.0.1:1]': {{weight: {weight}%}}
  '[127.0.0.1:2]': {{weight: {}%}}
",
        100 - weight
    ))
}

async fn weight(rig: &Rig) -> Option<u16> {
    let snapshot = rig.published().await?;
    Some(snapshot.gateway("shop")?.routes.first()?.weight.parts())
}

#[tokio::test]
async fn an_equal_snapshot_is_not_published_again() {
    let (rig, _) = rig();
    put_gateway(&rig.state, shop(50), true, false).await.unwrap();
    eventually(async || weight(&rig).await == Some(5_000)).await;
    let before = rig.published().await.unwrap().generation();
    for _ in 0..5 {
        put_gateway(&rig.state, shop(50), false, false).await.unwrap();
    }
    put_gateway(&rig.state, shop(60), false, false).await.unwrap();
    eventually(async || weight(&rig).await == Some(6_000)).await;
    assert_eq!(rig.published().await.unwrap().generation(), before.next());
    rig.end().await;
}

#[tokio::test]
async fn a_store_that_comes_back_has_the_newest_state() {
    let (rig, store) = rig();
    put_gateway(&rig.state, shop(50), true, false).await.unwrap();
    eventually(async || weight(&rig).await == Some(5_000)).await;
    store.away.store(true, Ordering::SeqCst);
    put_gateway(&rig.state, shop(70), false, false).await.unwrap();
    let status = || rig.state.traffic.publication.status();
    eventually(async || status().error.is_some_and(|error| error.contains("switched off"))).await;
    put_gateway(&rig.state, shop(80), false, false).await.unwrap();
    store.away.store(false, Ordering::SeqCst);
    eventually(async || weight(&rig).await == Some(8_000)).await;
    eventually(async || status().error.is_none()).await;
    rig.end().await;
}

#[tokio::test]
async fn a_wiped_store_is_filled_again_with_a_higher_generation() {
    let (rig, store) = rig();
    put_gateway(&rig.state, shop(50), true, false).await.unwrap();
    eventually(async || weight(&rig).await == Some(5_000)).await;
    let before = rig.published().await.unwrap().generation();
    let key = protocol::manifest_key(PREFIX);
    assert!(store.inner.delete(&key, Expect::Any).await.unwrap());
    let wiped = Instant::now();
    eventually(async || weight(&rig).await == Some(5_000)).await;
    assert!(wiped.elapsed() < Duration::from_secs(2), "{:?}", wiped.elapsed());
    assert!(rig.published().await.unwrap().generation() > before);
    assert_eq!(
        rig.events(&["gateways:shop", "deployed"]).await,
        1,
        "it was not new"
    );
    rig.end().await;
}

#[tokio::test]
async fn a_store_that_was_set_back_has_the_newest_state_soon() {
    let (rig, store) = rig();
    put_gateway(&rig.state, shop(50), true, false).await.unwrap();
    eventually(async || weight(&rig).await == Some(5_000)).await;
    let key = protocol::manifest_key(PREFIX);
    let old = store.inner.get(&key).await.unwrap().unwrap().value;
    put_gateway(&rig.state, shop(60), false, false).await.unwrap();
    eventually(async || weight(&rig).await == Some(6_000)).await;
    let before = rig.published().await.unwrap().generation();
    store.inner.put(&key, old, Expect::Any, None).await.unwrap();
    let set_back = Instant::now();
    eventually(async || {
        rig.published()
            .await
            .is_some_and(|published| published.generation() > before)
    })
    .await;
    assert!(
        set_back.elapsed() < Duration::from_secs(2),
        "{:?}",
        set_back.elapsed()
    );
    assert_eq!(weight(&rig).await, Some(6_000));
    rig.end().await;
}

/// An agent comes to a wiped store after a control that knows nothing of before has published: it goes back for nobody.
#[tokio::test]
async fn an_agent_that_is_ahead_gets_what_is_newest() {
    let (rig, store) = rig();
    put_gateway(&rig.state, shop(50), true, false).await.unwrap();
    eventually(async || weight(&rig).await == Some(5_000)).await;
    let before = rig.published().await.unwrap();
    let ahead = weir_model::Snapshot::new("default", weir_model::Generation(500), Vec::new()).unwrap();
    let agent = Agent::join(&store.inner, "edge", None).await;
    agent.acknowledge(&store.inner, Some(&ahead)).await;
    let published = async || rig.published().await.unwrap();
    eventually(async || published().await.generation() > ahead.generation()).await;
    assert_eq!(published().await.digest(), before.digest());
    rig.end().await;
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_is_replaced() {
    let (rig, store) = rig();
    eventually(async || rig.published().await.is_some()).await;
    let key = protocol::manifest_key(PREFIX);
    store
        .inner
        .put(&key, Bytes::from_static(b"{}"), Expect::Any, None)
        .await
        .unwrap();
    put_gateway(&rig.state, shop(50), true, false).await.unwrap();
    eventually(async || {
        protocol::manifest(&store.inner, PREFIX)
            .await
            .is_ok_and(|manifest| manifest.is_some())
    })
    .await;
    assert_eq!(weight(&rig).await, Some(5_000));
    rig.end().await;
}

#[tokio::test]
async fn a_gateway_that_cannot_be_served_does_not_block_others() {
    let (rig, _) = rig();
    let circle = gateway("{name: a, routes: {b: {}}}");
    put_gateway(&rig.state, circle, true, false).await.unwrap();
    let back = gateway("{name: b, routes: {a: {}}}");
    put_gateway(&rig.state, back, true, false).await.unwrap();
    put_gateway(&rig.state, shop(50), true, false).await.unwrap();
    eventually(async || weight(&rig).await == Some(5_000)).await;
    let snapshot = rig.published().await.unwrap();
    assert_eq!(snapshot.gateways().len(), 1);
    let tags = ["gateway_publisher:ERROR", "gateways:b"];
    eventually(async || rig.events(&tags).await >= 1).await;
    put_gateway(&rig.state, shop(60), false, false).await.unwrap();
    eventually(async || weight(&rig).await == Some(6_000)).await;
    assert_eq!(rig.events(&tags).await, 1, "said once");
    let problems = rig.state.traffic.publication.status().problems;
    assert!(
        problems
            .iter()
            .any(|(gateway, text)| gateway == "b" && text.contains("back to itself"))
    );
    rig.end().await;
}

#[tokio::test]
async fn gateways_that_come_and_go_are_announced() {
    let (rig, _) = rig();
    put_gateway(&rig.state, shop(50), true, false).await.unwrap();
    eventually(async || rig.events(&["gateways:shop", "deployed"]).await == 1).await;
    delete_gateway(&rig.state, "shop", false).await.unwrap();
    eventually(async || rig.events(&["gateways:shop", "undeployed"]).await == 1).await;
    assert_eq!(rig.published().await.unwrap().gateways().len(), 0);
    rig.end().await;
}
