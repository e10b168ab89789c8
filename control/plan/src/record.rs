//! What control remembers of a service beside the artifact. Stored before anything is done with it, so that
//! a crash at any point leaves enough to go on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What control remembers of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Variables for new instances, references resolved; `None` until the dependencies are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<BTreeMap<String, String>>,
    /// Digest of what `environment` was resolved from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub environment_source: String,
    /// Every instance that was ever asked for and is not yet known to be gone.
    #[serde(default)]
    pub instances: Vec<InstanceRecord>,
    /// Instances that ended, or could not be started, in a row: how long the next one waits.
    #[serde(default)]
    pub failures: u32,
    /// Of those, instances that ended by themselves: how near the service is to being failed.
    #[serde(default)]
    pub exits: u32,
    /// No instance is added before, milliseconds since the Unix epoch.
    #[serde(default)]
    pub retry_at_ms: u64,
    /// What the last failure said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Since when the driver does not answer, milliseconds since the Unix epoch; that time does not count as the
    /// service's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at_ms: Option<u64>,
}

/// What control remembers of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Unique, never reused.
    pub id: String,
    /// When it was decided to have it, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Digest of what is run (not of how much): another digest is replaced.
    pub fingerprint: String,
    /// Type of what it runs: says which driver has it. Empty: not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub deployable_type: String,
    /// Where it is in its life.
    pub stage: Stage,
    /// Since when its checks fail, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_since_ms: Option<u64>,
    /// They failed for so long that it is to be replaced.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ill: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

impl InstanceRecord {
    /// One that is to be started.
    pub fn wanted(id: String, deployable_type: &str, fingerprint: &str, now_ms: u64) -> Self {
        Self {
            id,
            created_at_ms: now_ms,
            fingerprint: fingerprint.to_owned(),
            deployable_type: deployable_type.to_owned(),
            stage: Stage::Wanted,
            unhealthy_since_ms: None,
            ill: false,
        }
    }
}

/// Where an instance is in its life. Stages only follow each other downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// To be started; the driver has not shown it yet.
    Wanted,
    /// The driver shows it; it was not ready yet.
    Started,
    /// Takes requests.
    Ready {
        /// Since when, milliseconds since the Unix epoch.
        since_ms: u64,
    },
    /// Takes no new requests as soon as every agent knows; then it is stopped.
    Leaving {
        /// Since when, milliseconds since the Unix epoch.
        since_ms: u64,
        /// When no agent would send it new requests any more, milliseconds since the Unix epoch.
        released_at_ms: Option<u64>,
        /// It ended already: there is nothing to wait for but the agents.
        dead: bool,
    },
    /// Being stopped.
    Stopping,
}

impl Stage {
    /// Whether it counts as one of the wanted instances.
    pub fn is_current(self) -> bool {
        matches!(self, Self::Wanted | Self::Started | Self::Ready { .. })
    }

    /// Whether it takes requests.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Ready { .. })
    }
}
