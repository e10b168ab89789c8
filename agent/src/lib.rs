//! The edge process: follows a store and feeds the proxy that it links.
//!
//! **Job.** Takes each published snapshot to the proxy, keeps the last good one on disk, tells the store what
//! is served ([`Agent`]). `weir-agent` is a thin `main` over it; other processes link it.
//!
//! **Invariants.** Traffic never waits for the store: whatever happens to it, what was applied last is served,
//! also after a start without it. Absence is never deletion: a store that is empty, wiped or restored from
//! an old copy changes nothing. A document that is refused changes nothing, a gateway that is refused stays
//! as it was; both are acknowledged with the reason.
//!
//! **Absent.** No container driver, no scripts, no API but the admin listener (`/status`, `/stats`, `/metrics`,
//! `/frames`, `/health`).

mod admin;
mod agent;
mod backoff;
pub mod check;
mod config;
mod dns;
pub mod environment;
mod feed;
mod follow;
pub mod handover;
mod identity;
mod last_good;
mod presence;
mod saver;
mod secret;
mod ship;
mod status;

pub use agent::Agent;
pub use config::{AdminTls, Config};
pub use dns::Dns;
pub use secret::Secret;
pub use ship::{ElasticsearchAccess, Shipping};
