//! Reading what is published.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use weir_model::{Digest, Generation, wire::v1};

use super::{
    ProtocolError,
    chunk::{fault, other_length, unpack, unpack_up_to},
    manifest::{Chunk, Manifest, Packing, manifest, snapshot_prefix},
    publish::AT_ONCE,
};
use crate::{Revision, Store};

/// How often the manifest is read again since its chunks are gone: somebody publishes faster than we read.
const ATTEMPTS_MAX: u32 = 5;
/// Pause before that, doubled each time: 20 ms at first, 320 ms in all.
const AGAIN: Duration = Duration::from_millis(10);

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

/// A snapshot as it was published, in the parts that it lies in.
#[derive(Clone, Debug)]
pub struct PublishedParts {
    /// The document, for `weir_model::wire::v1::Reader`.
    pub document: v1::Document,
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
        match whole(store, prefix, &manifest).await {
            Ok(document) => {
                return Ok(Some(Published {
                    bytes: document.into(),
                    generation: manifest.generation,
                    digest: manifest.digest,
                    revision,
                }));
            }
            Err(ProtocolError::Chunk { .. }) if attempts < ATTEMPTS_MAX => again(&mut attempts).await,
            Err(error) => return Err(error),
        }
    }
}

/// Waits before the manifest is read again, longer each time.
async fn again(attempts: &mut u32) {
    tokio::time::sleep(AGAIN * 2u32.saturating_pow(*attempts)).await;
    *attempts += 1;
}

/// Reads what is published again and again, and reads only what it has not read before.
///
/// It keeps the texts of the parts of one document (at most [`super::DOCUMENT_BYTES_MAX`]), by the hashes of the chunks that they
/// lay in. Reading that was broken off goes on where it was. A part that is the same as before is the same allocation.
#[derive(Debug, Default)]
pub struct Reader {
    texts: HashMap<String, Kept>,
}

/// The text of a part.
#[derive(Clone, Debug)]
struct Kept {
    text: Arc<str>,
    sha256: String,
}

impl Reader {
    /// A reader that has read nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the published snapshot; `None` if there is none.
    ///
    /// # Errors
    /// As [`read`].
    pub async fn read(
        &mut self,
        store: &dyn Store,
        prefix: &str,
    ) -> Result<Option<PublishedParts>, ProtocolError> {
        let mut attempts = 1;
        loop {
            let Some((manifest, revision)) = manifest(store, prefix).await? else {
                return Ok(None);
            };
            match self.document(store, prefix, &manifest).await {
                Ok(document) => {
                    return Ok(Some(PublishedParts {
                        document,
                        generation: manifest.generation,
                        digest: manifest.digest,
                        revision,
                    }));
                }
                Err(ProtocolError::Chunk { .. }) if attempts < ATTEMPTS_MAX => again(&mut attempts).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn document(
        &mut self,
        store: &dyn Store,
        prefix: &str,
        manifest: &Manifest,
    ) -> Result<v1::Document, ProtocolError> {
        let Some(parts) = manifest.parts() else {
            self.texts.clear();
            return Ok(v1::Document::Whole(whole(store, prefix, manifest).await?));
        };
        let parts: Vec<(String, Packing<'_>)> = parts
            .into_iter()
            .map(|part| (identity(part.chunks), part))
            .collect();
        let before = std::mem::take(&mut self.texts);
        for (identity, _) in &parts {
            if let Some(kept) = before.get(identity) {
                self.texts.insert(identity.clone(), kept.clone());
            }
        }
        drop(before);
        self.fetch(store, prefix, manifest.bytes, &parts).await?;
        let mut texts = Vec::with_capacity(parts.len());
        let mut bytes = 0;
        for (identity, part) in &parts {
            let kept = self.texts.get(identity).ok_or_else(other_length)?;
            if !kept.sha256.eq_ignore_ascii_case(part.text) {
                return Err(ProtocolError::Unpack(
                    "a part of it has another hash than the manifest says".to_owned(),
                ));
            }
            bytes += kept.text.len() as u64;
            texts.push((Arc::clone(&kept.text), part.gateways));
        }
        if bytes != manifest.bytes {
            return Err(other_length());
        }
        let mut texts = texts.into_iter();
        let (Some((head, _)), Some((tail, _))) = (texts.next(), texts.next_back()) else {
            return Err(other_length());
        };
        let sections = texts.map(|(text, gateways)| v1::Part {
            gateways: gateways.map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX)),
            text,
        });
        Ok(v1::Document::Parts(v1::Parts {
            head,
            sections: sections.collect(),
            tail,
        }))
    }

    /// Reads and unpacks the parts that are not kept. What was read stays if a later one cannot be had.
    async fn fetch(
        &mut self,
        store: &dyn Store,
        prefix: &str,
        bytes_max: u64,
        parts: &[(String, Packing<'_>)],
    ) -> Result<(), ProtocolError> {
        let folder = snapshot_prefix(prefix);
        let kept: u64 = self.texts.values().map(|kept| kept.text.len() as u64).sum();
        let mut left = bytes_max.saturating_sub(kept);
        let mut missing: Vec<&(String, Packing<'_>)> = Vec::new();
        for part in parts {
            if !self.texts.contains_key(&part.0) {
                missing.push(part);
            }
        }
        let chunks = missing.iter().flat_map(|(_, part)| part.chunks);
        let reads: Vec<_> = chunks.map(|chunk| get(store, &folder, chunk)).collect();
        let mut values = stream::iter(reads).buffered(AT_ONCE);
        for (identity, part) in &missing {
            let mut packed = Vec::new();
            for _ in part.chunks {
                let value = values.next().await.ok_or_else(other_length)??;
                packed.extend_from_slice(&value);
            }
            let text = unpack_up_to(&packed, left)?;
            left = left.saturating_sub(text.len() as u64);
            let sha256 = hex::encode(Sha256::digest(&text));
            let text = String::from_utf8(text)
                .map_err(|_| ProtocolError::Unpack("a part of it is not text".to_owned()))?;
            let kept = Kept {
                text: text.into(),
                sha256,
            };
            self.texts.insert(identity.clone(), kept);
        }
        Ok(())
    }
}

/// What tells the content of a part from another: hashes and lengths of its chunks.
fn identity(chunks: &[Chunk]) -> String {
    chunks
        .iter()
        .map(|chunk| format!("{}:{},", chunk.sha256, chunk.bytes))
        .collect()
}

/// The document as the 1.0 of the protocol has it: all chunks put together are packed.
async fn whole(store: &dyn Store, prefix: &str, manifest: &Manifest) -> Result<Vec<u8>, ProtocolError> {
    let folder = snapshot_prefix(prefix);
    let chunks = manifest.chunks.iter();
    let reads: Vec<_> = chunks.map(|chunk| get(store, &folder, chunk)).collect();
    let mut values = stream::iter(reads).buffered(AT_ONCE);
    let mut packed = Vec::new();
    while let Some(value) = values.next().await {
        packed.extend_from_slice(&value?);
    }
    unpack(&packed, manifest.bytes)
}

pub(super) async fn get(store: &dyn Store, folder: &str, chunk: &Chunk) -> Result<Bytes, ProtocolError> {
    let key = format!("{folder}{}", chunk.key);
    let what = match store.get(&key).await? {
        None => "is not there",
        Some(entry) => match fault(chunk, &entry.value) {
            Some(what) => what,
            None => return Ok(entry.value),
        },
    };
    Err(ProtocolError::Chunk { key, what })
}
