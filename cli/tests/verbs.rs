//! Verbs against a server that says what the test wants: requests, paging, exit codes, places of problems.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use weir_tests::{Finished, Program};

const BOUND: Duration = Duration::from_secs(20);

/// Answers by method and path; `PUT`s of trees replace what `GET` answers.
#[derive(Clone, Default)]
struct Answers {
    answers: Arc<Mutex<BTreeMap<String, (u16, Value)>>>,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

struct Server {
    address: String,
    answers: Answers,
    _runtime: tokio::runtime::Runtime,
}

async fn answer(State(answers): State<Answers>, request: Request) -> Response {
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap_or_default();
    let line = format!("{method} {path}");
    answers.requests.lock().unwrap().push((
        format!("{line}?{query}"),
        String::from_utf8_lossy(&body).into_owned(),
    ));
    if path == "/api/v1/breeds" {
        return breeds(&query);
    }
    store(&answers, &line, &path, &body);
    let found = answers.answers.lock().unwrap().get(&line).cloned();
    match found {
        Some((status, value)) => (
            StatusCode::from_u16(status).unwrap(),
            [("content-type", "application/json")],
            value.to_string(),
        )
            .into_response(),
        None => (
            StatusCode::NOT_FOUND,
            "The requested resource could not be found.",
        )
            .into_response(),
    }
}

/// Stores a gateway and publishes it, as control and an agent would.
fn store(answers: &Answers, line: &str, path: &str, body: &Bytes) {
    let Some(name) = line.strip_prefix("PUT /api/v1/gateways/") else {
        return;
    };
    let gateway: Value = serde_json::from_slice(body).unwrap();
    let routes: Vec<Value> = gateway["routes"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(route, value)| {
            let percent: u32 = value["weight"]
                .as_str()
                .unwrap()
                .trim_end_matches('%')
                .parse()
                .unwrap();
            json!({"name": route, "intended": percent * 100, "acknowledged": percent * 100})
        })
        .collect();
    let mut all = answers.answers.lock().unwrap();
    let generation = all["GET /api/v1/traffic"].1["generation"].as_u64().unwrap() + 1;
    all.insert(format!("GET {path}"), (200, gateway.clone()));
    all.insert(line.to_owned(), (202, gateway));
    all.insert(
        "GET /api/v1/traffic".to_owned(),
        (
            200,
            json!({"generation": generation, "gateways": [{"name": name, "routes": routes,
                "agents": [{"agent": "a", "generation": generation, "current": true}]}]}),
        ),
    );
}

/// 65 breeds in pages of at most 30.
fn breeds(query: &str) -> Response {
    let parameter = |name: &str| -> usize {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
            .unwrap()
    };
    let (page, per_page) = (parameter("page"), parameter("per_page").min(30));
    let names: Vec<Value> = (0..65)
        .skip((page - 1) * per_page)
        .take(per_page)
        .map(|number| json!({"name": format!("breed:{number}"), "deployable": {"definition": "x"}}))
        .collect();
    ([("x-total-count", "65")], Value::Array(names).to_string()).into_response()
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let answers = Answers::default();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(answers.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            answers,
            _runtime: runtime,
        }
    }

    fn says(self, line: &str, status: u16, value: Value) -> Self {
        self.answers
            .answers
            .lock()
            .unwrap()
            .insert(line.replacen(" /", " /api/v1/", 1), (status, value));
        self
    }

    fn requests(&self) -> Vec<(String, String)> {
        self.answers.requests.lock().unwrap().clone()
    }

