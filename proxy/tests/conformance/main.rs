//! The native lane over real sockets: raw bytes on both sides.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::string_slice, reason = "the texts are ASCII")]
#![allow(unreachable_pub, reason = "the support module is shared by suites")]
#![allow(missing_docs, reason = "tests say what they do by their names")]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod early_close;
mod failures;
mod heads;
mod keep_alive;
mod tcp;
mod time_limits;
mod upgrade;
