//! Snapshots and acknowledgements, as control and agents hand them over.

use std::time::Duration;

use weir_model::{Acknowledgement, AgentId, Generation, Snapshot};

use super::bytes;
use crate::{
    Expect, Store,
    protocol::{self, ProtocolError},
};

fn snapshot(generation: u64, marker: &str) -> Snapshot {
    let gateway = gateway(&format!("{marker}.example"));
    Snapshot::new("test", Generation(generation), vec![gateway]).unwrap()
}

fn gateway(host: &str) -> weir_model::Gateway {
    weir_model::Gateway {
        name: weir_model::GatewayName::new("shop").unwrap(),
        protocol: weir_model::Protocol::Http,
        listener: None,
        virtual_hosts: vec![host.to_owned()],
        sticky: weir_model::Sticky::None,
        options: weir_model::GatewayOptions::default(),
        routes: Vec::new(),
    }
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

/// A large snapshot is written and read in sections: a change writes few keys, and old ones are removed in the end.
pub async fn publishing_in_sections(store: &dyn Store, prefix: &str) {
    let large = |generation: u64| {
        let mut gateways = Vec::new();
        for number in 0..300_u64 {
            let noise = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let changed = if generation % 300 == number { generation } else { 0 };
            let mut gateway = gateway(&format!("{noise:016x}.{}.{changed}.example", "long".repeat(40)));
            gateway.name = weir_model::GatewayName::new(format!("g{number}")).unwrap();
            gateways.push(gateway);
        }
        Snapshot::new("test", Generation(generation), gateways).unwrap()
    };
    let keys = async || {
        let keys = store.keys(&format!("{prefix}/weir/snapshot/")).await.unwrap();
        keys.len()
    };
    let (mut reader, mut documents) = (protocol::Reader::new(), weir_model::wire::v1::Reader::default());
    let mut place = protocol::publish(store, prefix, &large(1), None).await.unwrap();
    let first = keys().await;
    assert!(first > 5, "one chunk shows nothing: {first}");
    for generation in 2..=70 {
        let next = large(generation);
        place = protocol::publish(store, prefix, &next, Some(place))
            .await
            .unwrap();
        let read = reader.read(store, prefix).await.unwrap().expect("published");
        assert_eq!((read.generation, read.revision), (Generation(generation), place));
        let reading = documents.read(&read.document).unwrap();
        assert_eq!(reading.snapshot, next);
        let there = keys().await;
        assert!(there < first + 40, "{there} keys at generation {generation}");
    }
    let whole = protocol::read(store, prefix).await.unwrap().expect("published");
    assert_eq!(
        weir_model::wire::v1::read(&whole.bytes).unwrap().snapshot,
        large(70)
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