    fn weir(&self, arguments: &[&str]) -> Finished {
        weir(&[&["--host", &self.address], arguments].concat())
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments);
    for variable in ["VAMP_HOST", "VAMP_API_TOKEN", "VAMP_NAMESPACE", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

fn weir(arguments: &[&str]) -> Finished {
    Program::start(&mut command(arguments)).finish(BOUND)
}

fn gateway() -> Value {
    json!({"name": "shop/front/web", "port": "40001/http", "routes": {
        "shop/front/front:1/web": {"weight": "80%", "condition": null, "condition_strength": "0%"},
        "shop/front/front:2/web": {"weight": "20%", "condition": null, "condition_strength": "0%"},
    }})
}

fn shop() -> Server {
    Server::start()
        .says("GET /gateways/shop/front/web", 200, gateway())
        .says("GET /traffic", 200, json!({"generation": 7, "gateways": []}))
}

#[test]
fn a_list_is_followed_to_its_end() {
    let server = Server::start();
    let finished = server.weir(&["get", "breed", "-o", "name"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines.len(), 65);
    assert_eq!((lines[0], lines[64]), ("breeds/breed:0", "breeds/breed:64"));
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let server = Server::start()
        .says("GET /gateways/bad", 400, json!({"message": "bad name"}))
        .says(
            "GET /gateways/broken",
            500,
            json!({"message": "Internal server error."}),
        )
        .says("GET /gateways/secret", 401, json!({"message": "who are you?"}));
    for (name, code, words) in [
        ("missing", 3, "there is no gateway `missing`"),
        ("bad", 4, "bad name"),
        ("broken", 5, "Internal server error."),
        ("secret", 1, "--token"),
    ] {
        let finished = server.weir(&["get", "gateway", name]);
        assert_eq!(finished.code, Some(code), "{name}: {}", finished.stderr);
        assert!(finished.stderr.contains(words), "{name}: {}", finished.stderr);
        assert_eq!(finished.stdout, "", "errors go to standard error only");
    }
    assert_eq!(weir(&["get"]).code, Some(2));
    assert_eq!(weir(&["get", "nothing"]).code, Some(2));
}

#[test]
fn no_connection_is_6() {
    // Bound and not listening any more: the port was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let finished = weir(&["--host", &format!("http://127.0.0.1:{port}"), "info"]);
    assert_eq!(finished.code, Some(6), "{}", finished.stderr);
    assert!(finished.stderr.contains("weir up"), "{}", finished.stderr);
}

#[test]
fn no_answer_in_time_is_6() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}/api/v1/", listener.local_addr().unwrap());
    let finished = weir(&["--host", &host, "--timeout", "300ms", "info"]);
    assert_eq!(finished.code, Some(6), "{}", finished.stderr);
    assert!(finished.stderr.contains("did not answer"), "{}", finished.stderr);
}

#[test]
fn the_servers_problems_are_shown_at_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.yaml");
    std::fs::write(&file, "name: shop\nkind: gateway\nwieght: 3\n").unwrap();
    let server = Server::start().says(
        "PUT /",
        400,
        json!({"message": "unexpected", "problems": [{"code": "UnexpectedElement", "path": "wieght",
            "line": 3, "column": 1, "message": "unknown key", "hint": "did you mean `weight`?"}]}),
    );
    let file = file.to_str().unwrap();
    let finished = server.weir(&["apply", "-f", file]);
    assert_eq!(finished.code, Some(4), "{}", finished.stderr);
    assert_eq!(
        finished.stderr,
        format!("{file}:3:1: wieght: unknown key\n 3 | wieght: 3\n   | ^\n  hint: did you mean `weight`?\n")
    );
    // Without a server the places are the same.
    let checked = weir(&["check", "-f", file]);
    assert_eq!(checked.code, Some(4));
    assert!(
        checked.stderr.starts_with(&format!("{file}:3:1: ")),
        "{}",
        checked.stderr
    );
}

#[test]
fn what_is_hardly_meant_is_a_warning_and_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.yaml");
    let text = "kind: gateway\nname: shop\nroutes:\n  a: {condition: <path_beg /a>}\n  b: {condition: <path_beg /a/b>}\n---\n\
        {kind: workflow, name: w, breed: b, schedule: daemon}\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let checked = weir(&["check", "-f", file]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let said = checked.stdout + &checked.stderr;
    assert!(
        said.contains("warning: 0/routes/b/condition: every request that matches"),
        "{said}"
    );
    assert!(said.contains("at line 5, column 7"), "{said}");
    assert!(said.contains("ok, 2 artifacts"), "{said}");
}

