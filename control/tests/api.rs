//! The REST API from outside, over real connections, without agents and with a driver in memory.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "in tests a panic is the report, and texts are known"
)]

use std::{sync::Arc, time::Duration};

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weir_control::{Config, Control, Storage};
use weir_driver::fake::Fake;
use weir_store::memory::Memory;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    control: Control,
    http: reqwest::Client,
    folder: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

fn config(folder: &std::path::Path, storage: Storage) -> Config {
    let mut config = Config::new(folder, Arc::new(Memory::new()));
    config.listen = ([127, 0, 0, 1], 0).into();
    config.storage = storage;
    config.namespace = "blue".to_owned();
    // Events of the past are not to vanish while a test looks at them.
    config.event_retention = Duration::ZERO;
    config
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), Storage::Memory);
        change(&mut config);
        let control = Control::start_with(config, Arc::new(Fake::new())).await.unwrap();
        Self {
            control,
            http: reqwest::Client::new(),
            folder,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.control.address())
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path)).timeout(PATIENCE)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(self.request(Method::POST, path).body(body.to_owned()))
            .await
    }

    async fn put(&self, path: &str, body: &str) -> Answer {
        self.send(self.request(Method::PUT, path).body(body.to_owned()))
            .await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Tags and values of the events that match, oldest first.
    async fn events(&self, query: &str) -> Vec<(Vec<String>, Value)> {
        let mut events: Vec<_> = self
            .get(&format!("/events?{query}"))
            .await
            .is(200)
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|event| {
                let tags = event["tags"].as_array().unwrap().iter();
                let tags = tags.map(|tag| tag.as_str().unwrap().to_owned()).collect();
                (tags, event["value"].clone())
            })
            .collect();
        events.reverse();
        events
    }
}

const FRONT: &str = "name: front:1\ndeployable: acme/front:1\nports: {web: 8080/http}\n";

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
    for accept in ["*/*", "application/json, text/plain, */*", "text/html"] {
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
}

#[tokio::test]
async fn many_documents_are_checked_before_any_is_applied() {
    let world = World::new().await;
    let wrong = "kind: breed\nname: a\ndeployable: x\n---\nkind: scale\nname: s\ncpu: much\nmemory: 1MB\n";
    world.post("/", wrong).await.is(400);
    world.post("/", "").await.is(400);
    world.post("/", "name: a\ndeployable: x\n").await.is(400);
    world.post("/", "kind: sla\nname: a\n").await.is(400);
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
async fn paths_are_forgiving_about_slashes_and_namespaces() {
    let world = World::new().await;
    world.post("/breeds/", FRONT).await.is(201);
    let root = format!("http://{}", world.control.address());
    for path in [
        "/api/v1/breeds/",
        "//api/v1/breeds",
        "/blue/api/v1/breeds",
        "/blue/api/v1/breeds/",
    ] {
        let answer = world.send(world.http.get(format!("{root}{path}"))).await.is(200);
        assert_eq!(answer.json()[0]["name"], "front:1", "{path}");
        let link = answer.header("link").to_owned();
        assert!(link.starts_with(&format!("<{root}{path}?page=1")), "{link}");
    }
    world
        .send(world.http.get(format!("{root}/red/api/v1/breeds")))
        .await
        .is(404);
    world.get("/breeds/front%3A1").await.is(200);
    world.get("/breeds/front:1/").await.is(200);
    let not_text = world.get("/breeds/%FF").await.is(400);
    assert!(not_text.message().contains("UTF-8"), "{}", not_text.text);
}

#[tokio::test]
async fn what_does_not_exist_is_said_as_json() {
    let world = World::new().await;
    let unknown = world.get("/colours").await.is(400);
    assert_eq!(unknown.message(), "Unexpected resource: 'colours'.");
    world.get("/colours/red").await.is(400);
    world.put("/colours/red", "{}").await.is(400);
    for kind in [
        "slas",
        "escalations",
        "routes",
        "rewrites",
        "workflows",
        "templates",
    ] {
        let list = world.get(&format!("/{kind}")).await.is(200);
        assert_eq!((list.json(), list.header("x-total-count")), (json!([]), "0"));
        world.get(&format!("/{kind}/x")).await.is(404);
        let refused = world.post(&format!("/{kind}"), "{name: x}").await.is(400);
        assert_eq!(refused.message(), format!("Kind `{kind}` is not supported yet."));
        world.delete(&format!("/{kind}/x")).await.is(400);
    }
    let method = world.put("/breeds", FRONT).await.is(405);
    assert_eq!(method.message(), "The path does not know this method.");
    assert_eq!(method.header("allow"), "GET,HEAD,POST");
    let outside = world
        .send(world.http.get(format!("http://{}/else", world.control.address())))
        .await;
    outside.is(404).message();
}

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
            "id": "1",
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
        world.get("/events?per_page=1&page=2").await.json(),
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

/// Server-sent events as they come.
struct Stream {
    response: reqwest::Response,
    buffer: String,
}

impl Stream {
    async fn open(world: &World, path: &str, last: Option<&str>) -> Self {
        let mut request = world.http.get(world.url(path));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = tokio::time::timeout(PATIENCE, request.send())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            buffer: String::new(),
        }
    }

    /// Fields of the next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_else(|| panic!("{name} in {event:?}"))
                        .trim()
                        .to_owned()
                };
                let next = (
                    field("id:"),
                    field("event:"),
                    serde_json::from_str(&field("data:")).unwrap(),
                );
                self.buffer = rest.to_owned();
                return Some(next);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk())
                .await
                .unwrap()
                .unwrap()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn events_are_streamed_as_they_happen_and_go_on_where_a_reader_was() {
    let world = World::new().await;
    world.post("/events", "{tags: before, value: 0}").await.is(201);
    let mut archive = Stream::open(&world, "/events/stream?type=archive&tag=breeds", None).await;
    let mut all = Stream::open(&world, "/events/stream", None).await;
    world.post("/events", "{tags: 'x:1', value: 1}").await.is(201);
    world.post("/breeds", FRONT).await.is(201);
    let (id, kind, event) = archive.next().await.unwrap();
    assert_eq!((id.as_str(), kind.as_str()), ("3", "archive"));
    assert_eq!(event["tags"][0], "breeds:front:1");
    let (first, kind, event) = all.next().await.unwrap();
    assert_eq!((first.as_str(), kind.as_str()), ("2", "event"), "no replay");
    assert_eq!(event["value"], 1);
    assert_eq!(event["tags"], json!(["x:1", "x"]));
    drop(all);

    world.post("/events", "{tags: x}").await.is(201);
    let mut again = Stream::open(&world, "/events/stream?tag=x", Some(&first)).await;
    let (id, _, event) = again.next().await.unwrap();
    assert_eq!(id, "4", "event 3 has another tag");
    assert_eq!(event.get("value"), None);
    world.post("/events", "{tags: x, value: live}").await.is(201);
    assert_eq!(again.next().await.unwrap().2["value"], "live");

    world.get("/events/stream?last_event_id=x").await.is(400);

    // A stop ends streams at once instead of waiting for them.
    let World { control, folder, .. } = world;
    tokio::time::timeout(PATIENCE, control.shutdown()).await.unwrap();
    assert!(again.next().await.is_none());
    drop(folder);
}

