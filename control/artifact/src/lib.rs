//! Vamp's documents as artifacts.
//!
//! **Job.** YAML or JSON text to checked [`Artifact`]s with *every* [`Problem`] and its place, and back.
//!
//! **Invariants.** Pure: the same text gives the same answer; nothing is looked up. What is written reads
//! back to the same artifact. Bounds: [`read::BYTES_MAX`], [`read::DEPTH_MAX`], [`read::NODES_MAX`].
//!
//! **Absent.** No storage, no resolution of references (control does that when it deploys).

mod artifact;
pub mod check;
mod problem;
pub mod read;
mod tree;
pub mod units;
pub mod value;
pub mod weights;
pub mod write;

pub use artifact::{
    Artifact, Blueprint, Breed, Cluster, Deployable, Deployment, EnvironmentVariable, Gateway,
    GatewayService, Health, HealthCheck, Intention, Kind, Metadata, NamedCondition, NamedScale, OrReference,
    Phase, PortValue, Rewrite, Route, RouteTarget, Scale, Service, ServiceInstance, ServiceRuntime,
    ServiceStatus,
};
pub use problem::{Position, Problem};
