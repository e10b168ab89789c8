//! Verbs against a server that says what the test wants: requests, paging, exit codes, places of problems.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

mod server;
mod vamp;

use serde_json::{Value, json};

use crate::server::{Server, command, weir};

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
fn imports_are_looked_up_among_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let breed = write(
        "a.yaml",
        "kind: breed\nname: front:1\nimport: [base]\nports: {web: 80}\n",
    );
    let template = write(
        "base.yaml",
        "kind: template\nname: base\ndefinition: {deployable: x}\n",
    );
    let both = folder.path().to_str().unwrap();
    for arguments in [
        &["check", "-f", both][..],
        &["check", "--strict", "-f", &breed, "-f", &template],
    ] {
        let checked = weir(arguments);
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
        assert!(!checked.stdout.contains("note"), "{}", checked.stdout);
    }
    let alone = weir(&["check", "-f", &breed]);
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    let note = format!(
        "{breed}:3:10: note: import: there is no template `base` that could be imported among these files"
    );
    assert!(alone.stdout.contains(&note), "{}", alone.stdout);
    assert!(alone.stdout.contains(&format!("{breed}: ok")), "{}", alone.stdout);
    let strict = weir(&["check", "--strict", "-f", &breed]);
    assert_eq!(strict.code, Some(4));
    assert!(
        strict
            .stderr
            .starts_with(&format!("{breed}:3:10: there is no template `base`")),
        "{}",
        strict.stderr
    );
    // What is wrong beside it is told in both ways.
    let wrong = write("wrong.yaml", "kind: breed\nname: a b\nimport: none\nwrong: 1\n");
    let checked = weir(&["check", "-f", &wrong]);
    assert_eq!(checked.code, Some(4));
    assert!(
        checked.stdout.contains(&format!("{wrong}:3:9: note: ")),
        "{}",
        checked.stdout
    );
    for place in ["2:7: ", "4:1: "] {
        assert!(
            checked.stderr.contains(&format!("{wrong}:{place}")),
            "{}",
            checked.stderr
        );
    }
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
fn agents_are_listed_with_everything_that_is_known_of_them() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let agents = json!([
        {"agent": "edge-1", "admin": "https://10.0.0.7:1988", "generation": 42, "digest": digest, "seen": 43,
            "refused": [{"gateway": "shop", "reason": "port 80 is taken"}], "version": "0.1.0", "live": true,
            "state": "stale", "stale_ms": 4_000, "lag": 3, "lag_ms": 9_000, "uptime_ms": 7_300_000,
            "reached_at_ms": 1, "problem": null},
        {"agent": "edge-2", "admin": "unix:/run/edge.sock", "generation": 45, "digest": digest, "seen": 45,
            "refused": [{"gateway": "", "reason": "generation went back"}], "version": "0.2.0", "live": true,
            "state": "unreachable", "stale_ms": 0, "lag": 0, "lag_ms": 0, "uptime_ms": 5_000,
            "reached_at_ms": null, "problem": "it refuses control's token (401 Unauthorized)"},
    ]);
    let server = Server::start().says("GET /agents", 200, agents.clone());
    let finished = server.weir(&["agents"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let words: Vec<Vec<&str>> = finished
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let heads = [
        "AGENT",
        "STATE",
        "GENERATION",
        "LAG",
        "STALE",
        "DIGEST",
        "REFUSED",
        "ADMIN",
        "VERSION",
        "UPTIME",
    ];
    assert_eq!(words[0], heads);
    let first = [
        "edge-1",
        "stale",
        "42",
        "3",
        "4s",
        "0123456789ab",
        "1",
        "https://10.0.0.7:1988",
        "0.1.0",
        "2h",
    ];
    assert_eq!(words[1], first);
    let second = [
        "edge-2",
        "unreachable",
        "45",
        "0",
        "no",
        "0123456789ab",
        "1",
        "unix:/run/edge.sock",
        "0.2.0",
        "5s",
    ];
    assert_eq!(words[2], second);
    for reason in [
        "edge-1 refuses shop: port 80 is taken",
        "edge-2 refuses the whole document: generation went back",
        "edge-2 cannot be asked: it refuses control's token (401 Unauthorized)",
    ] {
        assert!(finished.stdout.contains(reason), "{}", finished.stdout);
    }
    let json: Value = serde_json::from_str(&server.weir(&["agents", "-o", "json"]).stdout).unwrap();
    assert_eq!(json, agents, "as control tells it");
    let names = server.weir(&["agents", "-o", "name"]).stdout;
    assert_eq!(names, "agents/edge-1\nagents/edge-2\n");
    let none = Server::start()
        .says("GET /agents", 200, json!([]))
        .weir(&["agents"]);
    assert_eq!(none.code, Some(0), "{}", none.stderr);
    assert!(none.stdout.contains("No agent is running"), "{}", none.stdout);
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