#[tokio::test]
async fn bodies_are_bounded() {
    let world = World::new().await;
    let large = vec![b'x'; 10 * 1024 * 1024];
    let refused = world
        .send(world.request(Method::POST, "/breeds").body(large.clone()))
        .await
        .is(413);
    assert_eq!(
        refused.message(),
        "The body is too large: at most 2097152 bytes are accepted."
    );

    // Without a length, and in parts.
    let parts = futures::stream::iter(
        large
            .chunks(100_000)
            .map(|part| Ok::<_, std::io::Error>(part.to_vec()))
            .collect::<Vec<_>>(),
    );
    let request = world
        .request(Method::PUT, "/")
        .body(reqwest::Body::wrap_stream(parts));
    world.send(request).await.is(413);

    // Who asks first is told before anything is sent.
    let mut asking = TcpStream::connect(world.control.address()).await.unwrap();
    asking
        .write_all(b"POST /api/v1/breeds HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\nExpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 64];
    let read = tokio::time::timeout(PATIENCE, asking.read(&mut head))
        .await
        .unwrap()
        .unwrap();
    assert!(
        head[..read].starts_with(b"HTTP/1.1 413 "),
        "{}",
        String::from_utf8_lossy(&head)
    );

    let limit = 2 * 1024 * 1024;
    let full = format!("{FRONT}#{}", "x".repeat(limit - FRONT.len() - 1));
    world.post("/breeds", &full).await.is(201);
}

#[tokio::test]
async fn hostile_bodies_are_refused() {
    let world = World::new().await;
    let not_text = world
        .request(Method::POST, "/breeds")
        .body(&b"name: a\ndeployable: \xff\xfe"[..]);
    let not_text = world.send(not_text).await.is(400);
    assert_eq!(
        not_text.message(),
        "The body is not UTF-8: byte 21 (line 2) begins no character."
    );
    let deep = "[".repeat(100_000);
    let nested = format!("{}1{}", "{a: ".repeat(100), "}".repeat(100));
    let laughs = (1..20).fold(
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(),
        |text, level| {
            let alias = format!("*a{}, ", level - 1).repeat(9);
            format!("{text}a{level}: &a{level} [{alias}]\n")
        },
    );
    for body in [
        deep.as_str(),
        &nested,
        &laughs,
        "\0",
        "&a *a",
        "!!python/object:x {}",
    ] {
        for path in ["/breeds", "/events", "/deployments", "/"] {
            let refused = world.post(path, body).await;
            assert_eq!(refused.status, 400, "{path}: {:.60}", body);
            assert!(!refused.message().is_empty());
        }
    }
    let head = format!(
        "GET /api/v1/breeds HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let mut connection = TcpStream::connect(world.control.address()).await.unwrap();
    let _ = connection.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    world.get("/breeds").await.is(200);
}

#[tokio::test]
async fn pages_from_elsewhere_change_nothing() {
    let world = World::new().await;
    let from = |method: Method, origin: &str| {
        world
            .request(method, "/breeds")
            .header(header::ORIGIN, origin)
            .body(FRONT)
    };
    let refused = world
        .send(from(Method::POST, "http://evil.example"))
        .await
        .is(403);
    assert_eq!(refused.header("access-control-allow-origin"), "");
    assert_eq!(world.get("/breeds").await.json(), json!([]));
    let allowed = world
        .send(from(Method::POST, "http://localhost:3000"))
        .await
        .is(201);
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        "http://localhost:3000"
    );
    assert_eq!(allowed.header("access-control-allow-credentials"), "true");
    assert_eq!(
        allowed.header("access-control-expose-headers"),
        "link,x-total-count"
    );
    let preflight = world
        .request(Method::OPTIONS, "/breeds/x")
        .header(header::ORIGIN, "http://127.0.0.1:9")
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "x-odd");
    let preflight = world.send(preflight).await.is(200);
    assert_eq!(preflight.header("access-control-allow-headers"), "x-odd");
    assert_eq!(preflight.header("access-control-max-age"), "1800");
    assert!(
        preflight
            .header("access-control-allow-methods")
            .contains("DELETE")
    );

    let open = World::with(|config| config.origins = weir_control::Origins::Any).await;
    let request = open
        .request(Method::POST, "/breeds")
        .header(header::ORIGIN, "http://elsewhere.example")
        .body(FRONT);
    let answer = open.send(request).await.is(201);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "http://elsewhere.example"
    );
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() {
    let world = World::new().await;
    world.post("/breeds", FRONT).await.is(201);
    let request = world
        .http
        .get(world.url("/breeds"))
        .header(header::ACCEPT_ENCODING, "gzip");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert!(response.bytes().await.unwrap().starts_with(&[0x1f, 0x8b]));
}

