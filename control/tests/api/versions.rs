//! Versions: what was, going back, changing only what was seen, and what would change.

use std::sync::Arc;

use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::world::{SHOP, Stream, World};

fn breed(definition: &str) -> String {
    format!("{{name: a, deployable: {definition}}}")
}

#[tokio::test]
async fn versions_are_kept_read_and_gone_back_to() {
    let world = World::new().await;
    world.post("/breeds", &breed("one")).await.is(201);
    world.put("/breeds/a", &breed("two")).await.is(200);
    world.put("/breeds/a", &breed("two")).await.is(200);
    let list = world.get("/breeds/a/revisions").await.is(200);
    let numbers = |list: &Value| -> Vec<(u64, bool)> {
        let each = list.as_array().unwrap().iter();
        each.map(|item| (item["revision"].as_u64().unwrap(), item["current"] == true))
            .collect()
    };
    assert_eq!(
        numbers(&list.json()),
        [(2, true), (1, false)],
        "saying the same again is no version"
    );
    assert_eq!(list.header("x-total-count"), "2");
    let part = world
        .get("/breeds/a/revisions?per_page=1&page=2")
        .await
        .is(200)
        .json();
    assert_eq!(numbers(&part), [(1, false)]);
    let first = world.get("/breeds/a/revisions/1").await.is(200).json();
    assert_eq!(first["deployable"]["definition"], "one");
    world.get("/breeds/a/revisions/9").await.is(404);
    world.get("/breeds/b/revisions").await.is(404);

    world
        .post("/breeds/a/revisions/1/rollback?validate_only=true", "")
        .await
        .is(200);
    assert_eq!(
        world.get("/breeds/a").await.json()["deployable"]["definition"],
        "two"
    );
    let back = world
        .post("/breeds/a/revisions/1/rollback", "")
        .await
        .is(200)
        .json();
    assert_eq!(back, json!([first]));
    assert_eq!(world.get("/breeds/a").await.json(), first);
    world.post("/breeds/a/revisions/9/rollback", "").await.is(404);
    assert_eq!(
        world.delete("/breeds/a/revisions").await.is(405).header("allow"),
        "GET,HEAD"
    );
    assert_eq!(
        world
            .put("/breeds/a/revisions/1/rollback", "")
            .await
            .is(405)
            .header("allow"),
        "POST"
    );

    // What was deleted comes back, and goes on counting.
    world.delete("/breeds/a").await.is(204);
    world.post("/breeds/a/revisions/2/rollback", "").await.is(200);
    assert_eq!(
        world.get("/breeds/a").await.json()["deployable"]["definition"],
        "two"
    );
    let list = world.get("/breeds/a/revisions").await.json();
    assert_eq!(numbers(&list), [(5, true), (3, false), (2, false), (1, false)]);
}

#[tokio::test]
async fn a_gateway_goes_back_to_its_weights() {
    let world = World::new().await;
    let gateway = |weight: u8| {
        format!(
            "{{name: a/b, port: 8080, routes: {{'[127.0.0.1:1]': {{weight: {weight}%}}, '[127.0.0.1:2]': {{weight: {}%}}}}}}",
            100 - weight
        )
    };
    world.post("/gateways", &gateway(100)).await.is(202);
    world.put("/gateways/a/b", &gateway(80)).await.is(202);
    let back = world
        .post("/gateways/a/b/revisions/1/rollback", "")
        .await
        .is(202)
        .json();
    assert_eq!(back["routes"]["[127.0.0.1:1]"]["weight"], "100%");
    assert_eq!(
        world
            .get("/gateways/a%2Fb/revisions")
            .await
            .is(200)
            .header("x-total-count"),
        "3"
    );
    // A gateway may be called like what is below another one.
    world
        .post(
            "/gateways",
            "{name: a/b/revisions/x, port: 8081, routes: '[127.0.0.1:1]'}",
        )
        .await
        .is(202);
    world
        .post(
            "/gateways",
            "{name: c/revisions, port: 8082, routes: '[127.0.0.1:1]'}",
        )
        .await
        .is(202);
    assert_eq!(
        world.get("/gateways/c/revisions").await.is(200).json()["name"],
        "c/revisions"
    );
}

