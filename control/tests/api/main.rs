//! Control from outside, over real connections: the REST API, who may use it, and the program. Without agents, and
//! with a driver in memory.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "in tests a panic is the report, and texts are known"
)]

mod access;
mod artifacts;
mod configuration;
mod deployments;
mod events;
mod figures;
mod hostile;
mod kinds;
mod program;
mod readers;
mod requests;
mod system;
mod versions;
mod vga;
mod world;
