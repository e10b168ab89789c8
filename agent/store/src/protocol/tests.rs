//! The frozen form, and what hostile or broken stores can hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use weir_model::{
    Acknowledgement, AgentId, Balance, Condition, ConditionStrength, Gateway, GatewayName, Generation,
    Instance, InstanceId, InstanceState, Listener, Protocol, Refusal, Route, RouteName, Snapshot, Sticky,
    Target, Weight, wire,
};

use super::{ProtocolError, acknowledge, agents, manifest_key, publish, read};
use crate::{Expect, Store as _, memory::Memory};

mod sections;

const PREFIX: &str = "vamp/default";
const GOLDEN: &str = include_str!("../../testdata/v1/published.json");

fn sample() -> Snapshot {
    let route = |name: &str, weight, port, condition: Option<&str>| Route {
        name: RouteName::new(name).unwrap(),
        weight: Weight::from_percent(weight).unwrap(),
        condition: condition.map(|text| Condition::parse(text).unwrap()),
        condition_strength: condition.map_or(ConditionStrength::ZERO, |_| ConditionStrength::FULL),
        balance: Balance::RoundRobin,
        options: Default::default(),
        target: Target::Instances(vec![Instance {
            id: InstanceId::new(format!("i{port}")).unwrap(),
            host: "127.0.0.1".to_owned(),
            port,
            state: InstanceState::Serving,
        }]),
    };
    let shop = Gateway {
        name: GatewayName::new("shop/9050").unwrap(),
        protocol: Protocol::Http,
        listener: Some(Listener {
            address: "0.0.0.0".parse().unwrap(),
            port: 9050,
        }),
        virtual_hosts: vec!["9050.shop.vamp".to_owned()],
        options: Default::default(),
        sticky: Sticky::Route,
        routes: vec![
            route("shop/front/front:1.0/web", 80, 9001, None),
            route(
                "shop/front/front:1.1/web",
                20,
                9002,
                Some("User-Agent == Firefox"),
            ),
        ],
    };
    Snapshot::new("default", Generation(42), vec![shop]).unwrap()
}

fn acknowledgement() -> Acknowledgement {
    Acknowledgement {
        agent: AgentId::new("edge-1").unwrap(),
        admin: Some("10.0.0.7:1988".to_owned()),
        generation: Generation(42),
        digest: Some(sample().digest()),
        seen: Generation(43),
        refused: vec![Refusal {
            gateway: String::new(),
            reason: "the snapshot is of version 2.0; this program reads 1.x".to_owned(),
        }],
        version: "0.1.0".to_owned(),
        started_at_ms: 1_700_000_000_000,
        at_ms: 1_700_000_001_000,
        stale_ms: 0,
    }
}

/// A store as JSON: text values as they are, others as `hex:`.
async fn shown(store: &Memory) -> Value {
    let (entries, _) = store.list("").await.unwrap();
    let shown: BTreeMap<String, Value> = entries
        .into_iter()
        .map(|entry| {
            let value = serde_json::from_slice(&entry.value)
                .unwrap_or_else(|_| Value::String(format!("hex:{}", hex::encode(&entry.value))));
            (entry.key, value)
        })
        .collect();
    json!(shown)
}

async fn filled(with: &Value) -> Memory {
    let store = Memory::new();
    for (key, value) in with.as_object().unwrap() {
        let bytes = match value.as_str().and_then(|text| text.strip_prefix("hex:")) {
            Some(digits) => hex::decode(digits).unwrap(),
            None => serde_json::to_vec(value).unwrap(),
        };
        store.put(key, bytes.into(), Expect::Any, None).await.unwrap();
    }
    store
}

fn golden() -> Value {
    serde_json::from_str(GOLDEN).unwrap()
}

/// What an earlier release wrote is read by every later one.
#[tokio::test]
async fn the_frozen_form_is_read() {
    let store = filled(&golden()).await;
    let published = read(&store, PREFIX).await.unwrap().unwrap();
    assert_eq!(published.generation, Generation(42));
    let document = wire::v1::read(&published.bytes).unwrap();
    assert_eq!(document.snapshot, sample());
    assert!(document.refused.is_empty());
    assert_eq!(agents(&store, PREFIX).await.unwrap(), [acknowledgement()]);
}

/// What this release writes is the frozen form. How well the packer packs is not part of it.
#[tokio::test]
async fn the_frozen_form_is_written() {
    let store = Memory::new();
    publish(&store, "/vamp/default/", &sample(), None).await.unwrap();
    let lease = store.grant(std::time::Duration::from_secs(60)).await.unwrap();
    acknowledge(&store, PREFIX, &lease, &acknowledgement())
        .await
        .unwrap();
    let written = shown(&store).await;
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v1/published.json");
        std::fs::write(path, serde_json::to_string_pretty(&written).unwrap() + "\n").unwrap();
    }
    let [mut written, mut golden] = [written, golden()];
    for document in [&mut written, &mut golden] {
        let manifest = &mut document[manifest_key(PREFIX)];
        for chunk in manifest["chunks"].as_array_mut().unwrap() {
            chunk["bytes"] = Value::Null;
            chunk["sha256"] = Value::Null;
        }
        let chunk = "vamp/default/weir/snapshot/chunks/42-".to_owned() + &sample().digest().short() + "/0";
        assert!(
            document.as_object_mut().unwrap().remove(&chunk).is_some(),
            "{chunk}"
        );
    }
    assert_eq!(written, golden);
}

