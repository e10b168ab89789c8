//! What the two sides say. Both are of one release as a rule; the first request names the version.

use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio_util::codec::LengthDelimitedCodec;

use crate::{Change, Entry, Expect, Revision, StoreError};

/// Version of this form; another one is refused.
pub(super) const VERSION: u32 = 1;
/// Longest frame in bytes. The longest value (4 MiB) is a third longer in base64.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Value bytes after which a listing goes on in another frame.
pub(super) const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Entries after which a listing goes on in another frame.
pub(super) const PAGE_ENTRIES: usize = 1000;

pub(super) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .max_frame_length(FRAME_BYTES_MAX)
        .new_codec()
}

pub(super) fn encode<T: Serialize>(message: &T) -> Bytes {
    Bytes::from(serde_json::to_vec(message).expect("plain data with text keys always serialises"))
}

pub(super) fn decode<T: for<'de> Deserialize<'de>>(frame: &[u8]) -> io::Result<T> {
    serde_json::from_slice(frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Chosen by the client, not in use by another request or watch of the connection.
    pub(super) id: u64,
    pub(super) call: Call,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    Hello {
        version: u32,
    },
    Get {
        key: String,
    },
    List {
        prefix: String,
    },
    Put {
        key: String,
        value: Base64,
        expect: WireExpect,
        lease: Option<String>,
    },
    Delete {
        key: String,
        expect: WireExpect,
    },
    /// Answered by `Watching`, then by `Change`s until `Error` or `Ended`.
    Watch {
        prefix: String,
        after: Revision,
    },
    /// Ends the watch of that id; not answered.
    Cancel {
        watch: u64,
    },
    Grant {
        ttl_ms: u64,
    },
    Renew {
        lease: String,
    },
    Revoke {
        lease: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Response {
    /// Of the request.
    pub(super) id: u64,
    pub(super) reply: Reply,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Hello {
        version: u32,
    },
    Entry(Option<WireEntry>),
    Entries {
        entries: Vec<WireEntry>,
        revision: Revision,
        /// Whether another frame of the same listing follows.
        more: bool,
    },
    Written(Revision),
    Deleted(bool),
    Watching,
    Put(WireEntry),
    Removed {
        key: String,
        revision: Revision,
    },
    Ended,
    Lease(String),
    Done,
    Error(WireError),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireExpect {
    Any,
    Absent,
    At(Revision),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireEntry {
    key: String,
    value: Base64,
    revision: Revision,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireError {
    Unavailable(String),
    Conflict { key: String, found: Option<Revision> },
    Denied(String),
    LeaseLost,
    TooLarge { bytes: usize, bytes_max: usize },
    Unsupported(String),
    Compacted,
    InvalidKey { key: String, reason: String },
    Corrupt(String),
}

/// Bytes, as base64 in JSON.
#[derive(Debug)]
pub(super) struct Base64(pub(super) Bytes);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD
            .decode(text)
            .map(|bytes| Self(bytes.into()))
            .map_err(serde::de::Error::custom)
    }
}

impl From<Expect> for WireExpect {
    fn from(expect: Expect) -> Self {
        match expect {
            Expect::Any => Self::Any,
            Expect::Absent => Self::Absent,
            Expect::At(revision) => Self::At(revision),
        }
    }
}

impl From<WireExpect> for Expect {
    fn from(expect: WireExpect) -> Self {
        match expect {
            WireExpect::Any => Self::Any,
            WireExpect::Absent => Self::Absent,
            WireExpect::At(revision) => Self::At(revision),
        }
    }
}

impl From<Entry> for WireEntry {
    fn from(entry: Entry) -> Self {
        Self {
            key: entry.key,
            value: Base64(entry.value),
            revision: entry.revision,
        }
    }
}

impl From<WireEntry> for Entry {
    fn from(entry: WireEntry) -> Self {
        Self {
            key: entry.key,
            value: entry.value.0,
            revision: entry.revision,
        }
    }
}

impl From<Change> for Reply {
    fn from(change: Change) -> Self {
        match change {
            Change::Put(entry) => Self::Put(entry.into()),
            Change::Deleted { key, revision } => Self::Removed { key, revision },
        }
    }
}

impl From<StoreError> for WireError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(source) => Self::Unavailable(source.to_string()),
            StoreError::Conflict { key, found } => Self::Conflict { key, found },
            StoreError::Denied(reason) => Self::Denied(reason),
            StoreError::LeaseLost => Self::LeaseLost,
            StoreError::TooLarge { bytes, bytes_max } => Self::TooLarge { bytes, bytes_max },
            StoreError::Unsupported(what) => Self::Unsupported(what.into_owned()),
            StoreError::Compacted => Self::Compacted,
            StoreError::InvalidKey { key, reason } => Self::InvalidKey {
                key,
                reason: reason.into_owned(),
            },
            StoreError::Corrupt(what) => Self::Corrupt(what),
            error @ (StoreError::Locked { .. } | StoreError::Address { .. }) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl From<WireError> for StoreError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Unavailable(reason) => Self::Unavailable(reason.into()),
            WireError::Conflict { key, found } => Self::Conflict { key, found },
            WireError::Denied(reason) => Self::Denied(reason),
            WireError::LeaseLost => Self::LeaseLost,
            WireError::TooLarge { bytes, bytes_max } => Self::TooLarge { bytes, bytes_max },
            WireError::Unsupported(what) => Self::Unsupported(what.into()),
            WireError::Compacted => Self::Compacted,
            WireError::InvalidKey { key, reason } => Self::InvalidKey {
                key,
                reason: reason.into(),
            },
            WireError::Corrupt(what) => Self::Corrupt(what),
        }
    }
}
