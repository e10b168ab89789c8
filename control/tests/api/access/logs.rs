//! The log as a stream.

use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt as _;
use weir_control::LogFeed;

use crate::world::{PATIENCE, World};

/// The data of the next event.
async fn next(response: &mut reqwest::Response, text: &mut String) -> Value {
    loop {
        if let Some((event, rest)) = text.split_once("\n\n") {
            let (event, rest) = (event.to_owned(), rest.to_owned());
            *text = rest;
            if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data:")) {
                assert!(event.contains("event: log"), "{event}");
                return serde_json::from_str(data.trim()).unwrap();
            }
            continue;
        }
        let chunk = tokio::time::timeout(PATIENCE, response.chunk())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

// One thread: the subscriber is that thread's alone.
#[tokio::test]
async fn lines_come_by_level_and_logger() {
    let feed = LogFeed::new();
    let subscriber = tracing_subscriber::registry().with(feed.layer());
    let _guard = tracing::subscriber::set_default(subscriber);
    let world = World::with(|config| config.logs = Some(feed)).await;
    let open = async |query: &str| {
        let response = world
            .http
            .get(world.url(&format!("/logs?{query}")))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        (response, String::new())
    };
    let (mut warnings, mut warnings_text) = open("level=WARN&logger=test::").await;
    let (mut all, mut all_text) = open("logger=test::one").await;
    tracing::info!(target: "test::one", "an information");
    tracing::warn!(target: "test::two", gateway = "shop/80", "a warning");
    tracing::error!(target: "test::one", "an error");
    let warning = next(&mut warnings, &mut warnings_text).await;
    assert_eq!(warning["message"], "a warning gateway=\"shop/80\"");
    assert_eq!(
        (&warning["level"], &warning["logger"]),
        (&"WARN".into(), &"test::two".into())
    );
    assert!(warning["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        next(&mut warnings, &mut warnings_text).await["message"],
        "an error"
    );
    assert_eq!(next(&mut all, &mut all_text).await["message"], "an information");
    assert_eq!(next(&mut all, &mut all_text).await["message"], "an error");
    world.get("/log?level=loud").await.is(400);
}
