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
pub mod compose;
mod problem;
mod prove;
pub mod read;
mod tree;
pub mod units;
pub mod value;
pub mod weights;
pub mod write;

pub use artifact::{
    Artifact, Blueprint, Breed, Cluster, ClusterSla, Deployable, Deployment, EnvironmentVariable, Escalation,
    Gateway, GatewayService, Health, HealthCheck, Intention, Kind, Metadata, NamedCondition, NamedEscalation,
    NamedRewrite, NamedRoute, NamedScale, NamedSla, OrReference, Period, Phase, PortValue, Rewrite, Route,
    RouteTarget, Scale, ScaleStep, Schedule, Service, ServiceInstance, ServiceRuntime, ServiceStatus, Sla,
    SlaReference, SlaRule, Start, Template, TimeSchedule, Workflow, WorkflowStatus,
};
pub use problem::{Position, Problem, Severity};
