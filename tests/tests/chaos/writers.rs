//! Writers that die between two writes, or write what nobody can read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use weir_model::{Digest, Gateway, Generation, Snapshot, wire::v1};
use weir_store::{Capabilities, Entry, Expect, LeaseId, Revision, Store, StoreError, Watch, protocol};

use super::{
    agent::PREFIX,
    report::Row,
    scenarios::control_back,
    world::{Outside, World},
};

/// Values are short, so that a snapshot has several chunks.
const VALUE_BYTES_MAX: usize = 100;
/// Where snapshots are made that are copied with faults.
const SCRATCH: &str = "vamp/scratch";

/// What is published, so that all goes to the next route.
async fn rotated(store: &dyn Store, generation: u64) -> Snapshot {
    let published = protocol::read(store, PREFIX).await.unwrap().unwrap();
    let snapshot = v1::read(&published.bytes).unwrap().snapshot;
    let mut gateways: Vec<Gateway> = snapshot
        .gateways()
        .iter()
        .map(|gateway| Gateway::clone(gateway))
        .collect();
    for gateway in &mut gateways {
        let mut weights: Vec<_> = gateway.routes.iter().map(|route| route.weight).collect();
        weights.rotate_right(1);
        for (route, weight) in gateway.routes.iter_mut().zip(weights) {
            route.weight = weight;
        }
    }
    Snapshot::new(snapshot.namespace(), Generation(generation), gateways).unwrap()
}

pub async fn dying(world: &mut World, out: &mut Outside, row: &mut Row) {
    world.control.process.kill();
    let served = world.edge.generation().await;
    let snapshot = rotated(&*out.store, served + 1).await;
    let mut writes = 0;
    loop {
        let dying = Dying::after(writes, &out.store);
        let place = protocol::place(&*out.store, PREFIX).await.unwrap();
        if protocol::publish(&dying, PREFIX, &snapshot, place).await.is_ok() {
            break;
        }
        // The manifest is what an agent sees, and it was not written.
        let now = protocol::place(&*out.store, PREFIX).await.unwrap();
        assert!(now == place || writes > 3, "after {writes} writes");
        if now != place {
            break;
        }
        assert_eq!(world.edge.generation().await, served, "after {writes} writes");
        writes += 1;
    }
    assert!(writes > 3, "there were several chunks: {writes}");
    world
        .status("the first whole one is served", |status| {
            status["generation"] == served + 1 && status["refused"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
    control_back(world, row).await;
}

pub async fn garbage(world: &mut World, out: &mut Outside, row: &mut Row) {
    world.control.process.kill();
    let store = &*out.store;
    let served = world.edge.generation().await;
    let put = async |key: &str, value: Vec<u8>| {
        let (value, any) = (Bytes::from(value), Expect::Any);
        store.put(key, value, any, None).await.unwrap();
    };
    // A snapshot that is new to the agent, elsewhere: keys of chunks are relative.
    let place = protocol::place(store, SCRATCH).await.unwrap();
    let snapshot = rotated(store, served + 1).await;
    protocol::publish(store, SCRATCH, &snapshot, place).await.unwrap();
    let (good, place) = (protocol::manifest_key(SCRATCH), protocol::manifest_key(PREFIX));
    let folder = good.trim_end_matches("manifest");
    let good: Value = serde_json::from_slice(&store.get(&good).await.unwrap().unwrap().value).unwrap();
    let chunks = async |is_damaged: bool| {
        let (manifest, _) = protocol::manifest(store, SCRATCH).await.unwrap().unwrap();
        for chunk in &manifest.chunks {
            let mut value = store
                .get(&format!("{folder}{}", chunk.key))
                .await
                .unwrap()
                .unwrap()
                .value
                .to_vec();
            if is_damaged {
                value.reverse();
            }
            put(&place.replace("manifest", &chunk.key), value).await;
        }
    };
    let mut reason = String::new();
    let mut refused = async |what: &'static str| {
        let before = reason.clone();
        let told = |status: &Value| {
            let told = status["refused"][0]["reason"].as_str().unwrap_or_default();
            (status["generation"] == served && !told.is_empty() && told != before).then(|| told.to_owned())
        };
        world.status(what, |status| told(status).is_some()).await;
        reason = told(&world.edge.status().await.unwrap()).unwrap_or_default();
    };

    put(&place, vec![0, 159, 146, 150]).await;
    refused("a manifest that is none").await;
    let mut other = good.clone();
    other["version"] = json!("2.0");
    put(&place, other.to_string().into_bytes()).await;
    refused("a manifest of another major version").await;
    chunks(true).await;
    put(&place, good.to_string().into_bytes()).await;
    refused("chunks that do not fit").await;
    // The manifest first: agents read damaged chunks again and again, and would take them once they are whole.
    let mut other = good.clone();
    other["digest"] = json!(Digest::of(b"something else"));
    put(&place, other.to_string().into_bytes()).await;
    chunks(false).await;
    refused("a digest that does not fit").await;
    // What is whole is taken.
    put(&place, good.to_string().into_bytes()).await;
    world
        .status("what is whole is taken", |status| {
            status["generation"] == served + 1 && status["refused"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
    control_back(world, row).await;
}

#[derive(Debug)]
pub struct Dying {
    store: Arc<dyn Store>,
    left: AtomicUsize,
}

impl Dying {
    pub fn after(writes: usize, store: &Arc<dyn Store>) -> Self {
        Self {
            store: Arc::clone(store),
            left: AtomicUsize::new(writes),
        }
    }

    fn one_less(&self) -> Result<(), StoreError> {
        self.left
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .map(drop)
            .map_err(|_| StoreError::Unavailable("the writer is dead".into()))
    }
}

#[async_trait]
impl Store for Dying {
    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            value_bytes_max: VALUE_BYTES_MAX,
            ..self.store.capabilities()
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        self.store.list(prefix).await
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError> {
        self.one_less()?;
        self.store.put(key, value, expect, lease).await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        self.one_less()?;
        self.store.delete(key, expect).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.store.watch(prefix, after).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store.grant(ttl).await
    }

    async fn renew(&self, lease: &LeaseId) -> Result<(), StoreError> {
        self.store.renew(lease).await
    }

    async fn revoke(&self, lease: &LeaseId) -> Result<(), StoreError> {
        self.store.revoke(lease).await
    }
}
