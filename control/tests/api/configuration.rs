//! `/config`, `/stats`, `/scheduler`, `/docs`.

use serde_json::{Value, json};
use weir_control::Control;

use crate::world::{FRONT, SHOP, Stream, World, config};

#[tokio::test]
async fn settings_are_shown_in_layers() {
    let world = World::with(|config| config.gateway_host = "edge".to_owned()).await;
    let flat = world.get("/config?flatten=true").await.is(200).json();
    assert_eq!(flat["vamp.namespace"], "blue");
    assert_eq!(flat["vamp.gateway-driver.host"], "edge");
    let tree = world.get("/configuration").await.is(200).json();
    assert_eq!(tree["vamp"]["gateway-driver"]["host"], "edge");
    assert_eq!(tree["vamp"]["persistence"]["database"]["type"], "memory");
    let one = world
        .get("/config/vamp.namespace?flatten=true")
        .await
        .is(200)
        .json();
    assert_eq!(one, json!({"vamp.namespace": "blue"}));
    world.get("/config/vamp.nothing").await.is(404);
    let layer = async |name: &str| {
        world
            .get(&format!("/config?flatten=true&type={name}"))
            .await
            .is(200)
            .json()
    };
    assert_eq!(layer("reference").await["vamp.namespace"], "default");
    assert_eq!(layer("application").await["vamp.namespace"], "blue");
    assert_eq!(layer("system").await, json!({}));
    assert_eq!(layer("dynamic").await, json!({}));
    assert_eq!(layer("nonsense").await, flat);
}

#[tokio::test]
async fn settings_change_while_it_runs_and_stay_changed() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let config = config(folder.path(), weir_control::Storage::Sqlite);
        World {
            control: Control::start_with(config, std::sync::Arc::new(weir_driver::fake::Fake::new()))
                .await
                .unwrap(),
            http: reqwest::Client::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    };
    let world = start().await;
    let body = "vamp: {operation: {info: {message: Hello}, deployment: {scale: {instances: 2, memory: 32MB}}}, own: {key: [1]}}";
    let wrong = world
        .put("/config", "vamp.operation.gateway.port-range: none")
        .await
        .is(400);
    assert_eq!(wrong.json()["problems"][0]["code"], "InvalidConfigurationError");
    let wrong = world
        .put("/config", "vamp.persistence.database.type: other")
        .await
        .is(400);
    assert_eq!(
        wrong.json()["problems"][0]["path"],
        "vamp.persistence.database.type"
    );
    world.put("/config?validate_only=true", body).await.is(202);
    assert_eq!(world.get("/config?type=dynamic").await.json(), json!({}));
    world.put("/config", body).await.is(202);
    assert_eq!(world.get("/info").await.json()["message"], "Hello");
    assert_eq!(
        world.get("/config/vamp.own.key?flatten=true").await.json(),
        json!({"vamp.own.key": [1]})
    );
    let mut done = Stream::open(&world, "/events/stream?tag=synchronization:deployed", None).await;
    let shop = SHOP.replace("      scale: {cpu: 0.2, memory: 64MB, instances: 2}\n", "");
    world.post("/deployments", &shop).await.is(202);
    done.next().await.unwrap();
    let scale = world
        .get("/deployments/shop/clusters/front/services/front:1/scale")
        .await
        .json();
    assert_eq!(
        (&scale["instances"], &scale["memory"]),
        (&json!(2), &json!("32.00MB"))
    );
    // All of it comes back as it was shown.
    let shown = world.get("/config").await.text;
    world.put("/config", &shown).await.is(202);
    world.control.shutdown().await;

    let world = start().await;
    assert_eq!(world.get("/info").await.json()["message"], "Hello");
    world.post("/config", "").await.is(202);
    assert_eq!(
        world.get("/info").await.json()["message"],
        "Hi, I'm Weir! How are you?"
    );
    assert_eq!(world.get("/config?type=dynamic").await.json(), json!({}));
    let changes = world
        .events("type=change&tag=artifact:configuration/dynamic")
        .await;
    assert_eq!(changes.len(), 3);
    world.control.shutdown().await;
}

