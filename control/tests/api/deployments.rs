//! Documents of many kinds, gateways, deployments.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use weir_control::{Control, Storage};
use weir_driver::{ContainerDriver, fake::Fake};

use crate::world::{PATIENCE, SHOP, Stream, World, config};

#[tokio::test]
async fn many_documents_are_checked_before_any_is_applied() {
    let world = World::new().await;
    let wrong = "kind: breed\nname: a\ndeployable: x\n---\nkind: scale\nname: s\ncpu: much\nmemory: 1MB\n";
    world.post("/", wrong).await.is(400);
    world.post("/", "").await.is(400);
    world.post("/", "name: a\ndeployable: x\n").await.is(400);
    world.post("/", "kind: colour\nname: a\n").await.is(400);
    assert_eq!(world.get("/breeds").await.json(), json!([]));
    assert_eq!(world.events("type=archive").await.len(), 0);

    // In any order, singular or plural, documents or list items.
    let right = "- kind: blueprints\n  name: shop\n  clusters: {c: a}\n- {kind: scale, name: s, cpu: 1, memory: 1MB}\n---\n\
        kind: breed\nname: a\ndeployable: x\n";
    let stored = world.put("/", right).await.is(202).json();
    let names: Vec<_> = stored
        .as_array()
        .unwrap()
        .iter()
        .map(|stored| &stored["name"])
        .collect();
    assert_eq!(names, ["shop", "s", "a"]);
    world.get("/blueprints/shop").await.is(200);
    assert_eq!(world.events("type=archive").await.len(), 3);

    let removed = world
        .send(
            world
                .request(Method::DELETE, "/")
                .body("- {kind: breed, name: a}\n- {kind: blueprints, name: shop}\n"),
        )
        .await
        .is(202)
        .json();
    assert_eq!(removed.as_array().unwrap().len(), 2);
    world.get("/blueprints/shop").await.is(404);
    world.get("/breeds/a").await.is(404);
    world.get("/scales/s").await.is(200);
    world
        .send(world.request(Method::DELETE, "/").body("{kind: breed}"))
        .await
        .is(400);
}

#[tokio::test]
async fn gateways_have_rules_and_names_with_slashes() {
    let world = World::new().await;
    let edge = "{name: edge, port: 8080, routes: {'[127.0.0.1:1]': {}, '[127.0.0.1:2]': {}}}";
    let created = world.post("/gateways", edge).await.is(202).json();
    assert_eq!(created["routes"]["[127.0.0.1:1]"]["weight"], "50%");
    assert_eq!(
        world.get("/gateways/edge").await.is(200).json()["routes"],
        created["routes"]
    );
    assert_eq!(world.get("/gateways").await.is(200).header("x-total-count"), "1");
    let changed =
        "{name: edge, port: 8080, routes: {'[127.0.0.1:1]': {weight: 80%}, '[127.0.0.1:2]': {weight: 20%}}}";
    let updated = world.put("/gateways/edge", changed).await.is(202).json();
    assert_eq!(updated["routes"]["[127.0.0.1:2]"]["weight"], "20%");
    let uneven = changed.replace("80%", "81%");
    let uneven = world.put("/gateways/edge", &uneven).await.is(400);
    assert_eq!(uneven.json()["problems"][0]["code"], "GatewayRouteWeightError");
    world.put("/gateways/other", changed).await.is(400);
    let taken = world
        .post("/gateways", "{name: second, port: 8080, routes: '[127.0.0.1:1]'}")
        .await
        .is(400);
    assert_eq!(taken.json()["problems"][0]["code"], "UnavailableGatewayPortError");

    world
        .post("/gateways", "{name: a/b, port: 8081, routes: '[127.0.0.1:1]'}")
        .await
        .is(202);
    for path in ["a/b", "a%2Fb", "a%252Fb", "a/b/"] {
        assert_eq!(
            world.get(&format!("/gateways/{path}")).await.is(200).json()["name"],
            "a/b",
            "{path}"
        );
    }
    world
        .put(
            "/gateways/a%2Fb",
            "{name: a/b, port: 8082, routes: '[127.0.0.1:1]'}",
        )
        .await
        .is(202);
    assert_eq!(world.delete("/gateways/a%2Fb").await.is(202).json(), Value::Null);
    world.delete("/gateways/a/b").await.is(202);
    world.get("/gateways/a/b").await.is(404);
    let told: Vec<_> = world
        .events("tag=gateways:a/b&type=archive")
        .await
        .into_iter()
        .map(|(tags, _)| tags[1].clone())
        .collect();
    assert_eq!(told, ["archive:create", "archive:update", "archive:delete"]);
}

