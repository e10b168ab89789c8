//! A Docker Engine of one's own, and images for it made from nothing.
//!
//! **Job.** [`Engine`]: `dockerd` and its containerd in a folder of their own, with a bridge and addresses of
//! their own, ended and cleaned up after the test. [`image`]: an image whose only file is
//! the test service.
//!
//! **Invariants.** One engine of this kind at a time on a machine: engines of one host share chains of the packet
//! filter, and each new one empties them. What an engine left (bridges, rules, the policy of forwarding) is
//! taken back.
//!
//! **Absent.** No pull from anywhere but loopback.

mod engine;
mod filter;
mod http;
pub mod image;

pub use engine::{Engine, Options, why_not};
pub use http::Answer;
