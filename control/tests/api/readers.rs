//! Many readers of one stream of events. They run in a process of their own, since its memory is looked at.

use std::{io::Write as _, process::Command, time::Instant};

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::world::{PATIENCE, World};

/// Readers at once.
const READERS: usize = 500;
/// Events that each of them gets.
const EVENTS: usize = 40;
/// Most memory that all of them may cost, in bytes: a fifth of a megabyte each.
const MEMORY_MAX: u64 = 100 << 20;

/// Set in the process that has the readers.
const ALONE: &str = "WEIR_READERS_ALONE";

/// Bytes of memory of this process: control and all readers.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn five_hundred_readers_get_everything_and_one_that_does_not_read_holds_up_nobody() {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "readers::many_readers", "--nocapture"])
        .env(ALONE, "yes")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let figures = told.lines().find(|line| line.contains("readers x")).unwrap();
    let _ = writeln!(std::io::stdout(), "{figures}");
}

/// Not a test of its own: what the test above runs in a process of its own, whose memory is nobody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let world = World::new().await;
    let address = world.control.address();
    let open = async move || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "GET /api/v1/events/stream?tag=many HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    // Somebody who asks, and never reads.
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(open().await);
    }
    let before = resident();
    let (ready, mut opened) = tokio::sync::mpsc::channel(READERS);
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        let ready = ready.clone();
        readers.spawn(async move {
            let mut stream = open().await;
            let mut text = String::new();
            let mut buffer = vec![0; 4096];
            let mut told = false;
            while text.matches("data:").count() < EVENTS {
                let count = stream.read(&mut buffer).await.unwrap();
                assert!(count > 0, "the stream ended");
                text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
                if !told && text.contains("\r\n\r\n") {
                    told = true;
                    ready.send(()).await.unwrap();
                }
            }
            let values: Vec<String> = text
                .lines()
                .filter_map(|line| line.trim_start().strip_prefix("data:"))
                .map(|data| {
                    let event: serde_json::Value = serde_json::from_str(data.trim()).unwrap();
                    event["value"]["number"].to_string()
                })
                .collect();
            values
        });
    }
    for _ in 0..READERS {
        tokio::time::timeout(PATIENCE, opened.recv())
            .await
            .unwrap()
            .unwrap();
    }
    let padding = "x".repeat(500);
    let began = Instant::now();
    for number in 0..EVENTS {
        let body = format!("{{tags: many, value: {{number: {number}, padding: {padding}}}}}");
        world
            .send(world.request(Method::POST, "/events").body(body))
            .await
            .is(201);
    }
    let expected: Vec<String> = (0..EVENTS).map(|number| number.to_string()).collect();
    let all = async {
        while let Some(values) = readers.join_next().await {
            assert_eq!(values.unwrap(), expected);
        }
    };
    tokio::time::timeout(PATIENCE * 2, all)
        .await
        .expect("every reader gets every event");
    let cost = resident().saturating_sub(before);
    let _ = writeln!(
        std::io::stdout(),
        "{READERS} readers x {EVENTS} events in {:?}, {} KiB",
        began.elapsed(),
        cost / 1024
    );
    assert!(cost < MEMORY_MAX, "{cost} bytes for {READERS} readers");
    drop(idle);
}
