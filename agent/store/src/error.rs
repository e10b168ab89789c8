//! What can go wrong with a store.

use std::borrow::Cow;

use thiserror::Error;

use crate::Revision;

/// What went wrong with a store.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached or did not answer in time. Trying again later is right.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A write's expectation was not met; nothing was changed.
    #[error("the key `{key}` is at {found:?}, which was not expected; nothing was written")]
    Conflict {
        /// The key.
        key: String,
        /// Its revision, `None` if it is not there.
        found: Option<Revision>,
    },
    /// The store refuses these credentials.
    #[error("the store refuses access: {0}")]
    Denied(String),
    /// The lease has expired or never was.
    #[error("the lease is not known to the store (expired?)")]
    LeaseLost,
    /// The value is longer than the store takes.
    #[error("a value of {bytes} bytes is over the store's limit of {bytes_max}")]
    TooLarge {
        /// Length of the value.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The store cannot do that at all (writing to a `file` store).
    #[error("this store cannot {0}")]
    Unsupported(Cow<'static, str>),
    /// The watch can no longer say what changed: read everything again, then watch from there.
    #[error("the watch fell behind; everything must be read again")]
    Compacted,
    /// A key is not one: empty, too long, or with a leading slash.
    #[error("`{key}` cannot be a key: {reason}")]
    InvalidKey {
        /// The key, cut to 80 characters.
        key: String,
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
    /// The store's file is open in another process.
    #[error(
        "the store file {path} is open in another process; stop that process, or reach its store by weir://HOST:PORT"
    )]
    Locked {
        /// The file.
        path: String,
    },
    /// The address of a store cannot be used by this program.
    #[error("`{url}` is not a store that this program can use: {reason}")]
    Address {
        /// The address as given.
        url: String,
        /// Why not, and what would be right.
        reason: String,
    },
    /// What the store holds, or says, makes no sense.
    #[error("the store holds something that cannot be read: {0}")]
    Corrupt(String),
}
