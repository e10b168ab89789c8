//! What is wrong gets the right status and a message that says what and where, and changes nothing.

use std::sync::Arc;

use reqwest::{Method, header};
use serde_json::{Value, json};
use weir_artifact::Kind;

use crate::world::{FRONT, SHOP, World};

/// Everything that is stored, and how many events there are.
async fn everything(world: &World) -> Value {
    let mut all = serde_json::Map::new();
    for kind in Kind::ALL {
        let stored = world.get(&format!("/{}", kind.plural())).await.is(200).json();
        all.insert(kind.plural().to_owned(), stored);
    }
    let told = world.get("/events?type=archive").await;
    all.insert("told".to_owned(), json!(told.header("x-total-count")));
    all.insert("config".to_owned(), world.get("/config").await.json());
    Value::Object(all)
}

/// Request, body, status, and what the message says. In a body `\n` is a new line, and a word in capitals is a text of
/// this suite.
const WRONG: &str = r"
# Kinds and paths.
GET    /colours |  | 400 | Unexpected resource: 'colours'.
POST   /colours | {} | 400 | colours
POST   / | {kind: colour, name: a} | 400 | colour
GET    /breeds/none |  | 404 | could not be found
PUT    /breeds | {} | 405 | method
POST   /breeds/a | {} | 405 | method
GET    /breeds/a/revisions/1/rollback |  | 405 | method
# Parameters.
GET    /breeds?page=-x |  | 400 | page
GET    /breeds?expand_references=1 |  | 400 | expand_references
POST   /breeds?validate_only=perhaps | FRONT | 400 | validate_only
GET    /health/gateways/edge?window=x |  | 400 | window
GET    /traffic?window=x |  | 400 | window
# Syntax.
POST   /breeds | {name: [ | 400 | line 2
POST   /breeds | a: 1\nb: *none\n | 400 | line 2
POST   /breeds | !!python/object:x {} | 400 | line 1
POST   /breeds |  | 400 | nothing
POST   /breeds | - {name: a, deployable: x}\n- {name: b, deployable: x} | 400 | one document
POST   /deployments | DEEP | 400 | levels
POST   /blueprints | LAUGHS | 400 | values
PUT    / | LAUGHS | 400 | values
POST   /plan | LAUGHS | 400 | values
POST   /events | LAUGHS | 400 | values
PUT    /config | LAUGHS | 400 | key = value
# Types.
POST   /breeds | just text | 400 | map
POST   /breeds | {name: a, deployable: x, ports: 3} | 400 | ports
PUT    /breeds/front:1 | {name: 'front:1', deployable: {definition: [1]}} | 400 | deployable/definition
POST   /scales | {name: a, cpu: x, memory: 1MB} | 400 | cpu
POST   /scales | {name: a, cpu: 1, memory: 1} | 400 | memory
POST   /slas | {name: a, type: response_time_sliding_window} | 400 | threshold
POST   /escalations | {name: a, type: scale_cpu, minimum: x, maximum: 1, scale_by: 1} | 400 | minimum
POST   /routes | {name: a, weight: 101%} | 400 | weight
POST   /rewrites | {name: a, path: x} | 400 | path
POST   /workflows | {name: a, breed: x} | 400 | schedule
POST   /workflows | {name: a, breed: x, schedule: {time: never}} | 400 | schedule/time
PUT    /workflows/w | {name: w, breed: x, schedule: daemon} | 400 | suspended
PUT    /workflows/w/status | dancing | 400 | dancing
POST   /templates | {name: a, definition: 1} | 400 | definition
POST   /gateways | {name: a, port: 99999, routes: '[127.0.0.1:1]'} | 400 | port
POST   /gateways | {name: a, port: 8080, routes: '[127.0.0.1:1]'} | 400 | 8080
POST   /gateways | {name: a/b/c, port: 8081, routes: '[127.0.0.1:1]'} | 400 | a/b/c
DELETE / | {kind: breed} | 400 | name
POST   /deployments | {name: d, clusters: {c: none}} | 400 | none
PUT    /deployments/a%2Fb | SHOP | 400 | a/b
DELETE /deployments/none |  | 404 | none
POST   /deployments/none/clusters/c/sla | {type: x} | 404 | found
POST   /events | {tags: [{}]} | 400 | tags
POST   /events | {tags: a, type: 'a b'} | 400 | type
PUT    /config | [1, 2] | 400 | key = value
PUT    /config | vamp.namespace: green | 400 | vamp.namespace
POST   /docker-compose?name=x | [] | 400 | Compose
POST   /breeds/front:1/revisions/9/rollback |  | 404 | found
";

fn laughs() -> String {
    (1..20).fold(
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(),
        |text, level| {
            let alias = format!("*a{}, ", level - 1).repeat(9);
            format!("{text}a{level}: &a{level} [{alias}]\n")
        },
    )
}

#[tokio::test]
async fn wrong_requests_are_refused_by_name_and_change_nothing() {
    let world = World::new().await;
    world.post("/breeds", FRONT).await.is(201);
    world
        .post("/gateways", "{name: edge, port: 8080, routes: '[127.0.0.1:1]'}")
        .await
        .is(202);
    world
        .post("/workflows", "{name: w, breed: x, schedule: daemon}")
        .await
        .is(202);
    let before = everything(&world).await;
    let deep = format!("{}1{}", "{a: ".repeat(100), "}".repeat(100));
    let laughs = laughs();
    let mut wrong = Vec::new();
    for case in WRONG.lines().filter(|line| line.contains(" | ")) {
        let [request, body, status, says] = case.split(" | ").map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("four columns: {case}");
        };
        let (method, path) = request.split_once(' ').unwrap();
        let body = match body {
            "DEEP" => deep.clone(),
            "FRONT" => FRONT.to_owned(),
            "LAUGHS" => laughs.clone(),
            "SHOP" => SHOP.to_owned(),
            text => text.replace("\\n", "\n"),
        };
        let method = method.parse().unwrap();
        let answer = world.send(world.request(method, path.trim()).body(body)).await;
        let message = serde_json::from_str::<Value>(&answer.text)
            .ok()
            .and_then(|answer| Some(answer["message"].as_str()?.to_owned()));
        let is_right = answer.status == status.parse::<u16>().unwrap()
            && message.is_some_and(|message| !message.is_empty() && message.contains(says))
            && answer.header("content-type") == "application/json";
        if !is_right {
            wrong.push(format!("{case}: {} {:.300}", answer.status, answer.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(everything(&world).await, before);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused_everywhere() {
    let world = World::new().await;
    let before = everything(&world).await;
    for (method, path) in [
        (Method::POST, "/"),
        (Method::PUT, "/"),
        (Method::DELETE, "/"),
        (Method::POST, "/plan"),
        (Method::POST, "/breeds"),
        (Method::PUT, "/breeds/a"),
        (Method::POST, "/gateways"),
        (Method::POST, "/deployments"),
        (Method::PUT, "/deployments/a?delete=true"),
        (Method::PUT, "/deployments/a/clusters/b/sla"),
        (Method::PUT, "/deployments/a/clusters/b/services/c/scale"),
        (Method::PUT, "/workflows/a/status"),
        (Method::POST, "/docker-compose?name=a"),
        (Method::POST, "/events"),
        (Method::GET, "/events"),
        (Method::PUT, "/config"),
    ] {
        let request = world.request(method.clone(), path).body(&b"a: \xff\xfe"[..]);
        let refused = world.send(request).await.is(400);
        assert_eq!(
            refused.message(),
            "The body is not UTF-8: byte 4 (line 1) begins no character.",
            "{method} {path}"
        );
        let large = world
            .request(method.clone(), path)
            .body(vec![b' '; 2 * 1024 * 1024 + 1]);
        world.send(large).await.is(413);
    }
    assert_eq!(everything(&world).await, before);
}

#[tokio::test]
async fn numbers_and_names_at_their_ends_do_no_harm() {
    let world = World::new().await;
    let long = "x".repeat(10_000);
    for path in [
        format!("/breeds/{long}"),
        format!("/breeds/{long}/revisions/1"),
        "/breeds/a/revisions/18446744073709551615".to_owned(),
        "/breeds/a/revisions/18446744073709551616".to_owned(),
        "/breeds/%00".to_owned(),
        "/gateways/%2F%2F".to_owned(),
        format!("/metrics/gateways/{long}/rate"),
        format!("/config/{long}"),
    ] {
        world.get(&path).await.is(404).message();
    }
    for path in [
        "/breeds?page=18446744073709551615&per_page=18446744073709551615",
        "/breeds?page=0",
        "/breeds/?per_page=-5",
    ] {
        assert_eq!(world.get(path).await.is(200).json(), json!([]), "{path}");
    }
    world
        .get("/health/gateways/a?window=99999999999999999999s")
        .await
        .is(400);
    world
        .post("/scales", "{name: a, cpu: 1e400, memory: 1MB}")
        .await
        .is(400);
    world
        .post("/scales", "{name: a, cpu: .nan, memory: 1MB}")
        .await
        .is(400);
}

#[tokio::test]
async fn writers_of_many_documents_do_not_mix() {
    let world = Arc::new(World::new().await);
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let documents: String = (0..5)
                    .map(|name| format!("- {{kind: breed, name: b{name}, deployable: 'v{number}'}}\n"))
                    .collect();
                world.put("/", &documents).await.is(202);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let breeds = world.get("/breeds").await.is(200).json();
    let definitions: Vec<&Value> = breeds
        .as_array()
        .unwrap()
        .iter()
        .map(|breed| &breed["deployable"]["definition"])
        .collect();
    assert_eq!(definitions.len(), 5);
    assert!(
        definitions
            .iter()
            .all(|definition| **definition == *definitions[0]),
        "{definitions:?}"
    );
}

#[tokio::test]
async fn what_a_proxy_or_browser_adds_is_no_trouble() {
    let world = World::new().await;
    let request = world
        .request(Method::POST, "/breeds")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("x-forwarded-for", "10.0.0.1")
        .header("accept-language", "de")
        .body(FRONT);
    world.send(request).await.is(201);
}
