//! Documents in sections: what is written, what is read, and who comes in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_model::{
    Digest, Gateway, GatewayName, GatewayOptions, Generation, Protocol, Snapshot, Sticky, wire::v1,
};

use super::{PREFIX, filled, sample, shown};
use crate::{
    Capabilities, Entry, Expect, LeaseId, Revision, Store, StoreError, Watch,
    memory::Memory,
    protocol::{self, Manifest, ProtocolError, Reader, manifest_key, publish, publish_anew, read},
};

const GOLDEN: &str = include_str!("../../../testdata/v1/sections.json");

/// Memory that counts, gives way to others at each step, and can die.
#[derive(Debug, Default)]
struct Counting {
    inner: Arc<Memory>,
    gets: AtomicUsize,
    writes: AtomicUsize,
    listings: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    /// Writes that are still done; `None`: all.
    left: Option<AtomicUsize>,
}

impl Counting {
    fn over(inner: &Arc<Memory>) -> Self {
        Self {
            inner: Arc::clone(inner),
            ..Self::default()
        }
    }

    fn dying_after(inner: &Arc<Memory>, writes: usize) -> Self {
        Self {
            left: Some(AtomicUsize::new(writes)),
            ..Self::over(inner)
        }
    }

    async fn give_way(&self) {
        let now = self.under_way.fetch_add(1, SeqCst) + 1;
        self.most_under_way.fetch_max(now, SeqCst);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.under_way.fetch_sub(1, SeqCst);
    }

    async fn write(&self) -> Result<(), StoreError> {
        self.give_way().await;
        self.writes.fetch_add(1, SeqCst);
        let Some(left) = &self.left else { return Ok(()) };
        left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .map(drop)
            .map_err(|_| StoreError::Unavailable("dead".into()))
    }

    fn counts(&self) -> [usize; 3] {
        [&self.gets, &self.writes, &self.listings].map(|count| count.swap(0, SeqCst))
    }
}

#[async_trait]
impl Store for Counting {
    fn kind(&self) -> &'static str {
        "counting"
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.give_way().await;
        self.gets.fetch_add(1, SeqCst);
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        self.listings.fetch_add(1, SeqCst);
        self.inner.list(prefix).await
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<&LeaseId>,
    ) -> Result<Revision, StoreError> {
        self.write().await?;
        self.inner.put(key, value, expect, lease).await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        self.write().await?;
        self.inner.delete(key, expect).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.inner.watch(prefix, after).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.grant(ttl).await
    }

    async fn renew(&self, lease: &LeaseId) -> Result<(), StoreError> {
        self.inner.renew(lease).await
    }

    async fn revoke(&self, lease: &LeaseId) -> Result<(), StoreError> {
        self.inner.revoke(lease).await
    }
}

fn gateway(number: usize, variant: u64) -> Gateway {
    let noise = |at: u64| (number as u64 + at).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Gateway {
        name: GatewayName::new(format!("g{number}")).unwrap(),
        protocol: Protocol::Http,
        listener: None,
        virtual_hosts: (0..8)
            .map(|at| format!("{:016x}.{number}.example", noise(at)))
            .chain([format!("{variant}.{number}.example")])
            .collect(),
        sticky: Sticky::None,
        options: GatewayOptions::default(),
        routes: Vec::new(),
    }
}

/// So many gateways, of which those named have other content.
fn large(generation: u64, count: usize, changed: &[(usize, u64)]) -> Snapshot {
    let changed: BTreeMap<usize, u64> = changed.iter().copied().collect();
    let variant = |number| changed.get(&number).copied().unwrap_or_default();
    let gateways = (0..count)
        .map(|number| gateway(number, variant(number)))
        .collect();
    Snapshot::new("test", Generation(generation), gateways).unwrap()
}

async fn manifest(store: &dyn Store) -> (Manifest, Revision) {
    protocol::manifest(store, PREFIX).await.unwrap().unwrap()
}