/// Reads after `change` of the golden's manifest.
async fn read_changed(change: impl FnOnce(&mut Value)) -> Result<(), ProtocolError> {
    let mut golden = golden();
    change(&mut golden[manifest_key(PREFIX)]);
    let store = filled(&golden).await;
    read(&store, PREFIX).await.map(|_| ())
}

#[tokio::test]
async fn additions_of_a_later_minor_version_are_ignored() {
    let outcome = read_changed(|manifest| {
        manifest["version"] = json!("1.7");
        manifest["hint"] = json!({"new": true});
        manifest["chunks"][0]["tier"] = json!(1);
    });
    outcome.await.unwrap();
}

#[tokio::test]
async fn a_mark_keeps_out_who_read_before_and_changes_nothing_for_readers() {
    let store = Memory::new();
    super::mark(&store, PREFIX, 1).await.unwrap();
    assert_eq!(
        super::epoch(&store, PREFIX).await.unwrap(),
        None,
        "nothing is published"
    );
    let first = sample();
    let place = super::publish(&store, PREFIX, &first, None).await.unwrap();
    super::mark(&store, PREFIX, 7).await.unwrap();
    assert_eq!(super::epoch(&store, PREFIX).await.unwrap(), Some(7));
    let read = super::read(&store, PREFIX).await.unwrap().unwrap();
    assert_eq!(
        (read.generation, read.digest),
        (first.generation(), first.digest())
    );
    let second = first.clone().with_generation(first.generation().next());
    let late = super::publish(&store, PREFIX, &second, Some(place)).await;
    assert!(matches!(late, Err(ProtocolError::Outdated { .. })), "{late:?}");
    super::publish(&store, PREFIX, &second, Some(read.revision))
        .await
        .unwrap();
    assert_eq!(super::epoch(&store, PREFIX).await.unwrap(), None);
}

#[tokio::test]
async fn what_cannot_be_right_is_refused() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 10] = [
        (|m| m["version"] = json!("2.0"), "version 2.0"),
        (|m| m["encoding"] = json!("brotli"), "packed by `brotli`"),
        (|m| m["chunks"] = json!([]), "0 chunks"),
        (|m| m["bytes"] = json!(1_u64 << 40), "over the limit"),
        (|m| m["chunks"][0]["bytes"] = json!(u64::MAX), "over the limit"),
        (|m| m["chunks"][0]["bytes"] = json!(3), "another length"),
        (|m| m["chunks"][0]["sha256"] = json!("00"), "another hash"),
        (
            |m| m["chunks"][0]["key"] = json!("chunks/../../x"),
            "not the key of a chunk",
        ),
        (|m| m["chunks"][0]["key"] = json!("chunks/9-a/0"), "is not there"),
        (|m| m["bytes"] = json!(10), "another length"),
    ];
    for (change, expected) in cases {
        let error = read_changed(change).await.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = read_changed(|m| *m = json!("nonsense"))
        .await
        .expect_err("nonsense");
    assert!(error.is_content(), "{error:?}");
}

/// A small packed document that unpacks to a huge one is not unpacked.
#[tokio::test]
async fn what_unpacks_to_more_than_it_says_is_refused() {
    let zeros = vec![0; super::DOCUMENT_BYTES_MAX + 1];
    let bomb = zstd::bulk::compress(&zeros, 3).unwrap();
    assert!(bomb.len() < 100_000);
    let mut golden = golden();
    let manifest = &mut golden[manifest_key(PREFIX)];
    manifest["bytes"] = json!(super::DOCUMENT_BYTES_MAX);
    manifest["chunks"][0]["bytes"] = json!(bomb.len());
    manifest["chunks"][0]["sha256"] = json!(hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bomb)));
    let key = format!(
        "{PREFIX}/weir/snapshot/{}",
        manifest["chunks"][0]["key"].as_str().unwrap()
    );
    let store = filled(&golden).await;
    store
        .put(&key, Bytes::from(bomb), Expect::Any, None)
        .await
        .unwrap();
    let error = read(&store, PREFIX).await.expect_err("too much");
    assert!(matches!(error, ProtocolError::Unpack(_)), "{error:?}");
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_does_not_block_the_next_publication() {
    let store = Memory::new();
    let place = store
        .put(
            &manifest_key(PREFIX),
            Bytes::from_static(b"{}"),
            Expect::Any,
            None,
        )
        .await
        .unwrap();
    publish(&store, PREFIX, &sample(), Some(place)).await.unwrap();
    assert!(read(&store, PREFIX).await.unwrap().is_some());
}

#[tokio::test]
async fn an_acknowledgement_of_thousands_of_refusals_still_fits() {
    let store = Memory::new();
    let lease = store.grant(std::time::Duration::from_secs(60)).await.unwrap();
    let refusal = |number| Refusal {
        gateway: format!("gateway-{number}"),
        reason: "x".repeat(500),
    };
    let mut long = acknowledgement();
    long.refused = (0..10_000).map(refusal).collect();
    acknowledge(&store, PREFIX, &lease, &long).await.unwrap();
    let read = agents(&store, PREFIX).await.unwrap().remove(0);
    let more = 10_000 - (read.refused.len() - 1);
    assert!(read.refused.len() > 100, "most of what fits is told");
    assert_eq!(read.refused.last().unwrap().reason, format!("and {more} more"));
}
