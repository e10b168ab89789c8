//! Artifacts of plain kinds.

use std::sync::Arc;

use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::world::{FRONT, World};

#[tokio::test]
async fn artifacts_are_created_read_replaced_and_deleted() {
    let world = World::new().await;
    let created = world.post("/breeds", FRONT).await.is(201).json();
    assert_eq!(created.as_array().unwrap().len(), 1);
    assert_eq!(created[0]["name"], "front:1");
    assert_eq!(created[0]["deployable"]["definition"], "acme/front:1");
    let read = world.get("/breeds/front:1").await.is(200);
    assert_eq!(read.json(), created[0]);
    assert_eq!(read.header("content-type"), "application/json");
    assert_eq!(read.header("cache-control"), "no-store");
    assert_eq!(world.get("/breeds").await.is(200).json(), created);

    let changed = FRONT.replace("acme/front:1", "acme/front:1b");
    let updated = world.put("/breeds/front:1", &changed).await.is(200).json();
    assert_eq!(updated[0]["deployable"]["definition"], "acme/front:1b");
    assert_eq!(world.get("/breeds/front:1").await.json(), updated[0]);
    let new = world
        .put("/breeds/back:1", "{name: 'back:1', deployable: x}")
        .await;
    assert_eq!(new.is(200).json()[0]["name"], "back:1");

    let wrong = world.put("/breeds/other", FRONT).await.is(400);
    assert_eq!(wrong.json()["problems"][0]["code"], "InconsistentArtifactName");
    assert_eq!(wrong.message(), "The path names `other`, the body `front:1`.");

    assert_eq!(world.delete("/breeds/front:1").await.is(204).text, "");
    world.delete("/breeds/front:1").await.is(204);
    let gone = world.get("/breeds/front:1").await.is(404);
    assert_eq!(gone.message(), "The requested resource could not be found.");
}

#[tokio::test]
async fn every_plain_kind_reads_back_what_it_prints() {
    let world = World::new().await;
    for (kind, body) in [
        ("scales", "{name: small, cpu: 0.2, memory: 64MB, instances: 2}"),
        ("conditions", "{name: ie, condition: User-Agent == IE}"),
        ("breeds", FRONT),
        (
            "blueprints",
            "{name: shop, gateways: {9050: front/web}, clusters: {front: {services: 'front:1'}}}",
        ),
    ] {
        let created = world.post(&format!("/{kind}"), body).await.is(201).json();
        let name = created[0]["name"].as_str().unwrap();
        let read = world.get(&format!("/{kind}/{name}")).await.is(200);
        assert_eq!(read.json(), created[0], "{kind}");
        let again = world
            .put(&format!("/{kind}/{name}"), &read.text)
            .await
            .is(200)
            .json();
        assert_eq!(again[0], created[0], "{kind}");
    }
}

#[tokio::test]
async fn bodies_and_answers_are_json_or_yaml() {
    let world = World::new().await;
    let yaml = world
        .request(Method::POST, "/breeds")
        .header(header::ACCEPT, "application/x-yaml, application/json")
        .header(header::CONTENT_TYPE, "application/json")
        .body(FRONT);
    let created = world.send(yaml).await.is(201);
    assert_eq!(created.header("content-type"), "application/x-yaml");
    assert!(created.text.starts_with("- name: front:1\n"), "{}", created.text);
    let read = world
        .request(Method::GET, "/breeds/front:1")
        .header(header::ACCEPT, "application/x-yaml");
    let read = world.send(read).await.is(200);
    // What was printed as YAML comes back as it is.
    let again = world.put("/breeds/front:1", &read.text).await.is(200);
    assert_eq!(again.header("content-type"), "application/json");
    let missing = world
        .request(Method::GET, "/breeds/none")
        .header(header::ACCEPT, "application/x-yaml");
    let missing = world.send(missing).await.is(404);
    assert_eq!(
        missing.text.trim_end(),
        "message: The requested resource could not be found."
    );
    for accept in ["*/*", "application/json, text/plain, */*", "text/html, */*;q=0.1"] {
        let read = world
            .request(Method::GET, "/breeds/front:1")
            .header(header::ACCEPT, accept);
        assert_eq!(
            world.send(read).await.is(200).header("content-type"),
            "application/json"
        );
    }
}

#[tokio::test]
async fn forms_that_are_not_spoken_are_refused() {
    let world = World::new().await;
    for (name, value) in [
        (header::ACCEPT, "text/html"),
        (header::ACCEPT, "application/xml, image/*"),
        (header::CONTENT_TYPE, "multipart/form-data; boundary=x"),
        (header::CONTENT_TYPE, "application/javascript"),
    ] {
        let request = world
            .request(Method::POST, "/breeds")
            .header(&name, value)
            .body(FRONT);
        let refused = world.send(request).await.is(400);
        assert!(refused.message().contains(name.as_str()), "{}", refused.text);
    }
    assert_eq!(world.get("/breeds").await.json(), json!([]), "nothing was stored");
}