/// By a reader of before: chunks are put together, then unpacked.
async fn by_a_reader_of_1_0(store: &dyn Store) -> Snapshot {
    #[derive(Deserialize)]
    struct Manifest1 {
        version: String,
        encoding: String,
        bytes: u64,
        chunks: Vec<Chunk1>,
    }
    #[derive(Deserialize)]
    struct Chunk1 {
        key: String,
        bytes: usize,
        sha256: String,
    }
    let entry = store.get(&manifest_key(PREFIX)).await.unwrap().unwrap();
    let manifest: Manifest1 = serde_json::from_slice(&entry.value).unwrap();
    assert!(manifest.version.starts_with("1.") && manifest.encoding == "zstd");
    let mut packed = Vec::new();
    for chunk in manifest.chunks {
        let key = format!("{PREFIX}/weir/snapshot/{}", chunk.key);
        let value = store.get(&key).await.unwrap().expect("the chunk is there").value;
        assert_eq!(value.len(), chunk.bytes);
        assert_eq!(Digest::of(&value).to_string(), format!("sha256:{}", chunk.sha256));
        packed.extend_from_slice(&value);
    }
    let document = zstd::stream::decode_all(packed.as_slice()).unwrap();
    assert_eq!(document.len() as u64, manifest.bytes);
    let reading = v1::read(&document).unwrap();
    assert!(reading.refused.is_empty());
    reading.snapshot
}

async fn by(reader: &mut Reader, store: &dyn Store) -> Result<Snapshot, String> {
    let published = reader
        .read(store, PREFIX)
        .await
        .map_err(|error| error.to_string())?;
    let document = published.unwrap().document;
    let reading = v1::Reader::default()
        .read(&document)
        .map_err(|error| error.to_string())?;
    assert!(reading.refused.is_empty(), "{:?}", reading.refused);
    Ok(reading.snapshot)
}

/// Every way to read gives this snapshot.
async fn assert_reads(store: &dyn Store, reader: &mut Reader, expected: &Snapshot) {
    assert_eq!(by_a_reader_of_1_0(store).await, *expected);
    let whole = read(store, PREFIX).await.unwrap().unwrap();
    assert_eq!(v1::read(&whole.bytes).unwrap().snapshot, *expected);
    assert_eq!(by(reader, store).await.unwrap(), *expected);
    assert_eq!(by(&mut Reader::new(), store).await.unwrap(), *expected);
}

fn golden_sample() -> Snapshot {
    large(43, 300, &[(7, 1)])
}

/// What an earlier release wrote is read by every later one; and was read by those before it.
#[tokio::test]
async fn the_frozen_form_is_read() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let store = filled(&golden).await;
    let (manifest, _) = manifest(&store).await;
    assert!(manifest.version == "1.1" && manifest.parts().is_some_and(|parts| parts.len() > 5));
    assert_reads(&store, &mut Reader::new(), &golden_sample()).await;
}

/// What this release writes is the frozen form: cut at the same gateways, with the same texts. How well the packer packs is not part of
/// it.
#[tokio::test]
async fn the_frozen_form_is_written() {
    let store = Memory::new();
    let place = publish(&store, PREFIX, &large(42, 300, &[]), None).await.unwrap();
    publish(&store, PREFIX, &golden_sample(), Some(place))
        .await
        .unwrap();
    let written = shown(&store).await;
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v1/sections.json");
        std::fs::write(path, serde_json::to_string_pretty(&written).unwrap() + "\n").unwrap();
    }
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let [written, golden] = [written, golden].map(|store| {
        let mut manifest = store[manifest_key(PREFIX)].clone();
        let folder = |key: &Value| key.as_str().unwrap().rsplit_once('/').unwrap().0.to_owned();
        for chunk in manifest["chunks"].as_array_mut().unwrap() {
            chunk["key"] = json!(folder(&chunk["key"]));
            chunk["bytes"] = Value::Null;
            chunk["sha256"] = Value::Null;
        }
        for key in manifest["retired"].as_array_mut().unwrap() {
            *key = json!(folder(key));
        }
        manifest
    });
    assert_eq!(written, golden);
}

