//! What there is; restarts; the description.

use std::sync::Arc;

use serde_json::json;
use weir_control::{Control, Storage};
use weir_driver::fake::Fake;

use crate::world::{FRONT, World, config};

#[tokio::test]
async fn agents_and_traffic_are_shown() {
    let world = World::new().await;
    assert_eq!(world.get("/agents").await.is(200).json(), json!([]));
    let traffic = world.get("/traffic?window=5").await.is(200).json();
    assert_eq!(traffic["window_s"], 5);
    assert_eq!(traffic["gateways"], json!([]));
    world.get("/traffic?window=x").await.is(400);
}

#[tokio::test]
async fn info_says_what_there_is() {
    let world = World::new().await;
    let info = world.get("/info").await.is(200).json();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["persistence"]["database"]["type"], "memory");
    assert_eq!(info["key_value"]["type"], "memory");
    assert_eq!(info["container_driver"]["type"], "fake");
    assert!(info["message"].is_string() && info["uuid"].is_string() && info["running_since"].is_string());
    let part = world
        .get("/information?on=pulse&on=key_value")
        .await
        .is(200)
        .json();
    assert_eq!(part["pulse"]["type"], "memory");
    assert_eq!(part.get("persistence"), None);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let control = Control::start_with(config(folder.path(), Storage::Sqlite), Arc::new(Fake::new()));
        World {
            control: control.await.unwrap(),
            http: reqwest::Client::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    };
    let world = start().await;
    world.post("/breeds", FRONT).await.is(201);
    let second = Control::start_with(config(folder.path(), Storage::Sqlite), Arc::new(Fake::new())).await;
    let refused = format!("{:#}", second.unwrap_err());
    assert!(refused.contains("is in use by another process"), "{refused}");
    let before = world.get("/events").await.is(200).json();
    world.control.shutdown().await;

    let world = start().await;
    world.get("/breeds/front:1").await.is(200);
    let after = world.get("/events").await.is(200).json();
    assert_eq!(
        after.as_array().unwrap().last(),
        before.as_array().unwrap().last()
    );
    world.control.shutdown().await;
}

/// The description that is checked in is the one that is served. `WEIR_UPDATE=1` writes it.
#[tokio::test]
async fn the_description_is_the_one_that_is_checked_in() {
    let world = World::new().await;
    let served = world.get("/openapi.json").await.is(200);
    assert_eq!(served.header("content-type"), "application/json");
    let served = served.json();
    assert_eq!(served["openapi"], "3.1.0");
    for (path, method) in [
        ("/api/v1", "put"),
        ("/api/v1/breeds/{name}", "delete"),
        ("/api/v1/deployments", "post"),
        ("/api/v1/events/stream", "get"),
        ("/api/v1/traffic", "get"),
    ] {
        assert!(served["paths"][path][method].is_object(), "{method} {path}");
    }
    let mut text = serde_json::to_string_pretty(&served).unwrap();
    text.push('\n');
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    if std::env::var_os("WEIR_UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi.json is not up to date; run this test with WEIR_UPDATE=1"
    );
}
