//! The port to whatever runs instances.
//!
//! **Job.** The trait [`ContainerDriver`] with four verbs (list, start, stop, logs) and a signal of change;
//! [`fake::Fake`], a driver in memory for tests of those who use drivers; [`conformance`], the suite that
//! every driver passes.
//!
//! **Invariants.** Instances are found again by their labels after any restart of control. `start` and
//! `stop` are idempotent by id. A driver never restarts an instance by itself under the same id with
//! another address without saying so in `list`.
//!
//! **Absent.** No decision about what should run (that is `weir-plan`), no routing.

pub mod conformance;
mod driver;
pub mod fake;

pub use driver::{
    Capabilities, ContainerDriver, DriverError, HealthCheckSpec, HealthProtocol, InstanceHealth,
    InstanceSpec, InstanceState, InstanceStatus, LogLine, LogStream, PortSpec,
};