#[tokio::test]
async fn info_says_what_there_is() {
    let world = World::new().await;
    let info = world.get("/info").await.is(200).json();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["persistence"]["database"]["type"], "memory");
    assert_eq!(info["key_value"]["type"], "memory");
    assert_eq!(info["container_driver"]["type"], "fake");
    assert!(info["message"].is_string() && info["uuid"].is_string() && info["running_since"].is_string());
    let part = world
        .get("/information?on=pulse&on=key_value")
        .await
        .is(200)
        .json();
    assert_eq!(part["pulse"]["type"], "memory");
    assert_eq!(part.get("persistence"), None);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let control = Control::start_with(config(folder.path(), Storage::Sqlite), Arc::new(Fake::new()));
        World {
            control: control.await.unwrap(),
            http: reqwest::Client::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    };
    let world = start().await;
    world.post("/breeds", FRONT).await.is(201);
    let second = Control::start_with(config(folder.path(), Storage::Sqlite), Arc::new(Fake::new())).await;
    let refused = format!("{:#}", second.unwrap_err());
    assert!(refused.contains("is in use by another process"), "{refused}");
    let before = world.get("/events").await.is(200).json();
    world.control.shutdown().await;

    let world = start().await;
    world.get("/breeds/front:1").await.is(200);
    let after = world.get("/events").await.is(200).json();
    assert_eq!(
        after.as_array().unwrap().last(),
        before.as_array().unwrap().last()
    );
    world.control.shutdown().await;
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

/// The description that is checked in is the one that is served. `WEIR_UPDATE=1` writes it.
#[tokio::test]
async fn the_description_is_the_one_that_is_checked_in() {
    let world = World::new().await;
    let served = world.get("/openapi.json").await.is(200);
    assert_eq!(served.header("content-type"), "application/json");
    let served = served.json();
    assert_eq!(served["openapi"], "3.1.0");
    for (path, method) in [
        ("/api/v1", "put"),
        ("/api/v1/breeds/{name}", "delete"),
        ("/api/v1/deployments", "post"),
        ("/api/v1/events/stream", "get"),
        ("/api/v1/traffic", "get"),
    ] {
        assert!(served["paths"][path][method].is_object(), "{method} {path}");
    }
    let mut text = serde_json::to_string_pretty(&served).unwrap();
    text.push('\n');
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    if std::env::var_os("WEIR_UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi.json is not up to date; run this test with WEIR_UPDATE=1"
    );
}
