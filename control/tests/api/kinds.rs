//! Every kind has the same paths; workflows, imports and Compose files have some of their own.

use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::world::{FRONT, SHOP, World};

/// A document of each plain kind, and the status of its creation.
const DOCUMENTS: [(&str, &str, u16); 11] = [
    ("breeds", "{name: x, deployable: y}", 201),
    ("blueprints", "{name: x, clusters: {c: y}}", 201),
    (
        "slas",
        "{name: x, type: response_time_sliding_window, threshold: {upper: 9, lower: 1}, \
         window: {interval: 5, cooldown: 5}, escalations: [y, {to_one: [z, {ref: w}]}]}",
        201,
    ),
    ("scales", "{name: x, cpu: 1, memory: 64MB}", 201),
    (
        "escalations",
        "{name: x, type: scale_instances, minimum: 1, maximum: 3, scale_by: 1}",
        201,
    ),
    ("routes", "{name: x, weight: 50%, condition: has header y}", 201),
    ("conditions", "{name: x, condition: has cookie y}", 201),
    ("rewrites", "{name: x, path: '/new if { path_beg /old }'}", 201),
    ("workflows", "{name: x, breed: y, schedule: daemon}", 202),
    ("gateways", "{name: x, port: 8080, routes: '[127.0.0.1:1]'}", 202),
    ("templates", "{name: x, definition: {a: [1, {b: c}]}}", 201),
];

#[tokio::test]
async fn every_kind_is_created_listed_read_replaced_and_deleted() {
    let world = World::new().await;
    for (kind, document, created) in DOCUMENTS {
        assert_eq!(
            world.get(&format!("/{kind}")).await.is(200).json(),
            json!([]),
            "{kind}"
        );
        world
            .post(&format!("/{kind}?validate_only=true"), document)
            .await
            .is(created);
        world.get(&format!("/{kind}/x")).await.is(404);
        let stored = world.post(&format!("/{kind}"), document).await.is(created).json();
        let stored = stored
            .as_array()
            .and_then(|all| all.last())
            .unwrap_or(&stored)
            .clone();
        let read = world.get(&format!("/{kind}/x")).await.is(200);
        // Whether a gateway is published is not what was asked for.
        let wanted = |mut shown: Value| {
            shown.as_object_mut().unwrap().remove("deployed");
            shown
        };
        let stored = wanted(stored);
        assert_eq!(wanted(read.json()), stored, "{kind}");
        assert!(read.header("etag").starts_with('"'), "{kind}");
        let list = world.get(&format!("/{kind}")).await.is(200);
        assert_eq!(
            (wanted(list.json()[0].clone()), list.header("x-total-count")),
            (stored, "1"),
            "{kind}"
        );
        if kind == "workflows" {
            let status = world.put("/workflows/x/status", "suspended").await.is(202);
            assert_eq!(status.json()[0]["kind"], "workflow-status");
        }
        // What is printed is accepted, and is the same.
        let again = world.put(&format!("/{kind}/x"), &read.text).await;
        assert!(matches!(again.status, 200 | 202), "{kind}: {}", again.text);
        let wrong = world.put(&format!("/{kind}/other"), &read.text).await.is(400);
        assert_eq!(
            wrong.json()["problems"][0]["code"],
            "InconsistentArtifactName",
            "{kind}"
        );
        let unknown = world
            .post(&format!("/{kind}"), "{name: x, colour: red}")
            .await
            .is(400);
        assert!(
            unknown.json()["problems"]
                .as_array()
                .is_some_and(|all| !all.is_empty()),
            "{kind}"
        );
        world.post(&format!("/{kind}?name=x"), document).await.is(404);
        let deleted = world.delete(&format!("/{kind}/x")).await;
        assert!(matches!(deleted.status, 202 | 204), "{kind}: {}", deleted.text);
        let again = world.delete(&format!("/{kind}/x")).await;
        assert_eq!(again.status, deleted.status, "{kind}");
        world.get(&format!("/{kind}/x")).await.is(404);
        let told = world.events(&format!("type=archive&tag={kind}:x")).await;
        let told: Vec<&str> = told.iter().map(|(tags, _)| tags[1].as_str()).collect();
        assert_eq!(
            told,
            ["archive:create", "archive:update", "archive:delete"],
            "{kind}"
        );
    }
}

