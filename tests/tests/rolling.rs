//! Redeployments under load: control, an agent and instances as processes, requests all along, none of which may fail.
//!
//! `WEIR_ROLLING` says how many redeployments (default 20), `WEIR_ROLLING_RATE` how many requests per second (default
//! 200). Prints what it did.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it expects, a measurement what it saw"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use weir_control::Control;
use weir_store::{Store, embedded::Embedded};
use weir_tests::processes;

/// Requests per second of one connection: a request takes 30 ms in the mean.
const RATE_OF_ONE: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(60);
/// Marks the instances, so that those of a failed test are ended.
const MARK: &str = "WEIR_TEST_MARK";
/// Bytes of a posted body.
const BODY: usize = 3_000;

fn number(variable: &str, usual: u32) -> u32 {
    let asked = std::env::var(variable).ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(usual)
}

/// Ends instances that a failed test left.
struct Sweep(String);

impl Drop for Sweep {
    fn drop(&mut self) {
        for pid in processes::with_variable(MARK, &self.0) {
            processes::signal(pid, rustix::process::Signal::KILL);
        }
    }
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    answered: AtomicU64,
    posted: AtomicU64,
    pids: Mutex<BTreeSet<u32>>,
    failures: Mutex<Vec<String>>,
}

impl Seen {
    fn failed(&self, what: String) {
        let mut failures = self.failures.lock().unwrap();
        if failures.len() < 20 {
            failures.push(what);
        }
    }
}

/// Sends a request each `pause`, GET and POST in turn, over one connection as long as the gateway keeps it.
fn client(seen: Arc<Seen>, port: u16, pause: Duration) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(pause);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let body = "x".repeat(BODY);
        let mut stream: Option<TcpStream> = None;
        for number in 0_u64.. {
            ticks.tick().await;
            if seen.stop.load(Ordering::Relaxed) {
                return;
            }
            let posts = number % 2 == 1;
            let request = if posts {
                format!("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {BODY}\r\n\r\n{body}")
            } else {
                "GET / HTTP/1.1\r\nHost: shop\r\n\r\n".to_owned()
            };
            let mut connection = match stream.take() {
                Some(stream) => stream,
                None => match TcpStream::connect(("127.0.0.1", port)).await {
                    Ok(stream) => stream,
                    Err(error) => {
                        seen.failed(format!("no connection: {error}"));
                        continue;
                    }
                },
            };
            match exchange(&mut connection, &request).await {
                Ok(answer) => {
                    let words: Vec<&str> = answer.split_ascii_whitespace().collect();
                    let expected = if posts { BODY.to_string() } else { "0".to_owned() };
                    match words.as_slice() {
                        [_, pid, length] if *length == expected => {
                            seen.pids.lock().unwrap().insert(pid.parse().unwrap());
                        }
                        _ => seen.failed(format!("a wrong answer: {answer}")),
                    }
                    seen.answered.fetch_add(1, Ordering::Relaxed);
                    seen.posted.fetch_add(u64::from(posts), Ordering::Relaxed);
                    stream = Some(connection);
                }
                Err(what) => seen.failed(format!("{} {what}", if posts { "POST" } else { "GET" })),
            }
        }
    })
}

/// One request: the body of a good answer.
async fn exchange(stream: &mut TcpStream, request: &str) -> Result<String, String> {
    let said = |error: std::io::Error| error.to_string();
    stream.write_all(request.as_bytes()).await.map_err(said)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer));
        let count = read.await.map_err(|_| "no answer".to_owned())?.map_err(said)?;
        answer.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&answer);
        if count == 0 {
            return Err(format!("the connection ended after {text:?}"));
        }
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("answered {text:?}"));
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>())
        });
        let length = length.ok_or("no length")?.map_err(|error| error.to_string())?;
        if body.len() >= length {
            return Ok(body.to_owned());
        }
    }
}

/// The API.
struct Api {
    base: String,
    http: reqwest::Client,
}

