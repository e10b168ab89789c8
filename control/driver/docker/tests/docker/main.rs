//! The Docker driver on a real engine: the suite that every driver passes, and what only engines do.
//!
//! Without the parts of an engine these tests are skipped with a line that says so; in CI they fail.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may panic and print"
)]

mod conformance;
mod containers;
mod faults;
mod pulls;
mod support;
mod tls;
