//! Events: published, found, streamed.

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{FRONT, PATIENCE, Stream, World};

#[tokio::test]
async fn events_are_published_and_found() {
    let world = World::new().await;
    let event = world
        .post(
            "/events",
            r#"{"tags": ["gateways:shop/80", "metrics:rate"], "type": "metrics", "value": 12.5,
                "timestamp": "2017-05-04T12:00:05.100+02:00", "id": "9"}"#,
        )
        .await
        .is(201)
        .json();
    assert_eq!(
        event,
        json!({
            "id": event["id"],
            "tags": ["gateways:shop/80", "metrics:rate", "gateways", "metrics"],
            "timestamp": "2017-05-04T10:00:05.100Z",
            "type": "metrics",
            "value": 12.5,
        })
    );
    world
        .post("/events", "tags: gateways:shop/80\nvalue: {a: {b: 3}}\n")
        .await
        .is(201);
    let wrong = world.post("/events", "tags: []").await.is(400);
    assert_eq!(
        wrong.json()["problems"][0]["message"],
        "Publishing an event without tags is not allowed."
    );
    world.post("/events", "").await.is(400);

    let found = world.get("/events?tag=gateways&tag=metrics:rate").await.is(200);
    assert_eq!(found.json(), json!([event]));
    assert_eq!(found.header("x-total-count"), "1");
    assert_eq!(
        world.get("/events?tag=gateways").await.json()[1],
        event,
        "newest first"
    );
    assert_eq!(world.get("/events?type=health").await.json(), json!([]));
    assert_eq!(
        world.get("/events?tag=gateways&per_page=1&page=2").await.json(),
        json!([event])
    );

    let ask = async |body: Value| {
        let request = world.request(Method::GET, "/events?tag=overridden").json(&body);
        world.send(request).await
    };
    let before = json!({"tags": "gateways", "timestamp": {"lt": "2017-05-04T10:00:06Z"}});
    assert_eq!(ask(before).await.is(200).json(), json!([event]));
    let sum = async |kind: &str, field: Option<&str>| {
        let body = json!({"tags": ["gateways"], "aggregator": {"type": kind, "field": field}});
        ask(body).await.is(200).json()["value"].clone()
    };
    assert_eq!(sum("count", None).await.to_string(), "2");
    assert_eq!(sum("average", None).await.to_string(), "12.5");
    assert_eq!(sum("max", Some("a.b")).await.to_string(), "3.0");
    assert_eq!(sum("max", Some("none")).await, Value::Null);
    let unknown = ask(json!({"aggregator": {"type": "median"}})).await.is(400);
    assert_eq!(
        unknown.json()["problems"][0]["code"],
        "UnsupportedAggregatorError"
    );
}

#[tokio::test]
async fn events_are_streamed_as_they_happen_and_go_on_where_a_reader_was() {
    let world = World::new().await;
    // Control tells events of its own in between: ids are taken from the answers.
    let post = async |body: &str| {
        let event = world.post("/events", body).await.is(201).json();
        event["id"].as_str().unwrap().to_owned()
    };
    post("{tags: before, value: 0}").await;
    let mut archive = Stream::open(&world, "/events/stream?type=archive&tag=breeds", None).await;
    let mut all = Stream::open(&world, "/events/stream?tag=x", None).await;
    let posted = post("{tags: 'x:1', value: 1}").await;
    world.post("/breeds", FRONT).await.is(201);
    let (id, kind, event) = archive.next().await.unwrap();
    assert_eq!(kind, "archive");
    assert!(id.parse::<u64>().unwrap() > posted.parse().unwrap(), "{id}");
    assert_eq!(event["tags"][0], "breeds:front:1");
    let (first, kind, event) = all.next().await.unwrap();
    assert_eq!((&first, kind.as_str()), (&posted, "event"), "no replay");
    assert_eq!(event["value"], 1);
    assert_eq!(event["tags"], json!(["x:1", "x"]));
    drop(all);

    let second = post("{tags: x}").await;
    let mut again = Stream::open(&world, "/events/stream?tag=x", Some(&first)).await;
    let (id, _, event) = again.next().await.unwrap();
    assert_eq!(id, second, "those between have other tags");
    assert_eq!(event.get("value"), None);
    post("{tags: x, value: live}").await;
    assert_eq!(again.next().await.unwrap().2["value"], "live");

    world.get("/events/stream?last_event_id=x").await.is(400);

    // A stop ends streams at once instead of waiting for them.
    let World { control, folder, .. } = world;
    tokio::time::timeout(PATIENCE, control.shutdown()).await.unwrap();
    assert!(again.next().await.is_none());
    drop(folder);
}

#[tokio::test]
async fn a_refused_change_is_an_event_with_its_places() {
    let world = World::new().await;
    let wrong = "name: shop\nclusters:\n  front:\n    services:\n      breed: front:1\n      scale: {cpu: 1, memory: 64KB}\n";
    world.post("/blueprints", wrong).await.is(400);
    world.post("/blueprints?validate_only=true", wrong).await.is(400);
    world.get("/breeds/missing").await.is(404);
    let events = world.get("/events?tag=http_api:ERROR").await.is(200).json();
    assert_eq!(
        events.as_array().map(Vec::len),
        Some(1),
        "trying out and reading are not told: {events}"
    );
    let value = &events[0]["value"];
    assert_eq!(
        (&value["method"], &value["status"]),
        (&json!("POST"), &json!(400))
    );
    let problem = &value["problems"][0];
    assert_eq!(problem["path"], "clusters/front/services/0/scale/memory");
    assert_eq!((&problem["line"], &problem["column"]), (&json!(6), &json!(31)));
}
