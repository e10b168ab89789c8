//! What to do next: desired state, observed world and time to actions. Pure.
//!
//! **Job.** Vamp's rules of deploying as functions of their arguments: a blueprint joins a deployment
//! ([`merge()`]) or leaves it ([`slice()`]), a gateway is made ready to be stored ([`gateway`]), artifacts
//! become what agents serve ([`lower()`]), and the difference between what is wanted and what runs becomes
//! actions ([`plan()`]).
//!
//! **Invariants.** No clock, no randomness, no I/O: time and the source of new instance ids are arguments,
//! and the same inputs give the same actions. A rule that is broken is a [`weir_artifact::Problem`] with
//! Vamp's code, and all of them are reported at once.
//!
//! **Absent.** No storage and no drivers: control loads, calls and executes. References to stored artifacts
//! are resolved before they come here.

mod action;
mod allocation;
mod environment;
pub mod gateway;
mod launch;
mod lower;
mod merge;
mod names;
mod plan;
mod ports;
mod record;
mod settings;
pub mod sla;
mod slice;
mod validate;
mod values;

pub use action::{Action, Synchronization, apply};
pub use allocation::{Allocation, Quota, Resources, Room, allocation, fits};
pub use environment::environment;
pub use launch::Launch;
pub use lower::{Lowered, LoweringProblem, lower};
pub use merge::{Merged, merge};
pub use names::{ServiceKey, instance_id};
pub use plan::{
    Desired, Held, InFlight, LifeState, Observed, SeenHealth, SeenInstance, StartFailure, StartFailureKind,
    pause, plan,
};
pub use ports::{Exhausted, PortRange};
pub use record::{InstanceRecord, ServiceRecord, Stage};
pub use settings::Settings;
pub use slice::slice;
pub use validate::problem;

#[cfg(test)]
mod fixtures;
