//! Agents whose stores fall silent between two frames.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::published;
use crate::{
    reconcile::tests::rig::{Agent, Rig, eventually},
    traffic::{agents as list, pull, read},
};

/// The status says what the test wants; frames are never answered.
#[tokio::test]
async fn silence_is_told_without_a_frame_and_only_by_the_agent_itself() {
    let rig = Rig::new();
    published(&rig).await;
    let status = Arc::new(Mutex::new(json!({ "id": "a", "stale_ms": 0 })));
    let shown = Arc::clone(&status);
    let page = get(async move || Json(shown.lock().unwrap().clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    let router = Router::new().route("/status", page);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let store = Arc::clone(&rig.state.store);
    Agent::join(&*store, "a", Some(admin))
        .await
        .acknowledge(&*store, None)
        .await;
    read(&rig.state, 0).await;
    let look = async |says: Value| {
        *status.lock().unwrap() = says;
        pull::silences(&rig.state).await;
        list(&rig.state).await.unwrap().remove(0).stale_ms
    };
    let told = async |word: &str| rig.events(&[&format!("gateway_agent:{word}"), "agents:a"]).await;
    // Another agent has the address by now.
    assert_eq!(look(json!({ "id": "b", "stale_ms": 9_000 })).await, None);
    assert_eq!(look(json!({ "id": "a", "stale_ms": 1_200 })).await, Some(1_200));
    eventually(async || told("stale").await == 1).await;
    assert_eq!(look(json!({ "id": "a" })).await, Some(1_200), "it does not say");
    assert_eq!(look(json!({ "id": "a", "stale_ms": 0 })).await, Some(0));
    eventually(async || told("fresh").await == 1).await;
    assert_eq!(told("stale").await, 1);
    server.abort();
    rig.end().await;
}
