//! Deployments of containers, end to end: control and an agent in this process, a Docker Engine of one's own.
//!
//! `WEIR_ROLLING` says how many redeployments (default 10), `WEIR_ROLLING_RATE` how many requests per second
//! (default 200).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects, a measurement what it saw"
)]

mod faults;
mod releases;
mod shop;
