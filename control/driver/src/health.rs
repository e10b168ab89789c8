//! Checks instances over the network, for drivers whose engine does not.
//!
//! **Job.** [`Plan`]: what to check, and a loop that does it.
//!
//! **Invariants.** Every wait has a bound. An instance without checks of its own is not unhealthy before its
//! ports have accepted once: a slow start is no failure.
//!
//! **Absent.** Commands run inside of an instance.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use crate::{HealthCheckSpec, HealthProtocol, InstanceHealth};
use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Between checks of an instance without checks, until it first passes.
const DEFAULT_INTERVAL_FIRST: Duration = Duration::from_millis(100);
/// ... and from then on.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
/// How long a port may take to accept, for an instance without checks.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// Failures in a row, for an instance without checks.
const DEFAULT_FAILURES: u32 = 3;
/// How long a proxy may take to find out that nobody listens behind it.
pub const PROXY_PATIENCE: Duration = Duration::from_millis(150);
/// Shortest interval and timeout; what is asked for may be zero.
const SHORTEST: Duration = Duration::from_millis(10);
/// Most of an answer that is read to find its status, in bytes.
const STATUS_LINE_BYTES_MAX: usize = 1_024;

/// How to check one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    host: String,
    checks: Vec<Check>,
}

#[derive(Clone, Debug, PartialEq)]
struct Check {
    target: Target,
    port: u16,
    initial_delay: Duration,
    timeout: Duration,
    interval: Duration,
    /// Until it first passes.
    interval_first: Duration,
    failures: u32,
    /// Whether failures count before it first passed.
    strict: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Target {
    Http(String),
    Tcp,
    TcpBehindProxy,
}

impl Plan {
    /// The checks of a spec; with none, that every port accepts. A check of a port that the instance does
    /// not have is left out; such a spec is not started.
    #[must_use]
    pub fn new(host: &str, ports: &BTreeMap<String, u16>, checks: &[HealthCheckSpec]) -> Plan {
        let checks = if checks.is_empty() {
            ports.values().map(|port| Check::default_of(*port)).collect()
        } else {
            checks
                .iter()
                .filter_map(|spec| Some(Check::of(spec, *ports.get(&spec.port)?)))
                .collect()
        };
        Plan {
            host: host.to_owned(),
            checks,
        }
    }

    /// The same checks where something stands before the instance that accepts every connection, and
    /// closes it at once if the instance does not take it: a connection that is closed within
    /// [`PROXY_PATIENCE`] without a byte has failed.
    #[must_use]
    pub fn behind_a_proxy(mut self) -> Plan {
        for check in &mut self.checks {
            if check.target == Target::Tcp {
                check.target = Target::TcpBehindProxy;
            }
        }
        self
    }

    /// What is known before the first check: an instance with nothing to check is healthy when it runs.
    #[must_use]
    pub fn before(&self) -> InstanceHealth {
        together(&vec![InstanceHealth::Unknown; self.checks.len()])
    }

    /// Checks for ever, and tells what all checks together say whenever one was made. `age`: how long the
    /// instance has been running.
    pub async fn run(&self, age: Duration, tell: impl Fn(InstanceHealth)) {
        let verdicts = Mutex::new(vec![InstanceHealth::Unknown; self.checks.len()]);
        let (verdicts, tell) = (&verdicts, &tell);
        let checks = self.checks.iter().enumerate().map(|(index, check)| async move {
            tokio::time::sleep(check.initial_delay.saturating_sub(age)).await;
            let mut judge = Judge::new(check);
            loop {
                let verdict = judge.heard(check.passes(&self.host).await);
                let all = {
                    let mut verdicts = verdicts.lock().expect("no check panics with the verdicts");
                    if let Some(own) = verdicts.get_mut(index) {
                        *own = verdict;
                    }
                    together(&verdicts)
                };
                tell(all);
                let passed = judge.passed;
                tokio::time::sleep(if passed {
                    check.interval
                } else {
                    check.interval_first
                })
                .await;
            }
        });
        join_all(checks).await;
    }
}

impl Check {
    fn of(spec: &HealthCheckSpec, port: u16) -> Check {
        let interval = spec.interval.max(SHORTEST);
        Check {
            target: match spec.protocol {
                HealthProtocol::Http if spec.path.starts_with('/') => Target::Http(spec.path.clone()),
                HealthProtocol::Http => Target::Http(format!("/{}", spec.path)),
                HealthProtocol::Tcp => Target::Tcp,
            },
            port,
            initial_delay: spec.initial_delay,
            timeout: spec.timeout.max(SHORTEST),
            interval,
            interval_first: interval,
            failures: spec.failures.max(1),
            strict: true,
        }
    }

