//! What the tests of the agent need: origins, a client, waiting.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use weir_model::{
    Balance, ConditionStrength, Gateway, GatewayName, Generation, Instance, InstanceId, InstanceState,
    Listener, Protocol, Route, RouteName, Snapshot, Sticky, Target, Weight,
};
use weir_store::{Expect, Store, protocol};

pub(crate) const PREFIX: &str = "vamp/test";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a check gives something.
pub(crate) async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A server that answers every request with its name.
pub(crate) async fn origin(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                    if head.ends_with(b"\r\n\r\n") {
                        let length = name.len();
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                        head.clear();
                    }
                }
            });
        }
    });
    address
}

/// The body of the answer to a GET; `None` if nobody answers.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    };
    timeout(PATIENCE, asking).await.expect("an answer in time")
}

pub(crate) async fn served(port: u16) -> Option<String> {
    get(SocketAddr::from(([127, 0, 0, 1], port)), "/").await
}

/// Waits until a gateway answers with that.
pub(crate) async fn serves(port: u16, expected: &str) {
    eventually(&format!("`{expected}` on {port}"), async || {
        (served(port).await.as_deref() == Some(expected)).then_some(())
    })
    .await;
}

pub(crate) async fn status(admin: SocketAddr) -> Value {
    serde_json::from_str(&get(admin, "/status").await.expect("the admin listener answers")).unwrap()
}

/// A gateway that leads everything to one origin.
pub(crate) fn gateway(name: &str, port: u16, origin: SocketAddr) -> Gateway {
    Gateway {
        name: GatewayName::new(name).unwrap(),
        protocol: Protocol::Http,
        listener: Some(Listener {
            address: "127.0.0.1".parse().unwrap(),
            port,
        }),
        virtual_hosts: Vec::new(),
        options: Default::default(),
        sticky: Sticky::None,
        routes: vec![Route {
            name: RouteName::new("all").unwrap(),
            weight: Weight::FULL,
            condition: None,
            condition_strength: ConditionStrength::ZERO,
            balance: Balance::RoundRobin,
            options: Default::default(),
            target: Target::Instances(vec![Instance {
                id: InstanceId::new(origin.to_string()).unwrap(),
                host: origin.ip().to_string(),
                port: origin.port(),
                state: InstanceState::Serving,
            }]),
        }],
    }
}

pub(crate) fn snapshot(generation: u64, gateways: Vec<Gateway>) -> Snapshot {
    Snapshot::new("test", Generation(generation), gateways).unwrap()
}

/// Publishes over whatever is there.
pub(crate) async fn publish(store: &dyn Store, snapshot: &Snapshot) {
    let place = protocol::place(store, PREFIX).await.unwrap();
    protocol::publish(store, PREFIX, snapshot, place).await.unwrap();
}

/// Publishes a document as it is: one that no snapshot of ours would give.
pub(crate) async fn publish_document(
    store: &dyn Store,
    generation: u64,
    digest: weir_model::Digest,
    document: &[u8],
) {
    let packed = Bytes::from(zstd::bulk::compress(document, 1).unwrap());
    let manifest = protocol::Manifest {
        version: "1.0".to_owned(),
        generation: Generation(generation),
        digest,
        encoding: "zstd".to_owned(),
        bytes: document.len() as u64,
        chunks: vec![protocol::Chunk {
            key: format!("chunks/{generation}-test/0"),
            bytes: packed.len() as u64,
            sha256: weir_model::Digest::of(&packed).to_string().replace("sha256:", ""),
            text: None,
            gateways: None,
        }],
        retired: None,
    };
    let key = format!("{PREFIX}/weir/snapshot/{}", manifest.chunks[0].key);
    store.put(&key, packed, Expect::Any, None).await.unwrap();
    let manifest = Bytes::from(serde_json::to_vec(&manifest).unwrap());
    store
        .put(&protocol::manifest_key(PREFIX), manifest, Expect::Any, None)
        .await
        .unwrap();
}

/// A document of gateways as JSON texts, with its digest.
pub(crate) fn document(generation: u64, gateways: &[String]) -> (weir_model::Digest, Vec<u8>) {
    let gateways = format!("[{}]", gateways.join(","));
    let digest = weir_model::Digest::of(gateways.as_bytes());
    let document = format!(
        r#"{{"version":"1.0","namespace":"test","generation":{generation},"digest":"{digest}","gateways":{gateways}}}"#
    );
    (digest, document.into_bytes())
}

pub(crate) fn as_json(gateway: &Gateway) -> String {
    serde_json::to_string(&weir_model::wire::v1::Gateway::from(gateway)).unwrap()
}

/// Waits for the acknowledgement of the one agent that satisfies a check.
pub(crate) async fn acknowledged(
    store: &Arc<dyn Store>,
    what: &str,
    check: impl Fn(&weir_model::Acknowledgement) -> bool,
) -> weir_model::Acknowledgement {
    eventually(what, async || {
        let mut agents = protocol::agents(&**store, PREFIX).await.unwrap();
        agents.pop().filter(|acknowledgement| check(acknowledgement))
    })
    .await
}
