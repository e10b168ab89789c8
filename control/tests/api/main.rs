//! The REST API from outside, over real connections, without agents and with a driver in memory.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "in tests a panic is the report, and texts are known"
)]

mod artifacts;
mod configuration;
mod deployments;
mod events;
mod figures;
mod hostile;
mod kinds;
mod requests;
mod system;
mod versions;
mod vga;
mod world;
