//! How a snapshot travels through a store, and how agents answer. The form is frozen: `docs/protocol.md`.
//!
//! **Job.** [`publish`] writes what a snapshot does not have in common with the published one in chunks, and a manifest over all of
//! its chunks; [`read`] gives it back whole, a [`Reader`] in parts, of which it reads only new ones; [`acknowledge`] and
//! [`agents`] carry what agents serve.
//!
//! **Invariants.** The manifest is written last and by compare-and-set, so a reader sees one committed
//! snapshot or another, never a mix; a publisher that dies in between changes nothing for readers. Chunks that
//! the manifest before names stay, so a reader that has just taken it finishes. What was read has
//! the length and the hashes that the manifest says, within [`DOCUMENT_BYTES_MAX`].
//!
//! **Absent.** The document's own meaning (`weir_model::wire`), and retries over a store that is away.

mod acknowledgement;
mod chunk;
mod epoch;
mod manifest;
mod publish;
mod read;

use thiserror::Error;
use weir_model::Generation;

use crate::{Revision, StoreError};

pub use acknowledgement::{acknowledge, acknowledgement_key, agents, agents_prefix};
pub use epoch::{epoch, mark};
pub use manifest::{Chunk, Manifest, manifest, manifest_key, place};
pub use publish::{publish, publish_anew};
pub use read::{Published, PublishedParts, Reader, read};

#[cfg(feature = "file")]
pub(crate) use chunk::pack;

/// Longest document in bytes, unpacked and packed.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What went wrong with publishing or reading.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The store failed. Trying again later is right.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else has published meanwhile; nothing was changed. Read, and decide again.
    #[error("another snapshot was published meanwhile (the manifest is at {found:?}); nothing was published")]
    Outdated {
        /// Where the manifest is now; `None`: there is none.
        found: Option<Revision>,
    },
    /// The number does not grow; nothing was changed.
    #[error(
        "generation {new} does not follow generation {published}, which is published; nothing was published"
    )]
    NotNewer {
        /// What is published.
        published: Generation,
        /// What was to be published.
        new: Generation,
    },
    /// The document is over [`DOCUMENT_BYTES_MAX`].
    #[error("a snapshot of {bytes} bytes is over the limit of {DOCUMENT_BYTES_MAX}")]
    TooLarge {
        /// Its length in bytes.
        bytes: u64,
    },
    /// The manifest is of another major version.
    #[error("the manifest is of version {0}; this program reads 1.x")]
    Version(String),
    /// The manifest is packed in a way that this program does not know.
    #[error("the snapshot is packed by `{0}`; this program knows `zstd`")]
    Encoding(String),
    /// The manifest makes no sense.
    #[error("the manifest cannot be used: {0}")]
    Manifest(String),
    /// A chunk is not there, or not what the manifest says, though the manifest was read again.
    #[error("the chunk `{key}` {what}")]
    Chunk {
        /// Full key.
        key: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The chunks do not unpack to what the manifest says.
    #[error("the snapshot cannot be unpacked: {0}")]
    Unpack(String),
    /// An agent's id cannot be part of a key.
    #[error("`{0}` cannot be an agent's id: letters, digits, `.`, `_` and `-` only, at most 128")]
    AgentId(String),
}

impl ProtocolError {
    /// Whether it is about what was published, not about reaching the store: trying again helps only after
    /// something else was published.
    pub fn is_content(&self) -> bool {
        !matches!(self, Self::Store(_) | Self::Chunk { .. } | Self::Outdated { .. })
    }
}

/// `prefix` as it begins a key: Vamp's paths have a leading slash (`/vamp/default`).
fn trimmed(prefix: &str) -> &str {
    prefix.trim_matches('/')
}

#[cfg(test)]
mod tests;