#[tokio::test]
async fn all_kinds_are_made_and_removed_at_once() {
    let world = World::new().await;
    let documents: Vec<String> = DOCUMENTS
        .iter()
        .map(|(kind, document, _)| {
            document.replacen("{name: x", &format!("{{kind: {kind}, name: x-{kind}"), 1)
        })
        .collect();
    let documents = documents.join("\n---\n");
    let results = world.post("/", &documents).await.is(202).json();
    let names: Vec<&str> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["name"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = DOCUMENTS.iter().map(|(kind, ..)| format!("x-{kind}")).collect();
    assert_eq!(names, expected, "in the order of the documents");
    let removal = world.request(Method::DELETE, "/").body(documents);
    world.send(removal).await.is(202);
    for (kind, ..) in DOCUMENTS {
        assert_eq!(world.get(&format!("/{kind}")).await.json(), json!([]), "{kind}");
    }
}

#[tokio::test]
async fn a_workflow_is_changed_only_while_it_is_suspended() {
    let world = World::new().await;
    let document = "{name: canary, breed: {name: judge, deployable: {type: application/javascript, definition: '1'}}, \
        schedule: {event: 'deployments:shop'}}";
    let stored = world.post("/workflows", document).await.is(202).json();
    let names: Vec<&Value> = stored
        .as_array()
        .unwrap()
        .iter()
        .map(|stored| &stored["name"])
        .collect();
    assert_eq!(names, ["judge", "canary"]);
    world.get("/breeds/judge").await.is(200);
    assert_eq!(
        world.get("/workflows/canary/status").await.is(200).json(),
        "starting"
    );
    let refused = world.put("/workflows/canary", document).await.is(400);
    assert_eq!(refused.json()["problems"][0]["code"], "WorkflowUpdateError");
    for body in ["walking", "", "{}"] {
        world.put("/workflows/canary/status", body).await.is(400);
    }
    world
        .put("/workflows/canary/status?validate_only=true", "running")
        .await
        .is(202);
    let set = world
        .put("/workflows/canary/status", "\"Suspended\"")
        .await
        .is(202)
        .json();
    assert_eq!(
        (&set[0]["name"], &set[0]["status"]),
        (&json!("canary"), &json!("suspended"))
    );
    assert_eq!(world.get("/workflows/canary/status").await.json(), "suspended");
    world.put("/workflows/canary", document).await.is(202);
    world.get("/workflows/none/status").await.is(404);
    world.put("/workflows/none/status", "running").await.is(404);
    assert_eq!(
        world
            .delete("/workflows/canary/status")
            .await
            .is(405)
            .header("allow"),
        "GET,HEAD,PUT"
    );
    let told = world.events("type=archive&tag=workflow-statuses:canary").await;
    assert_eq!(told.len(), 1);

    world.post("/deployments", SHOP).await.is(202);
    let collision = world
        .post("/workflows", "{name: shop, breed: x, schedule: daemon}")
        .await
        .is(400);
    assert_eq!(
        collision.json()["problems"][0]["code"],
        "DeploymentWorkflowNameCollision"
    );
    let collision = world.put("/deployments/canary", SHOP).await.is(400);
    assert_eq!(
        collision.json()["problems"][0]["code"],
        "DeploymentWorkflowNameCollision"
    );
}

#[tokio::test]
async fn what_is_imported_is_merged_before_it_is_read() {
    let world = World::new().await;
    world
        .post(
            "/templates",
            "{name: base, definition: {deployable: base, ports: {web: 80/http}, constants: {a: 1}}}",
        )
        .await
        .is(201);
    world.post("/breeds", FRONT).await.is(201);
    let made = world
        .post(
            "/breeds",
            "{name: made, import: [base, 'breeds/front:1'], constants: {b: 2}}",
        )
        .await
        .is(201)
        .json();
    assert_eq!(made[0]["name"], "made");
    assert_eq!(
        made[0]["deployable"]["definition"], "acme/front:1",
        "the later import wins"
    );
    assert_eq!(made[0]["constants"], json!({"a": "1", "b": "2"}));
    for (import, code) in [
        ("none", "ImportReferenceError"),
        ("[]", "EmptyImportError"),
        ("[{a: b}]", "ImportDefinitionError"),
    ] {
        let refused = world
            .post("/breeds", &format!("{{name: x, import: {import}}}"))
            .await
            .is(400);
        assert_eq!(refused.json()["problems"][0]["code"], code, "{import}");
    }
    // In one text with what it imports.
    let both = "- {kind: template, name: own, definition: {deployable: own}}\n- {kind: breed, name: y, import: base}";
    world.post("/", both).await.is(202);
    assert_eq!(
        world.get("/breeds/y").await.json()["deployable"]["definition"],
        "base"
    );
}

#[tokio::test]
async fn references_of_every_kind_are_expanded() {
    let world = World::new().await;
    let documents = "
- {kind: escalation, name: more, type: scale_instances, minimum: 1, maximum: 3, scale_by: 1}
- {kind: sla, name: quick, type: response_time_sliding_window, threshold: {upper: 9, lower: 1}, window: {interval: 5, cooldown: 5}, escalations: [more]}
- {kind: scale, name: small, cpu: 1, memory: 64MB}
- {kind: condition, name: odd, condition: has cookie odd}
- {kind: rewrite, name: old, path: '/new if { path_beg /old }'}
- {kind: breed, name: a, deployable: x, ports: {web: 80/http}}
- kind: blueprint
  name: shop
  clusters:
    c:
      sla: {ref: quick}
      gateways: {web: {routes: {a: {condition: {reference: odd}, rewrites: [old]}}}}
      services: {breed: a, scale: small}
";
    world.post("/", documents).await.is(202);
    let shop = world
        .get("/blueprints/shop?expand_references=true")
        .await
        .is(200)
        .json();
    let cluster = &shop["clusters"]["c"];
    assert_eq!(cluster["sla"]["threshold"]["upper"], 9, "{cluster}");
    let sla = cluster["sla"].to_string();
    assert!(sla.contains("\"maximum\":3") && !sla.contains("quick"), "{sla}");
    let route = &cluster["gateways"]["web"]["routes"]["a"];
    assert_eq!(route["condition"]["condition"], "has cookie odd", "{route}");
    assert!(route["rewrites"][0]["path"].is_string(), "{route}");
    assert_eq!(cluster["services"][0]["scale"]["cpu"], 1);
    // What is expanded is a document that is accepted.
    world.put("/blueprints/shop", &shop.to_string()).await.is(200);
    world.delete("/escalations/more").await.is(204);
    let missing = world.get("/slas/quick?expand_references=true").await.is(400);
    assert_eq!(
        missing.message(),
        "`more` is referred to, but there is none in escalations."
    );
    world.get("/slas?expand_references=true").await.is(400);
    world.get("/slas/quick?only_references=true").await.is(200);
}

#[tokio::test]
async fn compose_files_become_blueprints() {
    let world = World::new().await;
    let compose = "version: '2'\nservices:\n  web:\n    image: acme/web\n    ports: ['8080:80']\n    depends_on: [db]\n  db:\n    image: acme/db\n";
    let request = |query: &str| {
        world
            .request(Method::POST, &format!("/docker-compose{query}"))
            .header(header::ACCEPT, "*/*")
            .body(compose)
    };
    let checked = world.send(request("?name=shop&validate_only=true")).await.is(201);
    assert!(checked.header("content-type").starts_with("text/plain"));
    assert!(checked.text.contains("name: shop"), "{}", checked.text);
    world.get("/blueprints/shop").await.is(404);
    world.send(request("?name=shop")).await.is(201);
    let shop = world.get("/blueprints/shop").await.is(200).json();
    assert!(shop["clusters"]["web"].is_object() && shop["clusters"]["db"].is_object());
    // What was shown is what was stored.
    world.post("/blueprints", &checked.text).await.is(201);
    assert_eq!(world.get("/blueprints/shop").await.json(), shop);
    world.send(request("")).await.is(400);
    let wrong = world
        .request(Method::POST, "/docker-compose?name=x")
        .body("services: 3");
    world.send(wrong).await.is(400);
}

#[tokio::test]
async fn scripts_may_also_be_posted() {
    let world = World::new().await;
    let post = |path: &str, kind: &str| {
        world
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, kind)
            .body("run();")
    };
    world
        .send(post("/breeds/metrics", "application/javascript"))
        .await
        .is(200);
    assert_eq!(
        world.get("/breeds/metrics").await.json()["deployable"]["definition"],
        "run();"
    );
    let refused = world
        .send(post("/breeds/metrics", "application/json"))
        .await
        .is(405);
    assert_eq!(refused.header("allow"), "GET,HEAD,PUT,DELETE");
}
