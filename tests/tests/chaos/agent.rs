//! The agent as a process of its own: this test program again, in another role.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use weir_agent::{Agent, Config};
use weir_tests::ports;

pub const PREFIX: &str = "vamp/chaos";
pub const ID: &str = "edge";
/// How long the store keeps what the agent said (Consul: at least 10 s, up to twice that).
pub const LEASE: Duration = Duration::from_secs(4);

/// The name of the test that is the agent's program.
fn program() -> String {
    let (_, within) = module_path!().split_once("::").expect("a module of a crate");
    format!("{within}::serves_as_an_agent")
}

/// Not a test of its own: the program that [`Process`] runs.
#[test]
fn serves_as_an_agent() {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(store) = variable("WEIR_CHAOS_STORE") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = weir_store::connect(&store).unwrap();
        let mut config = Config::new(store, variable("WEIR_CHAOS_DATA").unwrap());
        config.admin = variable("WEIR_CHAOS_ADMIN").unwrap().parse().unwrap();
        config.id = Some(weir_model::AgentId::new(ID).unwrap());
        config.prefix = PREFIX.to_owned();
        config.lease_ttl = LEASE;
        config.proxy.workers = 1;
        let _agent = Box::pin(Agent::start(config)).await.unwrap();
        std::future::pending::<()>().await;
    });
}

/// A running agent; killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Option<Child>,
    store: String,
    pub data: PathBuf,
    admin: SocketAddr,
    log: PathBuf,
}

impl Process {
    pub fn start(store: String, folder: &Path) -> Self {
        let mut process = Self {
            child: None,
            store,
            data: folder.join("agent"),
            admin: SocketAddr::from(([127, 0, 0, 1], ports::port())),
            log: folder.join("agent.log"),
        };
        process.start_again();
        process
    }

    pub fn start_again(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([&program(), "--exact", "--nocapture", "--test-threads", "1"])
            .env("WEIR_CHAOS_STORE", &self.store)
            .env("WEIR_CHAOS_DATA", &self.data)
            .env("WEIR_CHAOS_ADMIN", self.admin.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// A page of the admin listener; `None` if nobody answers.
    async fn page(&self, path: &str) -> Option<String> {
        let asking = async {
            let mut stream = TcpStream::connect(self.admin).await.ok()?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            Some(answer.split_once("\r\n\r\n")?.1.to_owned())
        };
        timeout(Duration::from_secs(5), asking).await.ok().flatten()
    }

    pub async fn status(&self) -> Option<Value> {
        serde_json::from_str(&self.page("/status").await?).ok()
    }

    /// Seconds for which the store has been silent, as `/metrics` has it.
    pub async fn stale(&self) -> Option<f64> {
        let text = self.page("/metrics").await?;
        let line = text
            .lines()
            .find(|line| line.starts_with("weir_store_stale_seconds "))?;
        line.split_once(' ')?.1.parse().ok()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
