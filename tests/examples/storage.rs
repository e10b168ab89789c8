//! What artifacts and events cost control.
//!
//! `cargo run --release -p weir-tests --example storage` fills SQLite on this machine's disk and prints: events appended per
//! second, a tag's newest page among a million events, a page of a thousand artifacts by the API, and control's memory with ten
//! thousand.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement prints what it saw, and has failed if it cannot go on"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use weir_control::Control;
use weir_persist::{EventDraft, EventQuery, Page, Persistence, Write, sqlite::Sqlite};

/// Commits under way at a time: as many as requests may wait together.
const WRITERS: u64 = 64;
const APPENDED: u64 = 40_000;
const EVENTS: u64 = 1_000_000;
const TAGS: u64 = 1_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(Box::pin(async {
        artifacts().await;
        events().await;
    }));
}

fn event(number: u64) -> EventDraft {
    EventDraft {
        tags: vec![format!("gateways:g{}", number % TAGS), "metrics:rate".to_owned()],
        value: json!(number),
        timestamp_ms: 1_700_000_000_000 + number,
        kind: "metrics".to_owned(),
    }
}

async fn events() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(Sqlite::open(&folder.path().join("weir.db")).unwrap());
    let began = Instant::now();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let storage = Arc::clone(&storage);
        writers.push(tokio::spawn(async move {
            for number in (writer..APPENDED).step_by(WRITERS as usize) {
                storage.commit(Vec::new(), vec![event(number)]).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    println!(
        "{:.0} events appended per second, one a commit, {WRITERS} at a time, each durable when answered",
        APPENDED as f64 / began.elapsed().as_secs_f64()
    );
    for first in (APPENDED..EVENTS).step_by(2_000) {
        let drafts = (first..(first + 2_000).min(EVENTS)).map(event).collect();
        storage.commit(Vec::new(), drafts).await.unwrap();
    }
    let mut times = Vec::new();
    for tag in 0..50 {
        let query = EventQuery {
            tags: vec![format!("gateways:g{tag}")],
            ..EventQuery::default()
        };
        let began = Instant::now();
        let (found, total) = storage
            .events(&query, Page { offset: 0, limit: 30 })
            .await
            .unwrap();
        times.push(began.elapsed());
        assert_eq!((found.len(), total), (30, EVENTS / TAGS));
    }
    println!(
        "newest page of a tag among {EVENTS} events: median {:.2} ms",
        median(&mut times)
    );
}

async fn artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("control");
    std::fs::create_dir_all(&data).unwrap();
    let storage = Sqlite::open(&data.join("weir.db")).unwrap();
    let breed = |number: u64| Write::Put {
        kind: "breeds".to_owned(),
        name: format!("shop{number}:1.0"),
        body: json!({"name": format!("shop{number}:1.0"), "kind": "breed",
            "deployable": {"type": "container/docker", "definition": "acme/shop:1.0"}, "ports": {"web": "8080/http"},
            "environment_variables": {"LEVEL": "info"}, "constants": {}, "arguments": [], "dependencies": {}}),
        expect: None,
    };
    storage
        .commit((0..1_000).map(breed).collect(), Vec::new())
        .await
        .unwrap();
    drop(storage);
    let start = async || {
        let store = weir_store::connect("memory:").unwrap();
        let mut config = weir_control::Config::new(&data, store);
        config.listen = "127.0.0.1:0".parse().unwrap();
        Control::start(config).await.unwrap()
    };
    let control = start().await;
    let http = reqwest::Client::new();
    let base = format!("http://{}/api/v1/breeds", control.address());
    let mut times = Vec::new();
    for page in 1..=34 {
        let began = Instant::now();
        let answer = http
            .get(format!("{base}?page={page}&per_page=30"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["x-total-count"], "1000");
        answer.bytes().await.unwrap();
        times.push(began.elapsed());
    }
    println!(
        "a page of 1000 artifacts by the API: median {:.2} ms",
        median(&mut times)
    );
    control.shutdown().await;
    let storage = Sqlite::open(&data.join("weir.db")).unwrap();
    storage
        .commit((1_000..10_000).map(breed).collect(), Vec::new())
        .await
        .unwrap();
    drop(storage);
    let control = start().await;
    let base = format!("http://{}/api/v1/breeds", control.address());
    for page in 1..=334 {
        let answer = http
            .get(format!("{base}?page={page}&per_page=30"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["x-total-count"], "10000");
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!(
        "memory with 10000 artifacts, all of them read: {:.0} MiB",
        resident_mib()
    );
    control.shutdown().await;
}

/// In milliseconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1_000.0
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1_024.0
}
