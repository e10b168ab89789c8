//! The port: what control needs of whatever runs instances.

use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, watch};

use crate::facts::{Capacity, ExecSpec, Execution, InstanceStats, Notice, Survey};

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// This driver cannot do that; see [`Capabilities`].
    #[error("{0} is not possible with this driver")]
    Unsupported(&'static str),
}

/// What a driver can do. Drivers state what they add to `Capabilities::default()`, so that a new field is
/// no change to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a list of independent answers, each of which is yes or no"
)]
pub struct Capabilities {
    /// Deployable types that it takes.
    pub deployable_types: Vec<&'static str>,
    /// Whether instances outlive control.
    pub outlives_control: bool,
    /// Whether processor and memory limits are enforced.
    pub limits: bool,
    /// Whether an instance is told the number that `list` shows in `PORT_<NAME>`; not so where ports are
    /// mapped.
    pub tells_ports: bool,
    /// Whether instances can be put into a network by name.
    pub networks: bool,
    /// Whether [`ContainerDriver::follow`] works.
    pub follow: bool,
    /// Whether [`ContainerDriver::stats`] works.
    pub stats: bool,
    /// Whether [`ContainerDriver::exec`] works.
    pub exec: bool,
}

/// What control needs of whatever runs instances.
///
/// The verbs speak of single instances, so an engine that has groups of its own (a Marathon app, a Nomad
/// job, a Kubernetes deployment) is asked for one group of one for each instance: which instance leaves is
/// always control's choice, for only control knows which one is drained. What was made is found again by
/// labels that hold namespace and id, never by its name.
#[async_trait]
pub trait ContainerDriver: Send + Sync + fmt::Debug {
    /// One word for people and configuration: `process`, `docker`, ...
    fn kind(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Which part of the dialects is for instances of this type. What the driver does with it is its own:
    /// it is merged below what the spec says, which always wins.
    fn dialect(&self, deployable_type: &str) -> &'static str {
        let _ = deployable_type;
        self.kind()
    }

    /// Every instance that this control (by namespace) made and that was not stopped, whatever its state.
    ///
    /// A driver that watches its engine answers from what it saw; it looks at everything again
    /// after the watch was interrupted and from time to time, so that no lost event lasts. While it does not
    /// know, it answers [`DriverError::Unavailable`]: what is not known is never left out.
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

    /// As [`ContainerDriver::list`], of an engine of which only a part may answer.
    async fn survey(&self) -> Result<Survey, DriverError> {
        Ok(Survey {
            instances: self.list().await?,
            unknown: Vec::new(),
        })
    }

    /// The last `lines` lines, then every further one as it is written. The channel ends with the instance;
    /// who drops it ends the work for it. Where the reader is slow the writer is not held up: the driver
    /// reads later, or leaves out what was cut meanwhile.
    async fn follow(&self, id: &str, lines: usize) -> Result<mpsc::Receiver<LogLine>, DriverError> {
        let _ = (id, lines);
        Err(DriverError::Unsupported("following logs"))
    }

    /// What an instance uses now.
    async fn stats(&self, id: &str) -> Result<InstanceStats, DriverError> {
        let _ = id;
        Err(DriverError::Unsupported("statistics"))
    }

    /// Runs a command inside of an instance that runs.
    async fn exec(&self, id: &str, command: ExecSpec) -> Result<Execution, DriverError> {
        let _ = (id, command);
        Err(DriverError::Unsupported("running a command in an instance"))
    }

    /// How much there is to be given to instances; empty where that is not known or has no end.
    async fn capacity(&self) -> Result<Vec<Capacity>, DriverError> {
        Ok(Vec::new())
    }

    /// What happened that people may want to know and that `list` does not keep: a pull that
    /// begins, an engine that is gone. A reader that is too slow misses some.
    fn notices(&self) -> broadcast::Receiver<Notice> {
        broadcast::Sender::new(1).subscribe()
    }
}
