//! Clusters, their services, and what runs of them (spec of the artifacts, §7; of the core behaviour, §2).

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::{Breed, ClusterSla, Gateway, HealthCheck, Metadata, OrReference, Scale};

/// Services that do the same for others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// Free content.
    pub metadata: Metadata,
    /// In order.
    pub services: Vec<Service>,
    /// Internal gateways by port name; the anonymous form stands under the only port, or
    /// [`Cluster::ANONYMOUS`] while the breeds are references.
    pub gateways: IndexMap<String, Gateway>,
    /// Container network.
    pub network: Option<String>,
    /// What is promised, in place or by name.
    pub sla: Option<ClusterSla>,
    /// Driver to anything.
    pub dialects: Map<String, Value>,
    /// `None`: not given.
    pub health_checks: Option<Vec<HealthCheck>>,
}

impl Cluster {
    /// Key of the internal gateway that names no port, while the ports are not known.
    pub const ANONYMOUS: &'static str = "_";
}

/// One breed, at one scale, in a cluster. Its identity is the breed's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// What is run.
    pub breed: OrReference<Breed>,
    /// Values for the breed's variables.
    pub environment_variables: IndexMap<String, Option<String>>,
    /// `None`: the configured default.
    pub scale: Option<OrReference<Scale>>,
    /// Driver arguments, in order.
    pub arguments: Vec<(String, String)>,
    /// `None`: not given.
    pub health_checks: Option<Vec<HealthCheck>>,
    /// Container network.
    pub network: Option<String>,
    /// Driver to anything.
    pub dialects: Map<String, Value>,
    /// What runs of it; `None` outside deployments.
    pub runtime: Option<ServiceRuntime>,
}

impl Service {
    /// The breed's name, which is the service's identity.
    pub fn name(&self) -> &str {
        match &self.breed {
            OrReference::Reference(name) => name,
            OrReference::Inline(breed) => &breed.name,
        }
    }
}

/// Runtime part of a deployment's service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceRuntime {
    /// What is wanted and how far it is.
    pub status: ServiceStatus,
    /// What runs.
    pub instances: Vec<ServiceInstance>,
    /// Dependency alias to cluster.
    pub dependencies: IndexMap<String, String>,
    /// Counts by state.
    pub health: Health,
}

/// What is wanted of a service and how far it is (spec of the core behaviour §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// What is wanted.
    pub intention: Intention,
    /// Milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// How far it is.
    pub phase: Phase,
    /// Milliseconds since the Unix epoch.
    pub phase_since_ms: u64,
    /// Why it is there: text of a failure, or what it waits for.
    pub notification: Option<String>,
}

/// What is wanted of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intention {
    /// Run it.
    Deployment,
    /// Take it away.
    Undeployment,
}

/// How far a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Wanted, nothing done yet.
    Initiated,
    /// Under way.
    Updating,
    /// As wanted.
    Done,
    /// Given up until somebody changes it.
    Failed,
}

/// One running instance of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceInstance {
    /// Unique, never reused.
    pub name: String,
    /// Where it is reached.
    pub host: String,
    /// Port name to number.
    pub ports: IndexMap<String, u16>,
    /// Whether it is ready for traffic.
    pub deployed: bool,
    /// Free content of the driver.
    pub metadata: Metadata,
}

/// How many instances are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Asked for, not running yet.
    pub staged: u32,
    /// Running.
    pub running: u32,
    /// Running and healthy.
    pub healthy: u32,
    /// Running and not healthy.
    pub unhealthy: u32,
}