#[tokio::test]
async fn problems_are_all_told_with_their_places() {
    let world = World::new().await;
    let wrong = world
        .post(
            "/breeds",
            "name: a b\ndeployable: x\ncolour: red\nports:\n  web:\n",
        )
        .await
        .is(400);
    let body = wrong.json();
    let problems = body["problems"].as_array().unwrap();
    let find = |code: &str| {
        problems
            .iter()
            .find(|problem| problem["code"] == code)
            .unwrap_or_else(|| panic!("{code} in {problems:#?}"))
    };
    assert_eq!(find("IllegalName")["line"], 1);
    assert_eq!(find("UnexpectedElement")["line"], 3);
    assert_eq!(find("MissingPortValueError")["path"], "ports/web");
    assert_eq!(wrong.message().lines().count(), problems.len());
    let syntax = world.post("/breeds", "name: [\n").await.is(400);
    assert_eq!(syntax.json()["problems"][0]["code"], "YamlParsingError");
    assert_eq!(world.get("/breeds").await.json(), json!([]), "nothing was stored");
}

#[tokio::test]
async fn nothing_is_stored_when_it_is_only_validated() {
    let world = World::new().await;
    let checked = world
        .post("/breeds?validate_only=true", FRONT)
        .await
        .is(201)
        .json();
    assert_eq!(checked["name"], "front:1", "not a list");
    world
        .put("/breeds/front:1?validate_only=true", FRONT)
        .await
        .is(200);
    assert_eq!(world.get("/breeds").await.json(), json!([]));
    world.post("/breeds", FRONT).await.is(201);
    world.delete("/breeds/front:1?validate_only=true").await.is(204);
    world.get("/breeds/front:1").await.is(200);
    world.post("/breeds?validate_only=maybe", FRONT).await.is(400);
    assert_eq!(world.events("type=archive").await.len(), 1);
    assert_eq!(world.events("type=change").await.len(), 1);
}

#[tokio::test]
async fn what_is_hardly_meant_is_told_beside_the_answer() {
    let world = World::new().await;
    let routes = "{a: {weight: 100%}, b: {condition: 'user-agent == x and not user-agent == x', weight: 0%}}";
    let body = format!("{{name: odd, port: 9099/http, routes: {routes}}}");
    for path in ["/gateways?validate_only=true", "/gateways"] {
        let told = world.post(path, &body).await.is(202);
        let warning = told.header("warning");
        assert!(
            warning.starts_with("199 weir \"ConditionNeverMatches"),
            "{path}: {warning}"
        );
    }
    let sound = world
        .post(
            "/gateways",
            "{name: fine, port: 9098/http, routes: {a: {weight: 100%}}}",
        )
        .await;
    assert_eq!(sound.is(202).header("warning"), "");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new().await;
    let scales: String = (0..31)
        .map(|number| format!("- {{kind: scale, name: s{number:02}, cpu: 1, memory: 1MB}}\n"))
        .collect();
    world.post("/", &scales).await.is(202);
    let names = async |query: &str| {
        let answer = world.get(&format!("/scales{query}")).await.is(200);
        assert_eq!(answer.header("x-total-count"), "31");
        let names: Vec<String> = answer
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|scale| scale["name"].as_str().unwrap().to_owned())
            .collect();
        (names, answer.header("link").to_owned())
    };
    let (first, link) = names("").await;
    assert_eq!((first.len(), first[0].as_str()), (30, "s00"));
    let base = world.url("/scales?");
    let expected = ["first", "prev", "next", "last"]
        .into_iter()
        .zip([1, 1, 2, 2])
        .map(|(relation, page)| format!("<{base}page={page}&per_page=30>; rel=\"{relation}\""))
        .collect::<Vec<_>>()
        .join(", ");
    assert_eq!(link, expected);
    assert_eq!(names("?page=2").await.0, ["s30"]);
    assert_eq!(names("?page=3&per_page=1000").await.0, [""; 0]);
    let (part, link) = names("?per_page=2&page=5&x=a%20b").await;
    assert_eq!(part, ["s08", "s09"]);
    assert!(
        link.contains(&format!("<{base}x=a%20b&page=4&per_page=2>; rel=\"prev\"")),
        "{link}"
    );
    assert!(
        link.contains(&format!("<{base}x=a%20b&page=16&per_page=2>; rel=\"last\"")),
        "{link}"
    );
    assert_eq!(names("?page=0&per_page=0").await.0, ["s00"]);
    assert_eq!(names("?page=18446744073709551615").await.0, [""; 0]);
    let wrong = world.get("/scales?page=two").await.is(400);
    assert_eq!(
        wrong.message(),
        "Query parameter `page` is a whole number, which `two` is not."
    );
}

