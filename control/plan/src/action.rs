//! What is to be done.

use weir_artifact::{Deployment, ServiceRuntime};

use crate::{Launch, ServiceKey, ServiceRecord};

/// One thing to do. Records and the deployments' runtime are stored first, together; only then drivers are
/// called. So whatever a driver was told is known after a crash.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Store what is remembered of a service.
    Record(ServiceKey, ServiceRecord),
    /// Forget a service.
    Forget(ServiceKey),
    /// Store what a deployment shows of a service: status, instances, health.
    Runtime(ServiceKey, Box<ServiceRuntime>),
    /// Take a service that is gone out of its deployment; a cluster without services goes with its last one.
    Remove(ServiceKey),
    /// Remove a deployment without clusters.
    RemoveDeployment(String),
    /// Say that a service has come to a state (event `synchronization`).
    Announce(ServiceKey, Synchronization),
    /// Run an instance.
    Start(Box<Launch>),
    /// End an instance.
    Stop {
        /// Which.
        id: String,
        /// Time to end by itself before it is killed, in milliseconds.
        grace_ms: u64,
    },
}

/// States that are announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronization {
    /// As wanted.
    Deployed,
    /// No longer as wanted; under way again.
    Redeploy,
    /// Gone.
    Undeployed,
}

impl Synchronization {
    /// The word in the event's tag `synchronization:<word>`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Redeploy => "redeploy",
            Self::Undeployed => "undeployed",
        }
    }
}

/// Does an action to the artifact of its deployment. Actions that do not concern it change nothing.
pub fn apply(deployment: &mut Deployment, action: &Action) {
    match action {
        Action::Runtime(key, runtime) if key.deployment == deployment.name => {
            let service = deployment.clusters.get_mut(&key.cluster).and_then(|cluster| {
                cluster
                    .services
                    .iter_mut()
                    .find(|service| service.name() == key.service)
            });
            if let Some(service) = service {
                service.runtime = Some((**runtime).clone());
            }
        }
        Action::Remove(key) if key.deployment == deployment.name => {
            if let Some(cluster) = deployment.clusters.get_mut(&key.cluster) {
                cluster.services.retain(|service| service.name() != key.service);
                if cluster.services.is_empty() {
                    deployment.clusters.shift_remove(&key.cluster);
                    deployment.hosts.shift_remove(&key.cluster);
                }
            }
        }
        _ => {}
    }
}
