//! An agent between a store and traffic.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{path::Path, sync::Arc, time::Duration};

use common::{
    PREFIX, acknowledged, as_json, document, eventually, free_port, gateway, origin, publish,
    publish_document, served, serves, snapshot, status,
};
use weir_agent::{Agent, Config};
use weir_model::{Digest, Generation};
use weir_store::{Expect, Store, file::FileStore, memory::Memory, protocol, remote::Remote};

const DRAIN: Duration = Duration::from_secs(5);

fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::new())
}

fn config(store: &Arc<dyn Store>, data_dir: &Path) -> Config {
    let mut config = Config::new(Arc::clone(store), data_dir);
    config.prefix = PREFIX.to_owned();
    config.admin = "127.0.0.1:0".parse().unwrap();
    config.proxy.workers = 1;
    config.lease_ttl = Duration::from_millis(900);
    config
}

async fn start(store: &Arc<dyn Store>, data_dir: &Path) -> Agent {
    Agent::start(config(store, data_dir)).await.unwrap()
}

#[tokio::test]
async fn a_snapshot_is_served_and_acknowledged() {
    let (blue, green) = (origin("blue").await, origin("green").await);
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    let agent = start(&store, folder.path()).await;
    let nothing = acknowledged(&store, "a sign of life", |_| true).await;
    assert_eq!((nothing.generation, nothing.digest), (Generation(0), None));
    assert_eq!(nothing.admin, Some(agent.admin_address().to_string()));

    let first = snapshot(1, vec![gateway("shop", port, blue)]);
    publish(&*store, &first).await;
    serves(port, "blue").await;
    let one = acknowledged(&store, "generation 1", |told| told.generation == Generation(1)).await;
    assert_eq!(
        (one.agent, one.digest),
        (agent.id().clone(), Some(first.digest()))
    );
    assert!(one.refused.is_empty());

    // The same content under another number is acknowledged as such.
    publish(&*store, &first.clone().with_generation(Generation(2))).await;
    acknowledged(&store, "generation 2", |told| told.generation == Generation(2)).await;
    serves(port, "blue").await;

    publish(&*store, &snapshot(3, vec![gateway("shop", port, green)])).await;
    serves(port, "green").await;
    let shown = status(agent.admin_address()).await;
    assert_eq!(shown["generation"], 3);
    assert_eq!(
        (&shown["published"], &shown["problem"], &shown["stale_ms"]),
        (&true.into(), &().into(), &0.into())
    );
    let metrics = common::get(agent.admin_address(), "/metrics").await.unwrap();
    assert!(
        metrics.contains("\nweir_store_stale_seconds 0.000\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("weir_gateway_requests_total"),
        "the proxy's figures are there too"
    );
    assert!(common::get(agent.admin_address(), "/health").await.is_some());

    agent.shutdown(DRAIN).await;
    assert!(
        protocol::agents(&*store, PREFIX).await.unwrap().is_empty(),
        "it has left"
    );
    assert_eq!(served(port).await, None);
}

#[tokio::test]
async fn a_gateway_that_is_refused_keeps_its_last_good_form() {
    let (blue, green) = (origin("blue").await, origin("green").await);
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let (shop, blog, gone) = (free_port(), free_port(), free_port());
    let agent = start(&store, folder.path()).await;
    let first = vec![
        gateway("shop", shop, blue),
        gateway("blog", blog, blue),
        gateway("gone", gone, blue),
    ];
    publish(&*store, &snapshot(1, first)).await;
    serves(gone, "blue").await;

    let faulty = as_json(&gateway("shop", shop, green)).replace("\"weight\":10000", "\"weight\":7");
    let (digest, bytes) = document(2, &[faulty, as_json(&gateway("blog", blog, green))]);
    publish_document(&*store, 2, digest, &bytes).await;
    serves(blog, "green").await;
    let told = acknowledged(&store, "generation 2", |told| told.generation == Generation(2)).await;
    assert_eq!(told.digest, Some(digest));
    let [refusal] = &told.refused[..] else {
        panic!("{:?}", told.refused)
    };
    assert!(
        refusal.gateway == "shop" && refusal.reason.contains("weights"),
        "{refusal:?}"
    );
    assert_eq!(served(shop).await.as_deref(), Some("blue"));
    eventually("what is not in the document is gone", async || {
        served(gone).await.is_none().then_some(())
    })
    .await;

    // Also over a restart.
    agent.shutdown(DRAIN).await;
    let agent = start(&store, folder.path()).await;
    serves(shop, "blue").await;
    let told = acknowledged(&store, "the refusal", |told| !told.refused.is_empty()).await;
    assert_eq!(told.generation, Generation(2));

    publish(&*store, &snapshot(3, vec![gateway("shop", shop, green)])).await;
    serves(shop, "green").await;
    acknowledged(&store, "no refusal", |told| told.refused.is_empty()).await;
    agent.shutdown(DRAIN).await;
}

#[tokio::test]
async fn a_document_that_is_refused_changes_nothing() {
    let blue = origin("blue").await;
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    let agent = start(&store, folder.path()).await;
    let first = snapshot(5, vec![gateway("shop", port, blue)]);
    publish(&*store, &first).await;
    serves(port, "blue").await;

    let (digest, bytes) = document(6, &[]);
    let newer = String::from_utf8(bytes.clone())
        .unwrap()
        .replace("\"1.0\"", "\"2.0\"")
        .into_bytes();
    publish_document(&*store, 6, digest, &newer).await;
    let told = acknowledged(&store, "a refusal", |told| !told.refused.is_empty()).await;
    assert_eq!(
        (told.generation, told.digest, told.seen),
        (Generation(5), Some(first.digest()), Generation(6))
    );
    assert!(
        told.refused[0].gateway.is_empty() && told.refused[0].reason.contains("2.0"),
        "{told:?}"
    );

    // A manifest that says something else than the document.
    publish_document(&*store, 7, Digest::of(b"another"), &bytes).await;
    let told = acknowledged(&store, "generation 7 seen", |told| told.seen == Generation(7)).await;
    assert!(told.refused[0].reason.contains("the manifest says"), "{told:?}");

    // A manifest that is none.
    let key = protocol::manifest_key(PREFIX);
    store
        .put(&key, bytes::Bytes::from_static(b"{"), Expect::Any, None)
        .await
        .unwrap();
    acknowledged(&store, "a refusal", |told| {
        told.refused[0].reason.contains("the manifest cannot be used")
    })
    .await;
    assert_eq!(served(port).await.as_deref(), Some("blue"));

    publish(&*store, &snapshot(8, vec![gateway("shop", port, blue)])).await;
    let told = acknowledged(&store, "generation 8", |told| told.generation == Generation(8)).await;
    assert!(told.refused.is_empty(), "{told:?}");
    agent.shutdown(DRAIN).await;
}

#[tokio::test]
async fn numbers_do_not_go_back() {
    let (blue, green) = (origin("blue").await, origin("green").await);
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    let agent = start(&store, folder.path()).await;
    publish(&*store, &snapshot(5, vec![gateway("shop", port, blue)])).await;
    serves(port, "blue").await;
    // A backup of the store comes back: an older number, another content.
    let key = protocol::manifest_key(PREFIX);
    store.delete(&key, Expect::Any).await.unwrap();
    publish(&*store, &snapshot(3, vec![gateway("shop", port, green)])).await;
    let told = acknowledged(&store, "a refusal", |told| !told.refused.is_empty()).await;
    assert_eq!((told.generation, told.seen), (Generation(5), Generation(5)));
    assert!(
        told.refused[0].reason.contains("generation went back"),
        "{told:?}"
    );
    assert_eq!(served(port).await.as_deref(), Some("blue"));
    publish(&*store, &snapshot(6, vec![gateway("shop", port, green)])).await;
    serves(port, "green").await;
    agent.shutdown(DRAIN).await;
}

#[tokio::test]
async fn a_wiped_store_costs_nothing() {
    let (blue, green) = (origin("blue").await, origin("green").await);
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    let agent = start(&store, folder.path()).await;
    publish(&*store, &snapshot(1, vec![gateway("shop", port, blue)])).await;
    serves(port, "blue").await;
    acknowledged(&store, "generation 1", |told| told.generation == Generation(1)).await;
    for entry in store.list("").await.unwrap().0 {
        store.delete(&entry.key, Expect::Any).await.unwrap();
    }
    eventually("it is seen", async || {
        (status(agent.admin_address()).await["published"] == false).then_some(())
    })
    .await;
    assert_eq!(served(port).await.as_deref(), Some("blue"));
    let told = acknowledged(&store, "a new sign of life", |_| true).await;
    assert_eq!(
        told.generation,
        Generation(1),
        "whoever publishes anew learns where to go on"
    );
    publish(&*store, &snapshot(2, vec![gateway("shop", port, green)])).await;
    serves(port, "green").await;
    agent.shutdown(DRAIN).await;
}

#[tokio::test]
async fn a_start_without_the_store_serves_what_the_disk_has() {
    let (blue, green) = (origin("blue").await, origin("green").await);
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    let agent = start(&store, folder.path()).await;
    let id = agent.id().clone();
    publish(&*store, &snapshot(1, vec![gateway("shop", port, blue)])).await;
    serves(port, "blue").await;
    acknowledged(&store, "generation 1", |told| told.generation == Generation(1)).await;
    eventually("it is on disk", async || {
        folder.path().join("last-good.json").exists().then_some(())
    })
    .await;
    agent.shutdown(DRAIN).await;

    let address = format!("127.0.0.1:{}", free_port());
    let away: Arc<dyn Store> = Arc::new(Remote::lazy(address.clone()));
    let agent = start(&away, folder.path()).await;
    assert_eq!(*agent.id(), id);
    // Served as soon as the agent has started, not only eventually.
    assert_eq!(served(port).await.as_deref(), Some("blue"));
    eventually("the loss is shown", async || {
        let shown = status(agent.admin_address()).await;
        (shown["problem"].is_string() && shown["stale_ms"] != 0).then_some(())
    })
    .await;

    // The store comes back, with news.
    publish(&*store, &snapshot(2, vec![gateway("shop", port, green)])).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let serving = tokio::spawn(weir_store::remote::serve(
        listener,
        Arc::clone(&store),
        shutdown.clone(),
    ));
    serves(port, "green").await;
    acknowledged(&store, "generation 2", |told| told.generation == Generation(2)).await;
    eventually("it is fresh", async || {
        (status(agent.admin_address()).await["stale_ms"] == 0).then_some(())
    })
    .await;
    // And goes away under traffic.
    shutdown.cancel();
    serving.await.unwrap().unwrap();
    assert_eq!(served(port).await.as_deref(), Some("green"));
    agent.shutdown(DRAIN).await;
}

#[tokio::test]
async fn a_damaged_last_good_snapshot_is_moved_aside() {
    let blue = origin("blue").await;
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    std::fs::write(folder.path().join("last-good.json"), "sha256:nonsense\n{}").unwrap();
    let agent = start(&store, folder.path()).await;
    assert!(folder.path().join("last-good.json.corrupt").exists());
    publish(&*store, &snapshot(1, vec![gateway("shop", port, blue)])).await;
    serves(port, "blue").await;
    agent.shutdown(DRAIN).await;
}

#[tokio::test]
async fn a_port_that_becomes_free_is_taken() {
    let blue = origin("blue").await;
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let agent = start(&store, folder.path()).await;
    publish(&*store, &snapshot(1, vec![gateway("shop", port, blue)])).await;
    let told = acknowledged(&store, "a refusal", |told| !told.refused.is_empty()).await;
    assert_eq!(
        (told.refused[0].gateway.as_str(), told.generation),
        ("shop", Generation(1))
    );
    drop(taken);
    serves(port, "blue").await;
    acknowledged(&store, "no refusal", |told| told.refused.is_empty()).await;
    agent.shutdown(DRAIN).await;
}

#[tokio::test]
async fn a_file_is_followed() {
    let (blue, green) = (origin("blue").await, origin("green").await);
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let path = folder.path().join("gateways.yaml");
    let write = |origin: std::net::SocketAddr, rest: &str| {
        let text = format!(
            "gateways:\n  shop:\n    address: 127.0.0.1\n    port: {port}\n    routes:\n      all: {{weight: 100%, instances: ['{origin}']}}\n{rest}"
        );
        std::fs::write(&path, text).unwrap();
    };
    write(blue, "");
    let store: Arc<dyn Store> = Arc::new(FileStore::open(&path).unwrap());
    let agent = start(&store, &folder.path().join("data")).await;
    serves(port, "blue").await;
    write(green, "");
    serves(port, "green").await;
    write(blue, "    stikcy: route\n");
    eventually("the fault is shown", async || {
        let shown = status(agent.admin_address()).await;
        shown["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("stikcy"))
            .then_some(())
    })
    .await;
    assert_eq!(served(port).await.as_deref(), Some("green"));
    write(green, "");
    eventually("the fault is over", async || {
        let shown = status(agent.admin_address()).await;
        (shown["problem"].is_null() && shown["refused"] == serde_json::json!([])).then_some(())
    })
    .await;
    agent.shutdown(DRAIN).await;
}

#[tokio::test]
async fn a_data_folder_has_one_agent() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let agent = start(&store, folder.path()).await;
    let second = Agent::start(config(&store, folder.path())).await.unwrap_err();
    assert!(second.to_string().contains("in use by another agent"), "{second}");
    agent.shutdown(DRAIN).await;
    start(&store, folder.path()).await.shutdown(DRAIN).await;
}
