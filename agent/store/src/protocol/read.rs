//! Reading what is published.

use bytes::Bytes;
use weir_model::{Digest, Generation};

use super::{
    ProtocolError,
    chunk::{fault, unpack},
    manifest::{Manifest, manifest, snapshot_prefix},
};
use crate::{Revision, Store};

/// How often the manifest is read again since its chunks are gone: somebody publishes faster than we read.
const ATTEMPTS_MAX: usize = 5;

/// A snapshot as it was published, whole and unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The document, for `weir_model::wire::v1::read`.
    pub bytes: Bytes,
    /// Number that the manifest gives; the document must say the same.
    pub generation: Generation,
    /// Digest that the manifest gives; the document must say the same.
    pub digest: Digest,
    /// The manifest's place in the store's history.
    pub revision: Revision,
}

/// Reads the published snapshot; `None` if there is none.
///
/// # Errors
/// [`ProtocolError`] if the store fails, or what it holds is not what the manifest says.
pub async fn read(store: &dyn Store, prefix: &str) -> Result<Option<Published>, ProtocolError> {
    let mut attempts = 1;
    loop {
        let Some((manifest, revision)) = manifest(store, prefix).await? else {
            return Ok(None);
        };
        match chunks(store, prefix, &manifest).await {
            Ok(packed) => {
                let document = unpack(packed, manifest.bytes)?;
                return Ok(Some(Published {
                    bytes: document.into(),
                    generation: manifest.generation,
                    digest: manifest.digest,
                    revision,
                }));
            }
            Err(ProtocolError::Chunk { .. }) if attempts < ATTEMPTS_MAX => attempts += 1,
            Err(error) => return Err(error),
        }
    }
}

async fn chunks(store: &dyn Store, prefix: &str, manifest: &Manifest) -> Result<Vec<u8>, ProtocolError> {
    let folder = snapshot_prefix(prefix);
    let mut packed = Vec::new();
    for chunk in &manifest.chunks {
        let key = format!("{folder}{}", chunk.key);
        let what = match store.get(&key).await? {
            None => Some("is not there"),
            Some(entry) => match fault(chunk, &entry.value) {
                Some(what) => Some(what),
                None => {
                    packed.extend_from_slice(&entry.value);
                    None
                }
            },
        };
        if let Some(what) = what {
            return Err(ProtocolError::Chunk { key, what });
        }
    }
    Ok(packed)
}
