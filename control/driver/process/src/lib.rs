//! Runs instances as processes of this host.
//!
//! **Job.** [`ProcessDriver`]: one process group for each instance, one folder for each under
//! [`Config::state_dir`]. `docs/drivers.md` says what an instance receives.
//!
//! **Invariants.**
//! - Instances outlive control: they write their logs to files themselves, and a new driver on the same
//!   folder finds them again, also when control was killed between starting a process and noting its number.
//! - No process is taken for ours, or signalled, by its number alone: start time and boot are compared, and
//!   of strays the marker in their environment.
//! - Nothing is left behind: a process group ends with its leader, children are reaped.
//! - One driver at a time uses a folder (`lock`).
//!
//! - Where it is wanted ([`Config::limits`]) and permitted, control groups limit processors and memory.
//!
//! **Absent.** No isolation: instances run as the user of control. No restart of what died; that is for the
//! reconciler to decide, and when. Linux only (`/proc`).

mod cgroup;
mod config;
mod driver;
mod folder;
mod follow;
mod instance;
mod launch;
mod leader;
mod logs;
mod ports;
mod proc;
mod stats;

pub use config::{Config, DEFAULT_INSTANCE_PORTS, DEFAULT_STOP_GRACE, OpenError};
pub use driver::ProcessDriver;
