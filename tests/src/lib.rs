//! Suites that need more than one crate, and their harness.
//!
//! **Job.** Programs under test ([`Program`]), waiting with a bound ([`eventually`]) and looking for
//! processes that were left behind ([`processes`]).
//!
//! **Invariants.** A program ends with its test, by its own id. Nothing waits without a deadline.
//!
//! **Absent.** No mocks: suites run the real parts.

pub mod binaries;
mod certificates;
pub mod disk;
pub mod faults;
pub mod load;
pub mod network;
pub mod ports;
pub mod postgres;
pub mod processes;
mod program;
pub mod stores;
mod waiting;

pub use certificates::Certificates;
pub use program::{Finished, Program};
pub use waiting::eventually;
