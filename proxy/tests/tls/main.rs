//! TLS and HTTP/2 over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::string_slice, reason = "the texts are ASCII")]
#![allow(unreachable_pub, reason = "the support module is shared by suites")]
#![allow(missing_docs, reason = "tests say what they do by their names")]

#[path = "../support/mod.rs"]
mod support;

mod authority;
mod clients;
mod ejection;
mod frames;
mod grpc;
mod http2;
mod multiplexed;
mod origin;
mod shared;
mod sni;
mod termination;
mod upstream;
