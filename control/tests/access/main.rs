//! Who may do what, over what: tokens, TLS, streams, sockets, the way through to what is managed.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "in tests a panic is the report, and texts are known"
)]

#[path = "../api/world.rs"]
#[allow(dead_code, reason = "this suite needs a part of it")]
mod world;

mod client;
mod logs;
mod origin;
mod proxy;
mod sockets;
mod streams;
mod tls;
mod tokens;