#[tokio::test]
async fn a_change_is_written_and_read_alone() {
    let memory = Arc::new(Memory::new());
    let store = Counting::over(&memory);
    let mut reader = Reader::new();
    let place = publish(&store, PREFIX, &large(1, 600, &[]), None).await.unwrap();
    let sections = manifest(&store).await.0.chunks.len();
    assert!((20..100).contains(&sections), "{sections} chunks");
    store.counts();
    by(&mut reader, &store).await.unwrap();
    assert_eq!(store.counts(), [1 + sections, 0, 0]);
    assert_eq!(
        store.most_under_way.load(SeqCst),
        8,
        "chunks are read side by side"
    );

    let mut place = place;
    for generation in 2..70 {
        let number = usize::try_from(generation).unwrap() * 37 % 600;
        let next = large(generation, 600, &[(number, generation)]);
        let before: BTreeSet<String> = keys_named(&store).await;
        store.counts();
        place = publish(&store, PREFIX, &next, Some(place)).await.unwrap();
        let [gets, writes, listings] = store.counts();
        // The manifest; and all that it names when everything is looked through.
        let looked_at = if generation % 64 == 0 { before.len() } else { 0 };
        assert_eq!(gets, 1 + looked_at, "generation {generation}");
        let new = keys_named(&store).await.difference(&before).count();
        // One section changes, one changes back, and the end of the document.
        assert!((2..=3).contains(&new), "{new} new chunks");
        if listings == 0 {
            assert!(writes <= new + 1 + 24, "{writes} writes");
        }
        assert_eq!(
            listings,
            usize::from(generation % 64 == 0),
            "generation {generation}"
        );
        for key in &before {
            let key = format!("{PREFIX}/weir/snapshot/{key}");
            assert!(
                store.get(&key).await.unwrap().is_some(),
                "who reads the manifest before finishes"
            );
        }
        store.counts();
        assert_eq!(by(&mut reader, &store).await.unwrap(), next);
        assert_eq!(store.counts(), [1 + new, 0, 0]);
        let there = memory.keys("").await.unwrap().len();
        assert!(there < 2 * sections + 40, "{there} keys are there");
    }
    assert_reads(&store, &mut reader, &large(69, 600, &[(69 * 37 % 600, 69)])).await;
}

async fn keys_named(store: &dyn Store) -> BTreeSet<String> {
    let (manifest, _) = manifest(store).await;
    manifest.chunks.into_iter().map(|chunk| chunk.key).collect()
}

#[tokio::test]
async fn documents_grow_into_sections_and_shrink_out_of_them() {
    let store = Memory::new();
    let mut reader = Reader::new();
    let mut place = None;
    for (generation, count) in (42..).zip([0, 1, 400, 20, 1_500, 1_600, 0, 900]) {
        let next = match count {
            1 => sample(),
            _ => large(generation, count, &[]),
        };
        let next = next.with_generation(Generation(generation));
        place = Some(publish(&store, PREFIX, &next, place).await.unwrap());
        assert_reads(&store, &mut reader, &next).await;
        let (manifest, _) = manifest(&store).await;
        assert_eq!(manifest.version, if count > 100 { "1.1" } else { "1.0" });
    }
}

#[tokio::test]
async fn a_publisher_may_die_between_any_two_writes() {
    let memory = Arc::new(Memory::new());
    let old = large(1, 500, &[]);
    publish(&*memory, PREFIX, &old, None).await.unwrap();
    let changed: Vec<_> = (0..500).step_by(50).map(|number| (number, 1)).collect();
    let mut reader = Reader::new();
    let mut deaths = 0;
    loop {
        // Others try other changes under the same number.
        let next = large(2, 500, changed.get(..1 + deaths % changed.len()).unwrap());
        let dying = Counting::dying_after(&memory, deaths);
        let place = protocol::place(&*memory, PREFIX).await.unwrap();
        if publish(&dying, PREFIX, &next, place).await.is_ok() {
            assert_reads(&*memory, &mut reader, &next).await;
            break;
        }
        assert_reads(&*memory, &mut reader, &old).await;
        deaths += 1;
    }
    assert!(deaths > 2, "{deaths}");
    // What they left is found.
    for generation in [3, 64, 65] {
        let next = large(generation, 500, &[]);
        let place = protocol::place(&*memory, PREFIX).await.unwrap();
        publish(&*memory, PREFIX, &next, place).await.unwrap();
        assert_reads(&*memory, &mut reader, &next).await;
    }
    let named = keys_named(&*memory).await.len();
    let there = memory.keys("").await.unwrap().len();
    assert!(
        there <= named + 1 + 32,
        "{there} keys, of which {named} are named"
    );
}

