//! A server that says what a test wants, and programs that talk to it.

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

pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// Answers by method and path; `PUT`s of trees replace what `GET` answers.
#[derive(Clone, Default)]
struct Answers {
    answers: Arc<Mutex<BTreeMap<String, (u16, Value)>>>,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

pub(crate) struct Server {
    pub(crate) address: String,
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
    pub(crate) fn start() -> Self {
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

    pub(crate) fn says(self, line: &str, status: u16, value: Value) -> Self {
        self.answers
            .answers
            .lock()
            .unwrap()
            .insert(line.replacen(" /", " /api/v1/", 1), (status, value));
        self
    }

    pub(crate) fn requests(&self) -> Vec<(String, String)> {
        self.answers.requests.lock().unwrap().clone()
    }

    pub(crate) fn weir(&self, arguments: &[&str]) -> Finished {
        weir(&[&["--host", &self.address], arguments].concat())
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments);
    for variable in ["VAMP_HOST", "VAMP_API_TOKEN", "VAMP_NAMESPACE", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

pub(crate) fn weir(arguments: &[&str]) -> Finished {
    Program::start(&mut command(arguments)).finish(BOUND)
}
