//! The process driver on this host: the suite that every driver passes, and what only processes do.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]

mod adopted;
mod endings;
mod parts;
mod ports;
mod starts;
mod suite;
mod tools;