#[tokio::test]
async fn of_several_publishers_one_wins_each_time_and_readers_read() {
    let memory = Arc::new(Memory::new());
    publish(&*memory, PREFIX, &large(1, 300, &[]), None)
        .await
        .unwrap();
    let publishing: Vec<_> = (0..4_u64)
        .map(|who| {
            let memory = Arc::clone(&memory);
            tokio::spawn(async move {
                let store = Counting::over(&memory);
                let (mut won, mut lost) = (0, 0);
                while won < 25 {
                    let (manifest, place) = manifest(&store).await;
                    let generation = manifest.generation.0 + 1 + u64::from(won % 5 == 4);
                    let number = usize::try_from(generation * 7 + who * 31).unwrap() % 300;
                    let next = large(generation, 300, &[(number, generation), (5, who)]);
                    match publish(&store, PREFIX, &next, Some(place)).await {
                        Ok(_) => won += 1,
                        Err(ProtocolError::Outdated { .. } | ProtocolError::NotNewer { .. }) => lost += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                lost
            })
        })
        .collect();
    let reading = {
        let memory = Arc::clone(&memory);
        tokio::spawn(async move {
            let store = Counting::over(&memory);
            let (mut reader, mut reads) = (Reader::new(), 0_u32);
            let mut newest = Generation(0);
            while reads < 50 {
                match reader.read(&store, PREFIX).await {
                    Ok(found) => {
                        let found = found.unwrap();
                        assert!(found.generation >= newest);
                        newest = found.generation;
                        let reading = v1::Reader::default().read(&found.document).unwrap();
                        assert_eq!(reading.snapshot.generation(), newest);
                        reads += 1;
                    }
                    // They publish faster than it reads.
                    Err(ProtocolError::Chunk { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    };
    let mut lost = 0;
    for publisher in publishing {
        lost += publisher.await.unwrap();
    }
    assert!(lost > 0, "they never met");
    reading.await.unwrap();
    by_a_reader_of_1_0(&*memory).await;
    by(&mut Reader::new(), &*memory).await.unwrap();
}

/// What a reader says after `change` of the manifest of a large document.
async fn read_changed(change: impl FnOnce(&mut Value)) -> Result<Snapshot, String> {
    let store = Memory::new();
    publish(&store, PREFIX, &large(1, 300, &[]), None).await.unwrap();
    let mut knowing = Reader::new();
    by(&mut knowing, &store).await.unwrap();
    let entry = store.get(&manifest_key(PREFIX)).await.unwrap().unwrap();
    let mut manifest = serde_json::from_slice(&entry.value).unwrap();
    change(&mut manifest);
    let value = serde_json::to_vec(&manifest).unwrap().into();
    store
        .put(&manifest_key(PREFIX), value, Expect::Any, None)
        .await
        .unwrap();
    let new = by(&mut Reader::new(), &store).await;
    let known = by(&mut knowing, &store).await;
    assert_eq!(new.is_ok(), known.is_ok(), "{new:?} {known:?}");
    new
}

#[tokio::test]
async fn what_cannot_be_right_is_refused() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 11] = [
        (
            |m| m["chunks"][2]["gateways"] = json!(1_000_000),
            "another number of gateways",
        ),
        (
            |m| m["chunks"][2]["gateways"] = json!(0),
            "another number of gateways",
        ),
        (|m| m["chunks"][2]["text"] = json!("00"), "another hash"),
        (|m| m["chunks"][0]["text"] = json!("0".repeat(64)), "another hash"),
        (|m| m["chunks"][2]["bytes"] = json!(3), "another length"),
        (|m| m["bytes"] = json!(70_000), "another length"),
        (|m| m["bytes"] = json!(10_000_000), "another length"),
        (
            |m| drop(m["chunks"].as_array_mut().unwrap().remove(2)),
            "another length",
        ),
        (
            |m| {
                let chunk = m["chunks"][2].clone();
                m["chunks"] = json!(vec![chunk; 2_000]);
            },
            "longer than",
        ),
        (|m| m["chunks"].as_array_mut().unwrap().swap(1, 2), "between"),
        (
            |m| m["retired"] = json!(["chunks/../x"]),
            "not the key of a chunk",
        ),
    ];
    for (change, expected) in cases {
        let error = read_changed(change).await.expect_err(expected);
        let is_expected = error.contains(expected) || expected == "between";
        assert!(is_expected, "{expected}: {error}");
    }
    // A form that is not known is read as one.
    let odd: [Change; 3] = [
        |m| drop(m["chunks"][0].as_object_mut().unwrap().remove("text")),
        |m| drop(m["chunks"][2].as_object_mut().unwrap().remove("gateways")),
        |m| m["chunks"][0]["gateways"] = json!(1),
    ];
    for change in odd {
        assert_eq!(read_changed(change).await.unwrap(), large(1, 300, &[]));
    }
}

#[tokio::test]
async fn a_chunk_that_is_lost_or_garbled_is_seen_and_written_again() {
    let store = Memory::new();
    let first = large(1, 300, &[]);
    let mut place = publish(&store, PREFIX, &first, None).await.unwrap();
    let mut reader = Reader::new();
    by(&mut reader, &store).await.unwrap();
    let (manifest, _) = manifest(&store).await;
    let key = format!("{PREFIX}/weir/snapshot/{}", manifest.chunks[2].key);
    let good = store.get(&key).await.unwrap().unwrap().value;
    let garbled: Bytes = good.iter().rev().copied().collect::<Vec<_>>().into();
    store.put(&key, garbled, Expect::Any, None).await.unwrap();
    let error = by(&mut Reader::new(), &store).await.unwrap_err();
    assert!(error.contains("another hash"), "{error}");
    assert!(store.delete(&key, Expect::Any).await.unwrap());
    let error = by(&mut Reader::new(), &store).await.unwrap_err();
    assert!(error.contains("is not there"), "{error}");
    assert_eq!(by(&mut reader, &store).await.unwrap(), first, "it has it");
    for generation in [2, 3, 64] {
        let next = large(generation, 300, &[(150, generation)]);
        place = publish(&store, PREFIX, &next, Some(place)).await.unwrap();
    }
    assert_reads(&store, &mut reader, &large(64, 300, &[(150, 64)])).await;
}

/// Bytes that are no longer those that were written, under a section that stays the same.
#[tokio::test]
async fn damage_is_found_by_looking_through_and_mended_at_once_by_who_knows() {
    for is_known in [false, true] {
        let store = Memory::new();
        let mut place = publish(&store, PREFIX, &large(1, 300, &[]), None).await.unwrap();
        let (named, _) = manifest(&store).await;
        let key = format!("{PREFIX}/weir/snapshot/{}", named.chunks[2].key);
        store
            .put(&key, Bytes::from_static(b"damage"), Expect::Any, None)
            .await
            .unwrap();
        let second = large(2, 300, &[]);
        if is_known {
            publish_anew(&store, PREFIX, &second, Some(place)).await.unwrap();
            assert_reads(&store, &mut Reader::new(), &second).await;
            let error = publish_anew(&store, PREFIX, &second, None).await.unwrap_err();
            assert!(matches!(error, ProtocolError::NotNewer { .. }), "{error}");
        } else {
            place = publish(&store, PREFIX, &second, Some(place)).await.unwrap();
            assert!(by(&mut Reader::new(), &store).await.is_err(), "nobody has looked");
            let later = large(64, 300, &[]);
            publish(&store, PREFIX, &later, Some(place)).await.unwrap();
            assert_reads(&store, &mut Reader::new(), &later).await;
        }
    }
}

/// A manifest that lists what is in use as replaced removes nothing.
#[tokio::test]
async fn what_is_named_is_not_removed_whatever_is_said() {
    let store = Memory::new();
    publish(&store, PREFIX, &large(1, 300, &[]), None).await.unwrap();
    let (mut hostile, _) = manifest(&store).await;
    hostile.retired = Some(hostile.chunks.iter().map(|chunk| chunk.key.clone()).collect());
    let value = serde_json::to_vec(&hostile).unwrap().into();
    let place = store
        .put(&manifest_key(PREFIX), value, Expect::Any, None)
        .await
        .unwrap();
    let next = large(2, 300, &[(1, 1)]);
    publish(&store, PREFIX, &next, Some(place)).await.unwrap();
    assert_reads(&store, &mut Reader::new(), &next).await;
}

/// A small packed part that unpacks to a huge one is not unpacked.
#[tokio::test]
async fn a_part_that_unpacks_to_more_than_it_says_is_refused() {
    let store = Memory::new();
    publish(&store, PREFIX, &large(1, 300, &[]), None).await.unwrap();
    let (mut hostile, _) = manifest(&store).await;
    let bomb = Bytes::from(zstd::bulk::compress(&vec![0; 100_000_000], 3).unwrap());
    let chunk = &mut hostile.chunks[1];
    chunk.bytes = bomb.len() as u64;
    chunk.sha256 = Digest::of(&bomb).to_string().replace("sha256:", "");
    let key = format!("{PREFIX}/weir/snapshot/{}", chunk.key);
    store.put(&key, bomb, Expect::Any, None).await.unwrap();
    let value = serde_json::to_vec(&hostile).unwrap().into();
    store
        .put(&manifest_key(PREFIX), value, Expect::Any, None)
        .await
        .unwrap();
    let error = Reader::new().read(&store, PREFIX).await.expect_err("too much");
    assert!(matches!(error, ProtocolError::Unpack(_)), "{error:?}");
}
