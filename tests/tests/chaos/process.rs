//! Agent and control as processes of their own: this test program again, in another role.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A program of this test that can be killed and started again.
#[derive(Debug)]
pub struct Process {
    /// The test that is the program, by its path in this crate.
    role: &'static str,
    /// Where its store is.
    pub store: String,
    pub data: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
}

/// What a role is told: store, data folder, address; `None` if this is a run of the tests.
pub fn told(role: &str) -> Option<(String, PathBuf, SocketAddr)> {
    let variable = |name: &str| std::env::var(name).ok();
    if variable("WEIR_CHAOS_ROLE")? != role {
        return None;
    }
    Some((
        variable("WEIR_CHAOS_STORE")?,
        variable("WEIR_CHAOS_DATA")?.into(),
        variable("WEIR_CHAOS_ADDRESS")?.parse().ok()?,
    ))
}

impl Process {
    pub fn start(role: &'static str, store: String, data: PathBuf, address: SocketAddr) -> Self {
        let mut process = Self {
            role,
            store,
            log: data.with_extension("log"),
            data,
            address,
            child: None,
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
            .args([self.role, "--exact", "--nocapture", "--test-threads", "1"])
            .env("WEIR_CHAOS_ROLE", self.role)
            .env("WEIR_CHAOS_STORE", &self.store)
            .env("WEIR_CHAOS_DATA", &self.data)
            .env("WEIR_CHAOS_ADDRESS", self.address.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
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

/// Asks a process over HTTP; `None` if nobody answers well.
#[derive(Clone, Debug)]
pub struct Asking {
    base: String,
    http: reqwest::Client,
}

impl Asking {
    pub fn of(address: SocketAddr, path: &str) -> Self {
        let http = reqwest::Client::builder()
            .timeout(std::time::Duration::from_secs(5))
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        Self {
            base: format!("http://{address}{path}"),
            http,
        }
    }

    pub async fn text(&self, path: &str) -> Option<String> {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    pub async fn json(&self, path: &str) -> Option<serde_json::Value> {
        serde_json::from_str(&self.text(path).await?).ok()
    }

    /// How many there are of a list.
    pub async fn count(&self, path: &str) -> Option<u64> {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await.ok()?;
        let answer = answer.error_for_status().ok()?;
        answer.headers().get("x-total-count")?.to_str().ok()?.parse().ok()
    }

    pub async fn put(&self, path: &str, body: &serde_json::Value) -> Result<(), String> {
        let request = self
            .http
            .put(format!("{}{path}", self.base))
            .body(body.to_string());
        let answer = request.send().await.map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(format!(
            "{}: {}",
            answer.status(),
            answer.text().await.unwrap_or_default()
        ))
    }
}
