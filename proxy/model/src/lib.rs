//! The words both planes speak.
//!
//! **Job.** Gateways, routes, weights, conditions, snapshots and reports as plain checked data, and the
//! frozen form in which they travel ([`wire::v1`]).
//!
//! **Invariants.** A value of a type of this crate is valid: weights are in range, names are not empty,
//! conditions are parsed. The only doors are constructors that return errors.
//!
//! **Absent.** No I/O, no async, no clock, no tables: `weir-proxy` compiles a [`Snapshot`] to what the
//! request path reads, `weir-artifact` owns Vamp's documents and control lowers those to this model.

pub mod condition;
pub mod document;
mod gateway;
mod id;
pub mod lookup;
mod options;
mod report;
pub mod rewrite;
mod snapshot;
mod weight;
pub mod wire;

pub use condition::{Condition, ConditionError};
pub use gateway::{
    Balance, Gateway, Instance, InstanceState, Listener, Protocol, Route, Sticky, Target, UnknownBalance,
};
pub use id::{AgentId, Digest, DigestError, EmptyName, GatewayName, Generation, InstanceId, RouteName};
pub use options::{
    Certificate, Ejection, GatewayOptions, HealthCheck, HealthProtocol, Millis, MillisError, ProxyProtocol,
    RouteOptions, RouteTimeouts, Tls, TlsVersion, UpstreamProtocol, UpstreamTls,
};
pub use report::{
    Acknowledgement, DepartedFrame, EndpointState, Frame, GatewayFrame, InstanceFrame, LatencyCounts,
    OutcomeCounts, Refusal, RouteFrame,
};
pub use rewrite::{PathRewrite, RewriteError};
pub use snapshot::{Snapshot, SnapshotProblem, SnapshotProblemKind};
pub use weight::{ConditionStrength, PartsPerTenThousandError, Weight};