#[tokio::test]
async fn deployments_are_made_scaled_shown_as_blueprints_and_taken_away() {
    let world = World::new().await;
    let mut done = Stream::open(&world, "/events/stream?tag=synchronization:deployed", None).await;
    let preview = world
        .post("/deployments?validate_only=true", SHOP)
        .await
        .is(202)
        .json();
    assert_eq!(preview["name"], "shop");
    world.get("/deployments/shop").await.is(404);

    let created = world.post("/deployments", SHOP).await.is(202).json();
    assert_eq!(created[0][0]["name"], "front:1");
    assert_eq!(created[1][0]["name"], "shop");
    world.get("/breeds/front:1").await.is(200);
    done.next().await.unwrap();
    let shop = world.get("/deployments/shop").await.is(200).json();
    let service = &shop["clusters"]["front"]["services"][0];
    assert_eq!(service["status"]["phase"]["name"], "Done");
    assert_eq!(service["instances"].as_array().unwrap().len(), 2);
    assert_eq!(world.get("/deployments").await.is(200).json()[0]["name"], "shop");

    let gateway = world.get("/gateways/shop/front/web").await.is(200).json();
    let targets = &gateway["routes"]["shop/front/front:1/web"]["targets"];
    assert_eq!(targets.as_array().unwrap().len(), 2, "{gateway}");
    world.get("/gateways/shop/9050").await.is(200);
    let refused = world.delete("/gateways/shop/front/web").await.is(400);
    assert_eq!(
        refused.json()["problems"][0]["code"],
        "InternalGatewayRemoveError"
    );

    let front = "/deployments/shop/clusters/front";
    assert_eq!(
        world.get(&format!("{front}/sla")).await.is(200).json()["type"],
        "escalation_only"
    );
    world.get("/deployments/shop/clusters/none/sla").await.is(404);
    let sla = format!("{front}/sla");
    world
        .post(
            "/slas",
            "{name: quick, type: response_time_sliding_window, threshold: {upper: 100, lower: 10}, \
             window: {interval: 30, cooldown: 30}, escalations: [{type: scale_instances, minimum: 1, maximum: 3, scale_by: 1}]}",
        )
        .await
        .is(201);
    let set = world.put(&sla, "{reference: quick}").await.is(202).json();
    assert_eq!(set["threshold"]["upper"], 100, "references are resolved: {set}");
    assert_eq!(world.get(&sla).await.is(200).json(), set);
    let missing = world.put(&sla, "none").await.is(400);
    assert_eq!(missing.json()["problems"][0]["code"], "ArtifactNotFound");
    world.post(&sla, "{type: [}").await.is(400);
    world
        .post(&sla, "{type: escalation_only, colour: {}}")
        .await
        .is(400);
    world
        .put(&format!("{sla}?validate_only=true"), "{type: other}")
        .await
        .is(202);
    world.delete(&format!("{sla}?validate_only=true")).await.is(204);
    assert_eq!(world.get(&sla).await.json(), set);
    world.delete(&sla).await.is(204);
    world.delete(&sla).await.is(204);
    assert_eq!(world.get(&sla).await.is(200).json(), Value::Null);
    world
        .put("/deployments/shop/clusters/none/sla", "{type: other}")
        .await
        .is(404);
    let scale = format!("{front}/services/front:1/scale");
    assert_eq!(
        world.get(&scale).await.is(200).json(),
        json!({"cpu": 0.2, "memory": "64.00MB", "instances": 2})
    );
    let set = world
        .put(&scale, "{cpu: 0.2, memory: 64MB, instances: 1}")
        .await
        .is(202)
        .json();
    assert_eq!(set["instances"], 1);
    assert_eq!(world.get(&scale).await.json()["instances"], 1);
    world.put(&scale, "{cpu: lots}").await.is(400);
    world
        .put(&format!("{front}/services/none/scale"), "{cpu: 1, memory: 1MB}")
        .await
        .is(404);
    world.get(&format!("{front}/services/none/scale")).await.is(404);

    let blueprint = world.get("/deployments/shop?as_blueprint=true").await.is(200);
    let tree = blueprint.json();
    assert_eq!(tree["kind"], "blueprint");
    assert_eq!(tree["clusters"]["front"]["services"][0].get("status"), None);
    world.get("/deployments/none?as_blueprint=true").await.is(404);
    // What is printed is accepted, and changes nothing.
    world.put("/deployments/shop", &blueprint.text).await.is(202);

    let kept = world.delete("/deployments/shop").await.is(202).json();
    assert_eq!(
        kept["clusters"]["front"]["services"][0]["status"]["intention"],
        "Deployment"
    );
    let mut gone = Stream::open(&world, "/events/stream?tag=synchronization:undeployed", None).await;
    let leaving = world
        .put("/deployments/shop?delete=true", &blueprint.text)
        .await
        .is(202)
        .json();
    assert_eq!(
        leaving["clusters"]["front"]["services"][0]["status"]["intention"],
        "Undeployment"
    );
    gone.next().await.unwrap();
    world.delete("/deployments/none").await.is(404);

    let told: Vec<_> = world
        .events("type=archive")
        .await
        .into_iter()
        .map(|(tags, _)| tags[..2].join(" "))
        .collect();
    assert_eq!(
        told,
        [
            "breeds:front:1 archive:create",
            "deployments:shop archive:create",
            "slas:quick archive:create",
            "deployments:shop archive:update",
            "deployments:shop archive:update",
            "deployment-service-scales:shop/front/front:1 archive:update",
            "breeds:front:1 archive:update",
            "deployments:shop archive:update",
            "deployments:shop archive:update",
        ]
    );
}

