//! Two controls on one store, as processes: one is frozen past its lease and woken.
#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use weir_store::{Store, memory::Memory, protocol};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// Another must lead after this time.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);
const PREFIX: &str = "vamp/default";

struct Process {
    child: Child,
    address: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a control; its address comes from its log.
    async fn start(store: &str, data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir-control"))
            .env_remove("RUST_LOG")
            .args([
                "run",
                "--no-authentication",
                "--log-json",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(["--store", store, "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, told) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                if line["fields"]["message"] == "control serves" {
                    let address = line["fields"]["address"].as_str().unwrap_or_default().to_owned();
                    let _ = sender.send(address);
                }
            }
        });
        let address = tokio::task::spawn_blocking(move || told.recv_timeout(PATIENCE));
        let address = address.await.unwrap().expect("it serves");
        Self { child, address }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = kill_process(pid, signal);
    }

    async fn leads(&self) -> bool {
        let asking = reqwest::get(format!("http://{}/api/v1/leader", self.address));
        match tokio::time::timeout(Duration::from_secs(1), asking).await {
            Ok(Ok(answer)) => answer
                .json::<Value>()
                .await
                .is_ok_and(|shown| shown["leads"] == true),
            _ => false,
        }
    }

    /// Puts a gateway that leads to one place; status and body of the answer.
    async fn put(&self, target: u16) -> (u16, String) {
        let body = format!("name: shop\nport: 9050\nroutes:\n  '[127.0.0.1:{target}]': {{weight: 100%}}\n");
        let answer = reqwest::Client::new()
            .put(format!("http://{}/api/v1/gateways/shop", self.address))
            .header("Content-Type", "application/x-yaml")
            .body(body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

async fn eventually(what: &str, at_most: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < at_most, "not within {at_most:?}: {what}");
        sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

/// Whether the published gateway leads there.
async fn leads_to(store: &dyn Store, target: u16) -> bool {
    let Some(published) = protocol::read(store, PREFIX).await.unwrap() else {
        return false;
    };
    String::from_utf8_lossy(&published.bytes).contains(&format!("127.0.0.1:{target}"))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_leader_that_was_frozen_past_its_lease_writes_nothing_when_it_wakes() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("weir://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    tokio::spawn(weir_store::remote::serve(
        listener,
        Arc::clone(&store),
        shutdown.clone(),
    ));

    // The other has a copy of what the first has: the same artifacts, as on a shared database.
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let mut first = Process::start(&url, &one).await;
    eventually("the first leads", TAKEOVER_MAX, async || first.leads().await).await;
    let (status, text) = first.put(1_001).await;
    assert!((200..300).contains(&status), "{text}");
    eventually("it is published", PATIENCE, async || {
        leads_to(&*store, 1_001).await
    })
    .await;
    first.signal(Signal::TERM);
    assert!(first.child.wait().unwrap().success());
    copy(&one, &two);

    let first = Process::start(&url, &one).await;
    eventually("the first leads", TAKEOVER_MAX, async || first.leads().await).await;
    let second = Process::start(&url, &two).await;
    eventually("the second names the first", TAKEOVER_MAX, async || {
        let (status, text) = second.put(1_002).await;
        assert_eq!(status, 503, "{text}");
        text.contains(&first.address)
    })
    .await;

    first.signal(Signal::STOP);
    let took = eventually("the second leads", TAKEOVER_MAX, async || second.leads().await).await;
    let (status, text) = second.put(1_003).await;
    assert!((200..300).contains(&status), "{text}");
    eventually("its change is published", PATIENCE, async || {
        leads_to(&*store, 1_003).await
    })
    .await;

    first.signal(Signal::CONT);
    // It refuses at once, and names the other as soon as it has looked into the store.
    eventually("the first names the second", TAKEOVER_MAX, async || {
        let (status, text) = first.put(1_004).await;
        assert_eq!(status, 503, "{text}");
        text.contains(&second.address)
    })
    .await;
    // Longer than the publisher and the election wait between two looks.
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_secs(6) {
        assert!(leads_to(&*store, 1_003).await && !first.leads().await && second.leads().await);
        sleep(Duration::from_millis(50)).await;
    }

    // And after kill -9.
    drop(second);
    let again = eventually("the first leads again", TAKEOVER_MAX, async || {
        first.leads().await
    })
    .await;
    assert!(took < TAKEOVER_MAX && again < TAKEOVER_MAX);
    shutdown.cancel();
}
