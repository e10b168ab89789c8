//! The port to whatever runs instances.
//!
//! **Job.** The trait [`ContainerDriver`] with four verbs (list, start, stop, logs), a signal of change, and
//! what only some drivers can do ([`Capabilities`]); [`Router`], several drivers as one; [`health`], checks for
//! drivers whose engine has none; [`fake::Fake`], a driver in memory for tests of those who use drivers;
//! [`conformance`], the suite that every driver passes.
//!
//! **Invariants.** Instances are found again by their labels after any restart of control. `start` and
//! `stop` are idempotent by id. A driver never restarts an instance by itself under the same id with
//! another address without saying so in `list`.
//!
//! **Absent.** No decision about what should run (that is `weir-plan`), no routing.

pub mod conformance;
mod driver;
mod facts;
pub mod fake;
pub mod health;
mod router;
pub mod rules;
pub mod words;

pub use driver::{
    Capabilities, ContainerDriver, DriverError, HealthCheckSpec, HealthProtocol, InstanceHealth,
    InstanceSpec, InstanceState, InstanceStatus, LogLine, LogStream, PortSpec,
};
pub use facts::{
    Capacity, ExecEvent, ExecSpec, Execution, InstanceStats, Notice, NoticeKind, Survey, Unknown,
};
pub use router::Router;