#[tokio::test]
async fn a_deployment_goes_back_to_what_was_wanted() {
    let world = World::new().await;
    let mut done = Stream::open(&world, "/events/stream?tag=synchronization:deployed", None).await;
    world.post("/deployments", SHOP).await.is(202);
    done.next().await.unwrap();
    let second = "
name: shop
environment_variables: {}
clusters:
  front:
    gateways: {web: {routes: {'front:1': {weight: 50%}, 'front:2': {weight: 50%}}}}
    services:
      - {breed: 'front:1', scale: {cpu: 0.2, memory: 64MB, instances: 3}}
      - breed: {name: 'front:2', deployable: acme/front:2, ports: {web: 0/http}}
";
    world.put("/deployments/shop", second).await.is(202);
    done.next().await.unwrap();
    let history = world.get("/deployments/shop/revisions").await.is(200).json();
    assert_eq!(
        history.as_array().unwrap().len(),
        2,
        "what runs makes no versions: {history}"
    );
    let was = world.get("/deployments/shop/revisions/1").await.is(200).json();
    assert_eq!(was["kind"], "blueprint");

    let back = world
        .post("/deployments/shop/revisions/1/rollback", "")
        .await
        .is(202)
        .json();
    let services = back[0]["clusters"]["front"]["services"]
        .as_array()
        .unwrap()
        .clone();
    let intentions: Vec<_> = services
        .iter()
        .map(|service| {
            (
                service["breed"]["name"].as_str().unwrap(),
                service["status"]["intention"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        intentions,
        [("front:1", "Deployment"), ("front:2", "Undeployment")]
    );
    assert_eq!(services[0]["scale"]["instances"], 2);
    let gateway = world.get("/gateways/shop/front/web").await.is(200).json();
    assert_eq!(
        gateway["routes"]["shop/front/front:1/web"]["weight"], "100%",
        "{gateway}"
    );
    let now = world.get("/deployments/shop?as_blueprint=true").await.json();
    assert_eq!(now, was);
}

#[tokio::test]
async fn nobody_overwrites_what_they_have_not_seen() {
    let world = World::new().await;
    let put = async |name: header::HeaderName, value: &str, body: &str| {
        let request = world
            .request(Method::PUT, "/breeds/a")
            .header(name, value)
            .body(body.to_owned());
        world.send(request).await
    };
    put(header::IF_MATCH, "*", &breed("one")).await.is(412);
    let first = put(header::IF_NONE_MATCH, "*", &breed("one")).await.is(200);
    let first = first.header("etag").to_owned();
    put(header::IF_NONE_MATCH, "*", &breed("two")).await.is(412);
    assert_eq!(world.get("/breeds/a").await.header("etag"), first);
    let second = put(header::IF_MATCH, &first, &breed("two"))
        .await
        .is(200)
        .header("etag")
        .to_owned();
    assert_ne!(first, second);
    let refused = put(header::IF_MATCH, &first, &breed("three")).await.is(412);
    assert!(refused.message().contains(second.as_str()), "{}", refused.text);
    put(header::IF_MATCH, &format!("\"other\", {second}"), &breed("two"))
        .await
        .is(200);
    put(header::IF_MATCH, "no quotes", &breed("two")).await.is(400);
    assert_eq!(
        world.get("/breeds/a").await.json()["deployable"]["definition"],
        "two"
    );
    let delete = world
        .request(Method::DELETE, "/breeds/a")
        .header(header::IF_MATCH, &first);
    world.send(delete).await.is(412);
    let delete = world
        .request(Method::DELETE, "/breeds/a")
        .header(header::IF_MATCH, &second);
    world.send(delete).await.is(204);
    let told = world.events("type=archive&tag=breeds:a").await;
    assert_eq!(told.len(), 4, "what was refused is not told: {told:?}");
}

#[tokio::test]
async fn of_writers_with_the_same_version_one_wins() {
    let world = Arc::new(World::new().await);
    let tag = world
        .post("/breeds", &breed("start"))
        .await
        .is(201)
        .header("etag")
        .to_owned();
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let (world, tag) = (Arc::clone(&world), tag.clone());
            tokio::spawn(async move {
                let request = world
                    .request(Method::PUT, "/breeds/a")
                    .header(header::IF_MATCH, tag)
                    .body(breed(&format!("v{number}")));
                world.send(request).await.status
            })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            200 => won += 1,
            status => assert_eq!(status, 412),
        }
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn the_version_of_a_deployment_is_what_was_wanted() {
    let world = World::new().await;
    let mut done = Stream::open(&world, "/events/stream?tag=synchronization:deployed", None).await;
    let made = world
        .post("/deployments", SHOP)
        .await
        .is(202)
        .header("etag")
        .to_owned();
    done.next().await.unwrap();
    assert_eq!(
        world.get("/deployments/shop").await.header("etag"),
        made,
        "it only came up"
    );
    let scale = "/deployments/shop/clusters/front/services/front:1/scale";
    world
        .put(scale, "{cpu: 1, memory: 64MB, instances: 1}")
        .await
        .is(202);
    let request = world
        .request(Method::PUT, "/deployments/shop")
        .header(header::IF_MATCH, &made)
        .body(SHOP);
    world.send(request).await.is(412);
}

#[tokio::test]
async fn a_plan_says_what_would_change_and_changes_nothing() {
    let world = World::new().await;
    world.post("/deployments", SHOP).await.is(202);
    world
        .post("/scales", "{name: small, cpu: 1, memory: 64MB}")
        .await
        .is(201);
    let changed = SHOP
        .replacen("name: shop", "kind: deployment\nname: shop", 1)
        .replace("instances: 2", "instances: 3");
    let documents = format!(
        "kind: scale\nname: small\ncpu: 1\nmemory: 64MB\n---\nkind: condition\nname: new\ncondition: has cookie x\n---{changed}"
    );
    let before = world.get("/events").await.header("x-total-count").to_owned();
    let plan = world.post("/plan", &documents).await.is(200).json();
    assert_eq!(
        plan["summary"],
        json!({"create": 1, "update": 1, "unchanged": 4, "delete": 0}),
        "{plan:#}"
    );
    let find = |kind: &str, name: &str| {
        let all = plan["artifacts"].as_array().unwrap();
        all.iter()
            .find(|artifact| artifact["kind"] == kind && artifact["name"] == name)
            .unwrap_or_else(|| panic!("{kind} {name} in {plan:#}"))
            .clone()
    };
    assert_eq!(find("scale", "small")["action"], "unchanged");
    assert_eq!(find("condition", "new")["action"], "create");
    let shop = find("deployment", "shop");
    assert_eq!(
        shop["changes"],
        json!([{"path": "clusters/front/services/front:1/scale/instances", "before": 2, "after": 3}])
    );
    assert_eq!(
        shop["services"],
        json!([{"cluster": "front", "service": "front:1", "action": "scale"}])
    );
    world.get("/conditions/new").await.is(404);

    let removal = world.post(
        "/plan?delete=true",
        "- {kind: scale, name: small}\n- {kind: deployment, name: shop}",
    );
    let removal = removal.await.is(200).json();
    assert_eq!(
        removal["summary"]["delete"], 2,
        "the scale and the internal gateway: {removal:#}"
    );
    world.get("/scales/small").await.is(200);
    world.post("/plan", "kind: scale\nname: small\n").await.is(400);
    world.post("/plan", "").await.is(400);
    let after = world.get("/events?type=archive").await;
    assert_eq!(after.json().as_array().unwrap().len(), 3);
    assert!(before.parse::<u64>().unwrap() >= 3);
}