#[test]
fn weights_are_sent_whole_and_waited_for() {
    let server = shop();
    let finished = server.weir(&["weight", "shop/front/web", "front:1=50", "front:2=50", "--wait"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(
        finished.stdout.contains("front:1 50%, front:2 50%"),
        "{}",
        finished.stdout
    );
    assert!(
        finished.stdout.contains("acknowledged by 1/1 agents in"),
        "{}",
        finished.stdout
    );
    let requests = server.requests();
    let (_, body) = requests
        .iter()
        .find(|(line, _)| line.starts_with("PUT /api/v1/gateways/shop/front/web?"))
        .unwrap();
    let mut expected = gateway();
    expected["routes"]["shop/front/front:1/web"]["weight"] = json!("50%");
    expected["routes"]["shop/front/front:2/web"]["weight"] = json!("50%");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), expected);
}

#[test]
fn weights_that_do_not_total_100_are_not_sent() {
    let server = shop();
    let finished = server.weir(&["weight", "shop/front/web", "front:1=50"]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("front:2  20% (not named, stays)"),
        "{}",
        finished.stderr
    );
    assert_eq!(
        server.weir(&["weight", "shop/front/web", "front:3=50"]).code,
        Some(3)
    );
    assert!(!server.requests().iter().any(|(line, _)| line.starts_with("PUT")));
}

#[test]
fn a_condition_is_set_and_cleared() {
    let server = shop();
    let set = server.weir(&[
        "condition",
        "shop/front/web",
        "front:2",
        "User-Agent == Firefox",
        "--strength",
        "50",
    ]);
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let clear = server.weir(&["condition", "shop/front/web", "front:2", "--clear"]);
    assert_eq!(clear.code, Some(0), "{}", clear.stderr);
    let puts: Vec<Value> = server
        .requests()
        .iter()
        .filter(|(line, _)| line.starts_with("PUT"))
        .map(|(_, body)| {
            serde_json::from_str::<Value>(body).unwrap()["routes"]["shop/front/front:2/web"].clone()
        })
        .collect();
    assert_eq!(
        puts,
        [
            json!({"weight": "20%", "condition": {"condition": "User-Agent == Firefox"}, "condition_strength": "50%"}),
            json!({"weight": "20%", "condition": null, "condition_strength": "0%"}),
        ]
    );
}

#[test]
fn undeploying_sends_the_deployment_as_a_blueprint() {
    let blueprint = json!({"name": "shop", "clusters": {"front": {"services": []}}});
    let server = Server::start()
        .says("GET /deployments/shop", 200, blueprint.clone())
        .says("DELETE /deployments/shop", 202, json!({}))
        .says(
            "GET /gateways",
            200,
            json!([{"name": "shop/9050"}, {"name": "other/9050"}]),
        );
    let finished = server.weir(&["undeploy", "shop"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(
        finished.stdout.contains("weir delete gateway shop/9050"),
        "{}",
        finished.stdout
    );
    let requests = server.requests();
    assert_eq!(requests[0].0, "GET /api/v1/deployments/shop?as_blueprint=true");
    assert_eq!(requests[1].0, "DELETE /api/v1/deployments/shop?");
    assert_eq!(serde_json::from_str::<Value>(&requests[1].1).unwrap(), blueprint);
    assert_eq!(server.weir(&["undeploy", "nothing"]).code, Some(3));
}

#[test]
fn scaling_asks_first_and_keeps_the_rest() {
    let path = "/deployments/shop/clusters/front/services/front:1/scale";
    let server = Server::start()
        .says(
            &format!("GET {path}"),
            200,
            json!({"cpu": 0.2, "memory": "64.00MB", "instances": 2}),
        )
        .says(&format!("PUT {path}"), 202, Value::Null);
    let finished = server.weir(&["scale", "shop/front/front:1", "--instances", "5"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let requests = server.requests();
    assert_eq!(
        serde_json::from_str::<Value>(&requests[1].1).unwrap(),
        json!({"cpu": 0.2, "memory": "64.00MB", "instances": 5})
    );
    assert_eq!(
        server.weir(&["scale", "shop/front/front:9", "-i", "1"]).code,
        Some(3)
    );
    assert_eq!(server.weir(&["scale", "shop", "-i", "1"]).code, Some(2));
}

#[test]
fn a_closed_reader_is_no_error() {
    let server = Server::start();
    let mut child = command(&["--host", &server.address, "get", "breeds"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
