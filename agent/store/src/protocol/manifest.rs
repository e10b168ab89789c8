//! The manifest: which chunks make up the published snapshot.

use serde::{Deserialize, Serialize};
use weir_model::{Digest, Generation};

use super::{DOCUMENT_BYTES_MAX, ProtocolError, trimmed};
use crate::{Entry, Revision, Store};

/// Version of a manifest over a document that is packed as one.
pub(super) const VERSION_WHOLE: &str = "1.0";
/// Version of a manifest over a document in sections.
pub(super) const VERSION_SECTIONS: &str = "1.1";
/// How chunks are packed.
pub(super) const ENCODING: &str = "zstd";
/// Longest manifest in bytes.
pub(super) const MANIFEST_BYTES_MAX: usize = 256 * 1024;
/// Most chunks of a snapshot.
pub(super) const CHUNKS_MAX: usize = 1024;
/// Folder of the chunks, below `<prefix>/weir/snapshot/`.
pub(super) const CHUNKS: &str = "chunks/";

/// Which chunks make up the published snapshot. Fields that a reader does not know are additions of a later
/// 1.x and ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `1.0`, or `1.1` for a document in sections.
    pub version: String,
    /// Number of the snapshot, as in the document.
    pub generation: Generation,
    /// Digest of the snapshot, as in the document: equal digests need no reading of chunks.
    pub digest: Digest,
    /// How the chunks' concatenation is packed: `zstd`. Several frames may follow one another.
    pub encoding: String,
    /// Length of the unpacked document in bytes.
    pub bytes: u64,
    /// In order.
    pub chunks: Vec<Chunk>,
    /// Since 1.1: keys of chunks that manifests before this one named and this one does not, which are still in the store.
    /// `None`: it is not known which they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Vec<String>>,
}

/// One chunk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Key relative to `<prefix>/weir/snapshot/`, so that a copy below another prefix is whole:
    /// `chunks/<generation>-<first 12 digits of the digest>/<n>`, of the snapshot that it was first written for.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of the chunk, 64 hexadecimal digits.
    pub sha256: String,
    /// Since 1.1: a part of the document that is packed on its own begins with this chunk, and the part's text has this SHA-256, 64
    /// hexadecimal digits. A chunk without it continues the part before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Since 1.1, beside `text`: the part is so many whole gateways. Without: it is what is before or after them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<u32>,
}

/// A part of a document that is packed on its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing<'m> {
    /// SHA-256 of its text.
    pub(super) text: &'m str,
    /// How many whole gateways it is; `None`: head or tail.
    pub(super) gateways: Option<u32>,
    /// The chunks that it lies in.
    pub(super) chunks: &'m [Chunk],
}

impl Manifest {
    /// The parts of a document in sections: head, gateways, tail. `None` for one that is packed as one, or otherwise than this program
    /// knows: it can be read as one then.
    pub(super) fn parts(&self) -> Option<Vec<Packing<'_>>> {
        let mut parts = Vec::new();
        let mut rest = self.chunks.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let more = after.iter().take_while(|chunk| chunk.text.is_none()).count();
            let (chunks, after) = rest.split_at(1 + more);
            parts.push(Packing {
                text: first.text.as_deref()?,
                gateways: first.gateways,
                chunks,
            });
            rest = after;
        }
        match parts.as_slice() {
            [head, sections @ .., tail] => {
                let around = head.gateways.is_none() && tail.gateways.is_none();
                let inside = sections.iter().all(|part| part.gateways.is_some());
                (around && inside).then_some(parts)
            }
            _ => None,
        }
    }
}

/// Full key of the manifest.
pub fn manifest_key(prefix: &str) -> String {
    format!("{}manifest", snapshot_prefix(prefix))
}

/// What the keys of manifest and chunks begin with.
pub(crate) fn snapshot_prefix(prefix: &str) -> String {
    match trimmed(prefix) {
        "" => "weir/snapshot/".to_owned(),
        prefix => format!("{prefix}/weir/snapshot/"),
    }
}

/// Reads the manifest and where it is in the store's history; `None` if nothing was ever published (or the
/// store was wiped).
///
/// # Errors
/// [`ProtocolError`] if the store fails or what it holds is not a manifest of 1.x.
pub async fn manifest(
    store: &dyn Store,
    prefix: &str,
) -> Result<Option<(Manifest, Revision)>, ProtocolError> {
    match store.get(&manifest_key(prefix)).await? {
        None => Ok(None),
        Some(Entry { value, revision, .. }) => Ok(Some((parse(&value)?, revision))),
    }
}

/// Where the manifest is in the store's history, whatever it holds: what [`super::publish`] is to expect.
///
/// # Errors
/// [`ProtocolError::Store`] if the store fails.
pub async fn place(store: &dyn Store, prefix: &str) -> Result<Option<Revision>, ProtocolError> {
    Ok(store.place(&manifest_key(prefix)).await?)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Manifest, ProtocolError> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let wrong = |what: String| ProtocolError::Manifest(what);
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(wrong(format!("it is longer than {MANIFEST_BYTES_MAX} bytes")));
    }
    let Version { version } = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if version.split('.').next() != Some("1") {
        return Err(ProtocolError::Version(version.chars().take(20).collect()));
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if manifest.encoding != ENCODING {
        return Err(ProtocolError::Encoding(
            manifest.encoding.chars().take(20).collect(),
        ));
    }
    let limit = DOCUMENT_BYTES_MAX as u64;
    if manifest.bytes > limit {
        return Err(ProtocolError::TooLarge {
            bytes: manifest.bytes,
        });
    }
    if manifest.chunks.is_empty() || manifest.chunks.len() > CHUNKS_MAX {
        return Err(wrong(format!(
            "it has {} chunks instead of 1 to {CHUNKS_MAX}",
            manifest.chunks.len()
        )));
    }
    let packed = manifest
        .chunks
        .iter()
        .fold(0u64, |sum, chunk| sum.saturating_add(chunk.bytes));
    if packed > limit {
        return Err(ProtocolError::TooLarge { bytes: packed });
    }
    let named = manifest.chunks.iter().map(|chunk| &chunk.key);
    let mut keys = named.chain(manifest.retired.iter().flatten());
    if let Some(key) = keys.find(|key| !is_chunk_key(key)) {
        let key: String = key.chars().take(80).collect();
        return Err(wrong(format!("`{key}` is not the key of a chunk")));
    }
    Ok(manifest)
}

/// `chunks/<word>/<word>`: nothing that leads out of the folder.
fn is_chunk_key(key: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty()
            && text.len() <= 100
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    key.strip_prefix(CHUNKS)
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(folder, number)| word(folder) && word(number))
}