#[tokio::test]
async fn inline_breeds_are_artifacts_of_their_own() {
    let world = World::new().await;
    let blueprint =
        "name: shop\nclusters:\n  front:\n    services:\n      breed: {name: 'front:1', deployable: old}\n";
    let created = world.post("/blueprints", blueprint).await.is(201).json();
    let names: Vec<_> = created
        .as_array()
        .unwrap()
        .iter()
        .map(|stored| &stored["name"])
        .collect();
    assert_eq!(names, ["front:1", "shop"]);
    let breed = async |query: &str| {
        let blueprint = world
            .get(&format!("/blueprints/shop{query}"))
            .await
            .is(200)
            .json();
        blueprint["clusters"]["front"]["services"][0]["breed"].clone()
    };
    assert_eq!(breed("").await["deployable"]["definition"], "old");
    world
        .put("/breeds/front:1", "{name: 'front:1', deployable: new}")
        .await
        .is(200);
    assert_eq!(breed("").await["deployable"]["definition"], "new");
    assert_eq!(
        breed("?only_references=true").await,
        json!({"reference": "front:1"})
    );
    world.delete("/breeds/front:1").await.is(204);
    assert_eq!(breed("").await, json!({"reference": "front:1"}));
    let missing = world.get("/blueprints/shop?expand_references=true").await.is(400);
    assert_eq!(
        missing.message(),
        "`front:1` is referred to, but there is none in breeds."
    );
}

#[tokio::test]
async fn references_are_expanded_through_breeds_but_not_in_circles() {
    let world = World::new().await;
    let documents = "
        - {kind: breed, name: a, deployable: x, dependencies: {b: b}}
        - {kind: breed, name: b, deployable: y}
        - {kind: scale, name: small, cpu: 1, memory: 64MB}
        - {kind: blueprint, name: shop, clusters: {c: {services: [{breed: a, scale: small}, {breed: b}]}}}
    ";
    world.put("/", documents).await.is(202);
    let shop = world
        .get("/blueprints/shop?expand_references=true")
        .await
        .is(200)
        .json();
    let service = &shop["clusters"]["c"]["services"][0];
    assert_eq!(service["breed"]["deployable"]["definition"], "x");
    assert_eq!(
        service["breed"]["dependencies"]["b"]["deployable"]["definition"],
        "y"
    );
    assert_eq!(service["scale"]["memory"], "64.00MB");
    let kept = world.get("/blueprints/shop").await.is(200).json();
    assert_eq!(
        kept["clusters"]["c"]["services"][0]["breed"],
        json!({"reference": "a"})
    );

    world
        .put("/breeds/b", "{name: b, deployable: y, dependencies: {a: a}}")
        .await
        .is(200);
    let circle = world.get("/breeds/a?expand_references=true").await.is(400);
    assert_eq!(circle.json()["problems"][0]["code"], "RecursiveDependenciesError");
}

#[tokio::test]
async fn scripts_are_stored_as_breeds() {
    let world = World::new().await;
    let script = "console.log(1); // not: [yaml";
    let request = world
        .request(Method::PUT, "/breeds/metrics")
        .header(header::CONTENT_TYPE, "application/javascript")
        .body(script);
    world.send(request).await.is(200);
    let deployable = world.get("/breeds/metrics").await.json()["deployable"].clone();
    assert_eq!(
        deployable,
        json!({"type": "application/javascript", "definition": script})
    );
}

#[tokio::test]
async fn changes_are_archived_with_their_source() {
    let world = World::new().await;
    world.post("/breeds", FRONT).await.is(201);
    world.put("/breeds/front:1", FRONT).await.is(200);
    world.delete("/breeds/front:1").await.is(204);
    world.delete("/breeds/front:1").await.is(204);
    let tags = |action: &str| {
        ["breeds:front:1", action, "breeds", "archive"]
            .map(str::to_owned)
            .to_vec()
    };
    assert_eq!(
        world.events("tag=breeds:front:1&type=archiving").await,
        [
            (tags("archive:create"), json!(FRONT)),
            (tags("archive:update"), json!(FRONT)),
            (tags("archive:delete"), Value::Null),
        ]
    );
    let changes = world.events("type=change&tag=artifact:breeds/front:1").await;
    let told: Vec<_> = changes
        .iter()
        .map(|(_, value)| {
            let is_there =
                |when: &str| value[when]["deployable"]["definition"].as_str() == Some("acme/front:1");
            (
                value["action"].as_str().unwrap(),
                value["who"].as_str().unwrap(),
                is_there("before"),
                is_there("after"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("create", "anonymous", false, true),
            ("delete", "anonymous", true, false),
        ],
        "putting what is there changes nothing"
    );
}

#[tokio::test]
async fn writers_at_the_same_time_are_all_told() {
    let world = Arc::new(World::new().await);
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let body = format!("{{name: same, deployable: 'v{number}'}}");
                world.put("/breeds/same", &body).await.is(200);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let sum = world
        .request(Method::GET, "/events")
        .json(&json!({"tags": "breeds:same", "aggregator": "count"}));
    assert_eq!(world.send(sum).await.is(200).json(), json!({"value": 40}));
    let last = world.get("/events?tag=breeds:same&per_page=1").await.json()[0]["value"].clone();
    let stored = world.get("/breeds/same").await.json()["deployable"]["definition"].clone();
    assert!(
        last.as_str()
            .unwrap()
            .contains(&format!("'{}'", stored.as_str().unwrap())),
        "{last} {stored}"
    );
}