impl Api {
    async fn deploy(&self, blueprint: &str) {
        let request = self.http.put(format!("{}/deployments/shop", self.base));
        let request = request
            .header("content-type", "application/x-yaml")
            .body(blueprint.to_owned());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Waits until the version is all that is wanted and there.
    async fn done(&self, version: u32) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self
                .http
                .get(format!("{}/deployments/shop", self.base))
                .send()
                .await
                .unwrap();
            let deployment: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            let service = &deployment["clusters"]["front"]["services"][0];
            let is_done = service["status"]["phase"]["name"] == "Done"
                && service["breed"]["environment_variables"]["VERSION"].as_str()
                    == Some(version.to_string().as_str());
            if is_done {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "version {version}: {}",
                service["status"]
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn blueprint(port: u16, mark: &str, version: u32) -> String {
    let service = env!("CARGO_BIN_EXE_tiny-service");
    format!(
        "name: shop
gateways: {{{port}: front/web}}
clusters:
  front:
    services:
      breed:
        name: front
        deployable: {{type: command, definition: '{service}'}}
        ports: {{web: 0/http}}
        environment_variables: {{VERSION: '{version}', DELAY_MS: '60', {MARK}: '{mark}'}}
      scale: {{cpu: 0.1, memory: 32MB, instances: 2}}
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redeployments_under_load_fail_no_request() {
    let (rounds, rate) = (number("WEIR_ROLLING", 20), number("WEIR_ROLLING_RATE", 200));
    let mark = format!("{}-rolling", std::process::id());
    let _sweep = Sweep(mark.clone());
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Embedded::open(&folder.path().join("store.redb")).unwrap());
    let port = weir_tests::ports::port();
    let mut config = weir_control::Config::new(folder.path().join("control"), Arc::clone(&store));
    config.listen = "127.0.0.1:0".parse().unwrap();
    let control = Control::start(config).await.unwrap();
    let mut config = weir_agent::Config::new(Arc::clone(&store), folder.path().join("agent"));
    config.admin = "127.0.0.1:0".parse().unwrap();
    config.proxy.workers = 2;
    let agent = weir_agent::Agent::start(config).await.unwrap();
    let api = Api {
        base: format!("http://{}/api/v1", control.address()),
        http: reqwest::Client::new(),
    };
    api.deploy(&blueprint(port, &mark, 0)).await;
    api.done(0).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await
            && exchange(&mut stream, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
                .await
                .is_ok()
        {
            break;
        }
        assert!(Instant::now() < deadline, "the gateway does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let seen = Arc::new(Seen::default());
    let clients = (rate / RATE_OF_ONE).clamp(1, 200);
    let pause = Duration::from_secs(1) * clients / rate.max(1);
    let clients: Vec<_> = (0..clients)
        .map(|_| client(Arc::clone(&seen), port, pause))
        .collect();
    let began = Instant::now();
    let mut took = BTreeMap::new();
    for version in 1..=rounds {
        let begins = Instant::now();
        api.deploy(&blueprint(port, &mark, version)).await;
        api.done(version).await;
        took.insert(begins.elapsed(), version);
        assert_eq!(*seen.failures.lock().unwrap(), [""; 0], "at version {version}");
    }
    // The last ones still drain; requests go on meanwhile.
    let alone = Instant::now() + PATIENCE;
    while processes::with_variable(MARK, &mark).len() != 2 {
        assert!(Instant::now() < alone, "the old instances do not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let elapsed = began.elapsed();
    seen.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let (answered, posted) = (
        seen.answered.load(Ordering::Relaxed),
        seen.posted.load(Ordering::Relaxed),
    );
    println!(
        "{rounds} redeployments in {:.1} s ({:.2} to {:.2} s each), {answered} requests ({posted} POST, {:.0}/s), {} failed",
        elapsed.as_secs_f64(),
        took.first_key_value().map_or(0.0, |(took, _)| took.as_secs_f64()),
        took.last_key_value().map_or(0.0, |(took, _)| took.as_secs_f64()),
        f64::from(u32::try_from(answered).unwrap()) / elapsed.as_secs_f64(),
        seen.failures.lock().unwrap().len(),
    );
    assert_eq!(*seen.failures.lock().unwrap(), [""; 0]);
    let served = seen.pids.lock().unwrap().len();
    assert!(served > rounds as usize, "only {served} instances ever answered");
    control.shutdown().await;
    agent.shutdown(Duration::from_secs(2)).await;
    assert_eq!(processes::with_variable(MARK, &mark), [0; 0]);
}
