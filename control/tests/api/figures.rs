//! `/metrics` and `/health`, from events.

use serde_json::json;

use crate::world::{SHOP, Stream, World};

#[tokio::test]
async fn the_newest_event_within_the_window_is_the_answer() {
    let world = World::new().await;
    let event = async |kind: &str, tags: &str, value: &str, timestamp: &str| {
        let body = format!("{{type: {kind}, tags: [{tags}], value: {value}, timestamp: '{timestamp}'}}");
        world.post("/events", &body).await.is(201);
    };
    let gateway = "'gateways:sava/sava/web', gateway, 'metrics:rate'";
    world
        .get("/metrics/gateways/sava%2Fsava%2Fweb/rate")
        .await
        .is(404);
    event("metrics", gateway, "12.5", "now-10s").await;
    event("metrics", gateway, "11", "now-20s").await;
    event(
        "metrics",
        "'gateways:sava/sava/web', route, 'routes:sava/sava/sava:1.0/web', 'metrics:rate'",
        "3",
        "now",
    )
    .await;
    for (path, value) in [
        ("/metrics/gateways/sava%2Fsava%2Fweb/rate", "12.5"),
        ("/metrics/deployments/sava/clusters/sava/ports/web/rate", "12.5"),
        (
            "/metrics/gateways/sava%2Fsava%2Fweb/routes/sava%2Fsava%2Fsava%3A1.0%2Fweb/rate",
            "3",
        ),
        (
            "/metrics/deployments/sava/clusters/sava/services/sava:1.0/ports/web/rate",
            "3",
        ),
    ] {
        let answer = world.get(path).await.is(200);
        assert_eq!(answer.text, value, "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    world
        .get("/metrics/gateways/sava%2Fsava%2Fweb/rate?window=5s")
        .await
        .is(404);
    world
        .get("/metrics/gateways/sava%2Fsava%2Fweb/rate?window=soon")
        .await
        .is(400);
    world.get("/metrics/gateways/sava/sava/web/rate").await.is(404);
    world.get("/metrics/colours/red").await.is(404);

    event("health", "'gateways:g', gateway, health", "0", "now").await;
    event(
        "health",
        "'deployments:d', 'clusters:c', cluster, health",
        "1",
        "now",
    )
    .await;
    event(
        "health",
        "'deployments:d', 'clusters:c', 'services:s', service, health",
        "0",
        "now",
    )
    .await;
    for (path, value) in [
        ("/health/gateways/g", "0"),
        ("/health/deployments/d/clusters/c", "1"),
        ("/health/deployments/d/clusters/c/services/s", "0"),
    ] {
        assert_eq!(world.get(path).await.is(200).text, value, "{path}");
    }
    world.get("/health/deployments/d").await.is(404);
    world.get("/health/gateways/g/routes/r").await.is(404);
    world
        .put("/config", "vamp.operation.health.window: 1ms")
        .await
        .is(202);
    world.get("/health/gateways/g").await.is(404);
}

#[tokio::test]
async fn what_is_allocated_is_told() {
    let world = World::new().await;
    let mut allocations = Stream::open(&world, "/events/stream?type=allocation", None).await;
    world.post("/deployments", SHOP).await.is(202);
    let (_, kind, event) = allocations.next().await.unwrap();
    assert_eq!(kind, "allocation");
    assert_eq!(
        event["tags"],
        json!(["allocation", "deployments:shop", "deployments"])
    );
    assert_eq!(
        event["value"],
        json!({"cpu": 0.4, "memory": 128.0, "instances": 2})
    );
    // Without an agent nothing is known of traffic, and nothing is told.
    let figures = world.get("/events?type=metrics").await.is(200);
    assert_eq!(figures.json(), json!([]));
}
