//! The REST API from outside, over real connections, without agents and with a driver in memory.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "in tests a panic is the report, and texts are known"
)]

mod artifacts;
mod deployments;
mod events;
mod requests;
mod system;
mod world;