#[tokio::test]
async fn blueprints_are_deployed_by_name_and_under_other_names() {
    let world = World::new().await;
    let missing = world.post("/deployments", "shop").await.is(400);
    assert_eq!(missing.json()["problems"][0]["code"], "ArtifactNotFound");
    world.post("/blueprints", SHOP).await.is(201);
    let created = world.post("/deployments", "{name: shop}").await.is(202).json();
    assert_eq!(created.as_array().unwrap().len(), 1);
    assert_eq!(created[0]["name"], "shop");
    let other = SHOP.replace("9050", "9051");
    let other = world.put("/deployments/other", &other).await.is(202).json();
    assert_eq!(other[1][0]["name"], "other");
    assert_eq!(
        world.get("/deployments").await.is(200).header("x-total-count"),
        "2"
    );
    let only = world
        .get("/deployments/other?only_references=true")
        .await
        .is(200)
        .json();
    assert_eq!(
        only["clusters"]["front"]["services"][0]["breed"],
        json!({"reference": "front:1"})
    );
}

#[tokio::test]
async fn documents_of_all_kinds_are_applied_in_the_order_of_their_needs() {
    let world = World::new().await;
    let documents = "
- {kind: gateway, name: edge, port: 8080, routes: {shop/9050: {condition: {reference: ie}}}}
- {kind: deployment, name: shop, gateways: {9050: front/web}, clusters: {front: {breed: 'front:1', scale: small}}}
- {kind: scale, name: small, cpu: 1, memory: 64MB}
- {kind: condition, name: ie, condition: User-Agent == IE}
- {kind: breed, name: 'front:1', deployable: x, ports: {web: 0/http}}
";
    world.put("/?validate_only=true", documents).await.is(202);
    world.get("/deployments/shop").await.is(404);
    let results = world.put("/", documents).await.is(202).json();
    assert_eq!(results.as_array().unwrap().len(), 5);
    world.get("/deployments/shop").await.is(200);
    world.get("/gateways/edge").await.is(200);

    // What cannot be applied as a whole is not begun.
    let half = "- {kind: deployment, name: second, clusters: {c: {breed: 'front:1'}}}\n\
        - {kind: deployment, name: third, clusters: {c: {breed: none}}}";
    let refused = world.put("/", half).await.is(400);
    assert_eq!(
        refused.json()["problems"][0]["path"],
        "1/clusters/c/services/none/breed"
    );
    world.get("/deployments/second").await.is(404);
    // Also when the last of all kinds is the one that fails.
    let mixed = "- {kind: scale, name: stays-out, cpu: 1, memory: 1MB}\n\
        - {kind: deployment, name: second, clusters: {c: {breed: 'front:1'}}}\n\
        - {kind: gateway, name: other, port: 8080, routes: second/c/web}";
    for method in [Method::POST, Method::PUT] {
        let checked = world.request(method.clone(), "/?validate_only=true").body(mixed);
        let path = "2/port";
        for request in [checked, world.request(Method::POST, "/").body(mixed)] {
            let refused = world.send(request).await;
            if refused.status == 400 {
                assert_eq!(refused.json()["problems"][0]["path"], path, "{}", refused.text);
            }
        }
    }
    world.get("/scales/stays-out").await.is(404);
    world.get("/deployments/second").await.is(404);

    let removal = "- {kind: deployment, name: shop}\n- {kind: gateway, name: edge}";
    world
        .send(world.request(Method::DELETE, "/").body(removal))
        .await
        .is(202);
    world.get("/gateways/edge").await.is(404);
}

#[tokio::test]
async fn instances_end_with_control_unless_they_are_to_be_kept() {
    for keep in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), Storage::Sqlite);
        config.keep_instances = keep;
        let driver = Arc::new(Fake::new());
        let control = Control::start_with(config, Arc::clone(&driver) as _)
            .await
            .unwrap();
        let world = World {
            control,
            http: reqwest::Client::new(),
            folder,
        };
        let mut done = Stream::open(&world, "/events/stream?tag=synchronization:deployed", None).await;
        world.post("/deployments", SHOP).await.is(202);
        done.next().await.unwrap();
        tokio::time::timeout(PATIENCE, world.control.shutdown())
            .await
            .unwrap();
        let left = driver.list().await.unwrap().len();
        assert_eq!(left, if keep { 2 } else { 0 }, "keep: {keep}");
    }
}