#[tokio::test]
async fn events_are_bounded_by_number_and_size_while_it_runs() {
    let world = World::new().await;
    for number in 0..12 {
        world
            .post(
                "/events",
                &format!("{{tags: [numbered], type: own, value: {number}}}"),
            )
            .await
            .is(201);
    }
    let values = async || -> Vec<Value> {
        let events = world.events("type=own").await;
        events.into_iter().map(|(_, value)| value).collect()
    };
    let pulse = async || world.get("/stats").await.is(200).json()["pulse"].clone();
    let eventually = async |most: u64, of: &str| {
        let asked = async {
            while pulse().await[of].as_u64().unwrap() > most {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), asked)
            .await
            .expect("too many events are removed");
    };
    assert_eq!(pulse().await["removed"]["size"], 0);
    world
        .put("/config", "vamp.pulse.retention: {events: many}")
        .await
        .is(400);
    world
        .put("/config", "vamp.pulse.retention: {events: 5}")
        .await
        .is(202);
    eventually(5, "events").await;
    // That of the change itself is among those that are kept, and the newest ones are.
    let kept = values().await;
    assert_eq!(kept.last(), Some(&json!(11)));
    assert!(kept.len() < 5, "{kept:?}");
    let removed = pulse().await["removed"]["size"].as_u64().unwrap();
    assert!(removed >= 8, "{removed}");
    world
        .put("/config", "vamp.pulse.retention: {events: 0, bytes: 400}")
        .await
        .is(202);
    eventually(400, "bytes").await;
    let shown = world.get("/config?flatten=true").await.json();
    assert_eq!(shown["vamp.pulse.retention.bytes"], 400);
    assert_eq!(shown["vamp.pulse.retention.age"], "0s");
}

#[tokio::test]
async fn kinds_are_printed_in_the_plural_if_that_is_wanted() {
    let world = World::new().await;
    world.post("/breeds", FRONT).await.is(201);
    let one = world.get("/breeds/front:1").await.is(200);
    assert_eq!(one.json()["kind"], "breed");
    let tag = one.header("etag").to_owned();
    world
        .put("/config", "vamp.model.plural-kinds: true")
        .await
        .is(202);
    let one = world.get("/breeds/front:1").await.is(200);
    assert_eq!(
        (one.json()["kind"].as_str(), one.header("etag")),
        (Some("breeds"), tag.as_str())
    );
    assert_eq!(world.get("/breeds").await.json()[0]["kind"], "breeds");
    // What is printed reads back.
    let written = world.put("/breeds/front:1", &one.text).await.is(200).json();
    assert_eq!(written[0]["kind"], "breeds");
    world
        .put("/config", "vamp.model.plural-kinds: perhaps")
        .await
        .is(400);
}

#[tokio::test]
async fn what_is_set_at_the_start_is_shown_and_stays() {
    let world = World::with(|config| {
        config.checks.memory = true;
        config.sla_period = std::time::Duration::from_secs(7);
        config.quota.cpu = Some(3.0);
    })
    .await;
    let flat = world.get("/config?flatten=true").await.is(200).json();
    for (key, value) in [
        ("operation.synchronization.check.cpu", json!(false)),
        ("operation.synchronization.check.memory", json!(true)),
        ("operation.synchronization.check.instances", json!(true)),
        ("operation.sla.period", json!("7s")),
        ("operation.escalation.period", json!("7s")),
        ("operation.deployment.quota.cpu", json!(3.0)),
        ("operation.deployment.quota.instances", Value::Null),
        ("http-api.ssl", json!(false)),
        (
            "gateway-driver.marshallers",
            json!([{"type": "haproxy", "name": "1.7"}]),
        ),
    ] {
        assert_eq!(flat[format!("vamp.{key}")], value, "{key}");
    }
    for body in [
        "vamp.operation.synchronization.check.cpu: true",
        "vamp.operation.sla.period: 1s",
        "vamp.operation.deployment.quota.instances: 1",
    ] {
        let refused = world.put("/config", body).await.is(400).json();
        assert_eq!(
            refused["problems"][0]["code"], "InvalidConfigurationError",
            "{body}"
        );
    }
    // What is shown may be sent back.
    let shown = world.get("/config").await.text;
    world.put("/config", &shown).await.is(202);
    assert_eq!(world.get("/config").await.text, shown);
    let dynamic = world.get("/config?type=dynamic&flatten=true").await.json();
    assert_eq!(
        dynamic.get("vamp.operation.sla.period"),
        None,
        "it stays what it is"
    );
}

