//! What drivers tell beside their instances' states.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{DriverError, InstanceStatus, LogStream};

/// What is known of an engine of which only a part may answer.
#[derive(Debug, Default)]
pub struct Survey {
    /// Instances of the parts that answer.
    pub instances: Vec<InstanceStatus>,
    /// Parts that do not. Of their instances nothing is known, which does not mean that there are none.
    pub unknown: Vec<Unknown>,
}

/// A part that does not answer.
#[derive(Debug)]
pub struct Unknown {
    /// Its driver's kind.
    pub driver: &'static str,
    /// Instances of these types are its.
    pub deployable_types: Vec<&'static str>,
    /// Why.
    pub error: DriverError,
}

/// What an instance uses. Sums count from its start, so that a reader has a rate from any two of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InstanceStats {
    /// When this was read, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Processor time so far, in seconds.
    pub cpu_seconds: f64,
    /// Of that time, how long it was kept from running by its limit, in seconds; `None`: not known.
    pub throttled_seconds: Option<f64>,
    /// Memory in use, in bytes, without what the system can take back at once.
    pub memory_bytes: u64,
    /// Most memory that it may use, in bytes; `None`: no limit.
    pub memory_limit_bytes: Option<u64>,
    /// Processes or threads; `None`: not known.
    pub processes: Option<u64>,
    /// Received so far, in bytes; `None`: it has no network of its own.
    pub received_bytes: Option<u64>,
    /// Sent so far, in bytes; `None`: it has no network of its own.
    pub sent_bytes: Option<u64>,
}

/// How much there is to be given to instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// Whose it is: a driver's kind.
    pub driver: String,
    /// Instances of these types share it.
    pub deployable_types: Vec<String>,
    /// All processors.
    pub cpu: f64,
    /// All memory, in megabytes (2^20 bytes).
    pub memory_mb: f64,
    /// Processors of the largest machine: no single instance can have more.
    pub largest_cpu: f64,
    /// Memory of the largest machine, in megabytes.
    pub largest_memory_mb: f64,
}

/// A command to be run inside of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// Variables beside those of the instance.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Whether the command reads [`Execution::input`].
    #[serde(default)]
    pub input: bool,
    /// Whether it has a terminal; both of its streams are one then.
    #[serde(default)]
    pub terminal: bool,
}

/// A command that runs.
#[derive(Debug)]
pub struct Execution {
    /// What it reads; to drop this is the end of its input. `None` if it reads nothing.
    pub input: Option<mpsc::Sender<Vec<u8>>>,
    /// What it writes, and last how it ended. To drop this does not end the command.
    pub output: mpsc::Receiver<ExecEvent>,
}

/// Something that a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote.
    Output {
        /// Where.
        stream: LogStream,
        /// What; not cut at lines.
        bytes: Vec<u8>,
    },
    /// It ended. Nothing follows.
    Ended {
        /// Exit code; `None`: not known.
        code: Option<i32>,
    },
}

/// Something that people may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which driver says it.
    pub driver: &'static str,
    /// About which instance.
    pub instance: Option<String>,
    /// That instance's labels.
    pub labels: BTreeMap<String, String>,
    /// What kind of thing.
    pub kind: NoticeKind,
    /// In words.
    pub message: String,
}

/// Kinds of notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// An image is being pulled: began, is a quarter further, or is there.
    Pull,
    /// An instance was changed or taken away by somebody else.
    Interference,
    /// The engine is gone.
    EngineLost,
    /// The engine is there again.
    EngineBack,
}

impl NoticeKind {
    /// One word, for the tags of events.
    pub const fn word(self) -> &'static str {
        match self {
            NoticeKind::Pull => "pull",
            NoticeKind::Interference => "interference",
            NoticeKind::EngineLost => "engine-lost",
            NoticeKind::EngineBack => "engine-back",
        }
    }

    /// Whether it is something that should not be.
    pub const fn is_trouble(self) -> bool {
        matches!(self, NoticeKind::Interference | NoticeKind::EngineLost)
    }
}
