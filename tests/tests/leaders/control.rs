//! Control as a process of its own: this test program again, in another role.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::Method;
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};
use tracing_subscriber::EnvFilter;
use weir_control::{Config, Control, Docker, Storage};
use weir_tests::{ports, processes};

/// Longest wait for anything but a takeover.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Another must lead after this time.
pub const TAKEOVER_MAX: Duration = Duration::from_secs(10);

/// The name of the test that is control's program.
fn program() -> String {
    let (_, within) = module_path!().split_once("::").expect("a module of a crate");
    format!("{within}::serves_as_a_control")
}

/// Not a test of its own: the program that [`Process`] runs.
#[test]
fn serves_as_a_control() {
    let variable = |name: &str| std::env::var(format!("WEIR_LEADERS_{name}")).ok();
    let Some(store) = variable("STORE") else {
        return;
    };
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(EnvFilter::new("info"))
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut end = signal(SignalKind::terminate()).unwrap();
        let store = weir_store::connect(&store).unwrap();
        let mut config = Config::new(variable("DATA").unwrap(), store);
        config.listen = variable("LISTEN").unwrap().parse().unwrap();
        config.namespace = variable("NAMESPACE").unwrap();
        config.prefix = prefix(&config.namespace);
        config.docker = Docker::Off;
        config.keep_instances = true;
        if let Some(url) = variable("DATABASE") {
            config.storage = Storage::Postgres(url);
        }
        let control = Control::start(config).await.unwrap();
        end.recv().await;
        control.shutdown().await;
    });
}

pub fn prefix(namespace: &str) -> String {
    format!("vamp/{namespace}")
}

/// Where controls are and what they share.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Address of the store.
    pub store: String,
    /// Address of a database; `None`: each has its own.
    pub database: Option<String>,
    pub namespace: String,
}

/// A control; killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    pub name: &'static str,
    plan: Plan,
    data: PathBuf,
    address: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
    client: reqwest::Client,
}

impl Process {
    /// Starts it with a folder of its own; does not wait for it.
    pub fn start(name: &'static str, plan: &Plan, folder: &Path) -> Self {
        let data = folder.join(name);
        std::fs::create_dir_all(&data).unwrap();
        let mut process = Self {
            name,
            plan: plan.clone(),
            data,
            address: SocketAddr::from(([127, 0, 0, 1], ports::port())),
            log: folder.join(format!("{name}.log")),
            child: None,
            client: reqwest::Client::builder()
                .timeout(Duration::from_secs(5))
                .build()
                .unwrap(),
        };
        process.start_again();
        process
    }

    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([&program(), "--exact", "--nocapture", "--test-threads", "1"])
            .env("WEIR_LEADERS_STORE", &self.plan.store)
            .env("WEIR_LEADERS_DATA", &self.data)
            .env("WEIR_LEADERS_LISTEN", self.address.to_string())
            .env("WEIR_LEADERS_NAMESPACE", &self.plan.namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(url) = &self.plan.database {
            command.env("WEIR_LEADERS_DATABASE", url);
        }
        self.child = Some(command.spawn().unwrap());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and its orderly end. When it was told.
    pub async fn end(&mut self) -> Instant {
        let told = Instant::now();
        self.signal(Signal::TERM);
        let mut child = self.child.take().unwrap();
        while child.try_wait().unwrap().is_none() {
            assert!(told.elapsed() < PATIENCE, "{} does not end", self.name);
            sleep(Duration::from_millis(10)).await;
        }
        told
    }

    pub fn signal(&self, signal: Signal) {
        processes::signal(self.child.as_ref().unwrap().id(), signal);
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Status and body; `None` without an answer.
    pub async fn ask(&self, method: Method, path: &str, body: &str) -> Option<(u16, String)> {
        let request = self
            .client
            .request(method, format!("{}/api/v1{path}", self.url()))
            .header("Content-Type", "application/x-yaml")
            .body(body.to_owned());
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// What it says of the election.
    pub async fn election(&self) -> Value {
        let answer = self.ask(Method::GET, "/leader", "").await;
        answer
            .and_then(|(_, text)| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    pub async fn leads(&self) -> bool {
        self.child.is_some() && self.election().await["leads"] == true
    }

    /// Waits until it leads; how long since `from`.
    pub async fn until_it_leads(&self, from: Instant, at_most: Duration) -> Duration {
        while !self.leads().await {
            assert!(
                from.elapsed() < at_most,
                "{} does not lead after {at_most:?}: {}\n{}",
                self.name,
                self.election().await,
                self.log_end()
            );
            sleep(Duration::from_millis(20)).await;
        }
        from.elapsed()
    }

    /// Waits until it refuses changes since another leads.
    pub async fn until_it_follows(&self, leader: &Self) {
        let begun = Instant::now();
        loop {
            let answer = self.put_shop(9).await;
            if let Some((503, text)) = &answer
                && text.contains(&leader.url())
            {
                return;
            }
            // Whoever just started or woke refuses before it knows whom to name.
            assert!(
                answer.as_ref().is_none_or(|(status, _)| *status == 503) && begun.elapsed() < PATIENCE,
                "{} does not follow {}: {answer:?}\n{}",
                self.name,
                leader.name,
                self.log_end()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks for a gateway that leads to a port.
    pub async fn put_shop(&self, target: u16) -> Option<(u16, String)> {
        let shop = format!("name: shop\nport: 9050\nroutes:\n  '[127.0.0.1:{target}]': {{weight: 100%}}\n");
        self.ask(Method::PUT, "/gateways/shop", &shop).await
    }

    /// The same, which must be taken.
    pub async fn change(&self, target: u16) {
        let answer = self.put_shop(target).await;
        assert!(
            answer
                .as_ref()
                .is_some_and(|(status, _)| (200..300).contains(status)),
            "{} refused a change: {answer:?}\n{}",
            self.name,
            self.log_end()
        );
    }

    /// Lines of its log.
    pub fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    pub fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that is frozen is killed as well.
        self.kill();
    }
}