#[tokio::test]
async fn what_happened_is_counted() {
    let world = World::new().await;
    world.post("/breeds", FRONT).await.is(201);
    world.post("/events", "tags: [sla, 'sla:escalate']").await.is(201);
    let stats = world.get("/stats").await.is(200).json();
    assert_eq!(stats["persistence"]["artifacts"]["breeds"], 1);
    assert_eq!(stats["system"]["escalation-count"], 1);
    assert_eq!(stats["system"]["deployed-services"], 0);
    assert!(stats["pulse"]["events"].as_u64().unwrap() >= 3);
    assert_eq!(
        world.get("/statistics").await.is(200).json()["system"],
        stats["system"]
    );
}

#[tokio::test]
async fn what_runs_is_listed_by_service() {
    let world = World::new().await;
    let nodes = world.get("/scheduler/nodes").await.is(200);
    assert_eq!(nodes.header("x-total-count"), "1");
    assert!(nodes.json()[0]["capacity"]["cpu"].as_u64().unwrap() > 0);
    assert_eq!(world.get("/scheduler/routing").await.is(200).json(), json!([]));
    let mut done = Stream::open(&world, "/events/stream?tag=synchronization:deployed", None).await;
    world.post("/deployments", SHOP).await.is(202);
    done.next().await.unwrap();
    let routing = world.get("/scheduler/routing?selector=true").await.is(200).json();
    assert_eq!(routing[0]["name"], "shop/front/front:1");
    assert_eq!(routing[0]["instances"].as_array().map(Vec::len), Some(2));
    let selected = async |selector: &str| {
        let path = format!("/scheduler/routing?selector={selector}");
        world.get(&path).await.is(200).json().as_array().unwrap().len()
    };
    assert_eq!(selected("label(io.vamp.service)(front:.*)").await, 1);
    assert_eq!(selected("namespace($namespace)%20and%20not%20port(1)").await, 1);
    assert_eq!(selected("namespace(green)").await, 0);
    assert_eq!(
        selected(&format!("image({})", routing[0]["image"].as_str().unwrap())).await,
        1
    );
    let wrong = world.get("/scheduler/routing?selector=image(x").await.is(400);
    assert_eq!(wrong.json()["problems"][0]["code"], "InvalidSelectorError");
}

#[tokio::test]
async fn the_description_can_be_looked_at() {
    let world = World::new().await;
    let page = world.get("/docs").await.is(200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
    // Everything that the page loads is here, and nothing is from elsewhere.
    let root = format!("http://{}", world.control.address());
    let quoted: Vec<&str> = page
        .text
        .split('"')
        .filter(|part| part.starts_with('/'))
        .collect();
    assert!(quoted.len() >= 3, "{quoted:?}");
    for path in quoted {
        world.send(world.http.get(format!("{root}{path}"))).await.is(200);
    }
    assert!(!page.text.contains("http"), "{}", page.text);
    world.get("/docs/other.js").await.is(404);
    let description: Value = world.get("/openapi.json").await.is(200).json();
    assert!(description["paths"]["/api/v1/workflows/{name}/status"]["put"].is_object());
}