    fn default_of(port: u16) -> Check {
        Check {
            target: Target::Tcp,
            port,
            initial_delay: Duration::ZERO,
            timeout: DEFAULT_TIMEOUT,
            interval: DEFAULT_INTERVAL,
            interval_first: DEFAULT_INTERVAL_FIRST,
            failures: DEFAULT_FAILURES,
            strict: false,
        }
    }

    async fn passes(&self, host: &str) -> bool {
        let check = async {
            match &self.target {
                Target::Tcp => connect(host, self.port).await.map(|_| true),
                Target::TcpBehindProxy => stays_open(host, self.port).await,
                Target::Http(path) => get(host, self.port, path).await,
            }
        };
        matches!(tokio::time::timeout(self.timeout, check).await, Ok(Ok(true)))
    }
}

/// What several verdicts say together: all must be good.
#[must_use]
pub fn together(verdicts: &[InstanceHealth]) -> InstanceHealth {
    if verdicts.contains(&InstanceHealth::Unhealthy) {
        InstanceHealth::Unhealthy
    } else if verdicts.contains(&InstanceHealth::Unknown) {
        InstanceHealth::Unknown
    } else {
        InstanceHealth::Healthy
    }
}

/// Turns results of one check into a verdict.
#[derive(Debug)]
struct Judge {
    failures_max: u32,
    strict: bool,
    failures: u32,
    passed: bool,
    verdict: InstanceHealth,
}

impl Judge {
    fn new(check: &Check) -> Judge {
        Judge {
            failures_max: check.failures,
            strict: check.strict,
            failures: 0,
            passed: false,
            verdict: InstanceHealth::Unknown,
        }
    }

    fn heard(&mut self, passes: bool) -> InstanceHealth {
        if passes {
            self.passed = true;
            self.failures = 0;
            self.verdict = InstanceHealth::Healthy;
        } else {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= self.failures_max && (self.passed || self.strict) {
                self.verdict = InstanceHealth::Unhealthy;
            }
        }
        self.verdict
    }
}

async fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Where nobody listens, Linux may choose the very port as the source and connect it to itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(std::io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Whether a connection is accepted and not closed again at once.
async fn stays_open(host: &str, port: u16) -> std::io::Result<bool> {
    let mut stream = connect(host, port).await?;
    let mut byte = [0_u8; 1];
    Ok(
        match tokio::time::timeout(PROXY_PATIENCE, stream.read(&mut byte)).await {
            Ok(Ok(count)) => count > 0,
            Ok(Err(_)) => false,
            // Open and silent: most protocols wait for the client to speak first.
            Err(_) => true,
        },
    )
}

/// Whether `GET path` is answered with 200 to 399.
async fn get(host: &str, port: u16, path: &str) -> std::io::Result<bool> {
    let mut stream = connect(host, port).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: weir-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut part = [0_u8; STATUS_LINE_BYTES_MAX];
    while answer.len() < STATUS_LINE_BYTES_MAX && !answer.contains(&b'\n') {
        let count = stream.read(&mut part).await?;
        if count == 0 {
            break;
        }
        answer.extend(part.iter().take(count));
    }
    Ok(status(&answer).is_some_and(|status| (200..=399).contains(&status)))
}

/// Status code of an answer (RFC 9112, section 4).
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = str::from_utf8(line).ok()?.trim_end();
    let mut fields = line.splitn(3, ' ');
    let version = fields.next()?;
    let code = fields.next()?;
    if !version.starts_with("HTTP/1.") || code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    code.parse().ok()
}

#[cfg(test)]
mod tests;
