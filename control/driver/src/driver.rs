//! The port: what control needs of whatever runs instances.

use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

/// What to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Unique, never reused: letters, digits, `-`, `_`, `.`.
    pub id: String,
    /// By which it is found again (`io.vamp.deployment`, ...).
    pub labels: BTreeMap<String, String>,
    /// `command`, `container/docker`, ...
    pub deployable_type: String,
    /// Command line, image, ...
    pub definition: String,
    /// Variables, references already resolved. `$PORT_<NAME>`-style variables are added by drivers that
    /// assign ports.
    pub environment: BTreeMap<String, String>,
    /// Ports that it should offer.
    pub ports: Vec<PortSpec>,
    /// Driver arguments, in order.
    pub arguments: Vec<(String, String)>,
    /// Processors.
    pub cpu: f64,
    /// Megabytes.
    pub memory_mb: f64,
    /// Container network.
    pub network: Option<String>,
    /// Where the process starts (`command`); `None`: a fresh folder of its own.
    pub working_directory: Option<String>,
    /// Every one must pass for the instance to be healthy; none: healthy when its ports accept
    /// connections, or when it runs if it has no ports.
    pub health_checks: Vec<HealthCheckSpec>,
    /// The driver's own part of the dialects.
    pub dialect: Option<serde_json::Value>,
}

/// A port of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Name in the breed.
    pub name: String,
    /// Number in the breed; 0: the driver chooses.
    pub number: u16,
}

/// A check of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheckSpec {
    /// How.
    pub protocol: HealthProtocol,
    /// A port's name.
    pub port: String,
    /// HTTP only.
    pub path: String,
    /// Before the first check.
    pub initial_delay: Duration,
    /// An answer may take this long.
    pub timeout: Duration,
    /// Between checks.
    pub interval: Duration,
    /// Failures in a row that make it unhealthy.
    pub failures: u32,
}

/// How an instance is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthProtocol {
    /// `GET path`, 200 to 399 is healthy.
    Http,
    /// A connection is accepted.
    Tcp,
}

/// What is known of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// As in the spec.
    pub id: String,
    /// As in the spec.
    pub labels: BTreeMap<String, String>,
    /// Where it is reached.
    pub host: String,
    /// Port name to number in use.
    pub ports: BTreeMap<String, u16>,
    /// Where it is in its life.
    pub state: InstanceState,
    /// What the checks say.
    pub health: InstanceHealth,
    /// Why it is in this state, for people (last lines of the log of a process that died).
    pub message: Option<String>,
    /// When it was started, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    /// Asked for, not running yet (an image is being pulled).
    Starting,
    /// Runs.
    Running,
    /// Was told to stop.
    Stopping,
    /// Ended by itself or was killed; kept in `list` until `stop` is called for it.
    Exited {
        /// Exit code, `None` if it was killed by a signal or the code is not known.
        code: Option<i32>,
    },
}

/// What the checks of an instance say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceHealth {
    /// Not known yet.
    Unknown,
    /// Passed.
    Healthy,
    /// Failed.
    Unhealthy,
}

/// One line that an instance wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Milliseconds since the Unix epoch; 0 if not known.
    pub at_ms: u64,
    /// Which stream.
    pub stream: LogStream,
    /// Without the line end.
    pub text: String,
}

/// Where an instance wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What went wrong with a driver.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The type is not for this driver.
    #[error("deployable type `{0}` is not supported by this driver")]
    UnsupportedDeployable(String),
    /// The definition cannot be run (command not found, image missing); trying again will not help.
    #[error("{0}")]
    Definition(String),
    /// A port that was asked for is taken.
    #[error("port {0} is already in use on this host")]
    PortTaken(u16),
    /// The engine cannot be reached or failed; trying again later is right.
    #[error("the driver is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No instance of that id.
    #[error("there is no instance `{0}`")]
    NotFound(String),
}

/// What a driver can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Deployable types that it takes.
    pub deployable_types: &'static [&'static str],
    /// Whether instances outlive control.
    pub outlives_control: bool,
    /// Whether processor and memory limits are enforced.
    pub limits: bool,
}

/// What control needs of whatever runs instances.
#[async_trait]
pub trait ContainerDriver: Send + Sync + fmt::Debug {
    /// One word for people and configuration: `process`, `docker`, ...
    fn kind(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Every instance that this control (by namespace) made and that was not stopped, whatever its state.
    async fn list(&self) -> Result<Vec<InstanceStatus>, DriverError>;

    /// Runs an instance. An id that is there already is left as it is.
    async fn start(&self, spec: InstanceSpec) -> Result<(), DriverError>;

    /// Asks an instance to end, ends it after `grace`, and forgets it. Returns when it is gone; an unknown
    /// id is gone already.
    async fn stop(&self, id: &str, grace: Duration) -> Result<(), DriverError>;

    /// The last `lines` lines of an instance's output, oldest first.
    async fn logs(&self, id: &str, lines: usize) -> Result<Vec<LogLine>, DriverError>;

    /// A number that changes whenever `list` would answer differently.
    fn changes(&self) -> watch::Receiver<u64>;
}
