//! Runs instances as containers of a Docker Engine.
//!
//! **Job.** [`DockerDriver`]: one container for each instance, on an engine behind a Unix socket or a TCP
//! address, with TLS or without. `docs/docker.md` says what a container receives.
//!
//! **Invariants.**
//! - A container is ours by its labels (namespace and id), whatever its name is by now. Nothing else is
//!   touched.
//! - The engine never restarts a container by itself: its restart policy is `no`, and a dialect cannot say
//!   otherwise. What should run is control's decision alone.
//! - What is not known is not told: while the engine does not answer, `list` is an error.
//! - An interrupted watch is followed by a look at everything; so is every tenth second, whatever the watch says.
//! - A start that fails leaves no container.
//!
//! **Absent.** No Swarm, no builds, no volumes of its own. No decision where to run: one driver, one engine.

mod arguments;
mod config;
mod create;
mod dialect;
mod driver;
mod endpoint;
mod engine;
mod exec;
mod fault;
mod image;
mod instance;
mod labels;
mod logs;
mod monitor;
mod stats;
mod view;
mod world;

pub use config::{Config, Credentials, Reach};
pub use create::DEPLOYABLE_TYPES;
pub use driver::DockerDriver;
pub use endpoint::{DEFAULT_SOCKET, Endpoint, EndpointError, TlsFiles};
pub use image::{CredentialsError, credentials_of_file};
