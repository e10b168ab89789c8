//! Cutting, packing and checking.

use std::{
    collections::HashMap,
    io::{Cursor, Read as _},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use weir_model::{Digest, Generation, Snapshot, wire::v1};

use super::{
    DOCUMENT_BYTES_MAX, ProtocolError,
    manifest::{CHUNKS, CHUNKS_MAX, Chunk, ENCODING, Manifest, Packing, VERSION_SECTIONS, VERSION_WHOLE},
};

/// Longest chunk in bytes; less where the store's value limit is less (Consul).
pub(super) const CHUNK_BYTES_MAX: usize = 384 * 1024;
/// Effort of packing; higher levels gain little on such documents.
const LEVEL: i32 = 3;
/// A document shorter than this in bytes is packed as one: cutting it would cost more than it saves.
const SECTIONS_FROM_BYTES: usize = 64 * 1024;

/// A snapshot as it is to lie in a store: the manifest, and those of its chunks that are not there yet.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) manifest: Manifest,
    /// Keys as in the manifest, with what is to be written there.
    pub(crate) fresh: Vec<(String, Bytes)>,
}

/// Packs a snapshot. Parts that `base`, which is in the store, has as well are taken as they lie there, as long as `is_there` says of
/// their chunks' keys.
pub(crate) fn pack(
    snapshot: &Snapshot,
    chunk_bytes_max: usize,
    base: Option<&Manifest>,
    is_there: impl Fn(&str) -> bool,
) -> Result<Packed, ProtocolError> {
    let bytes = v1::bytes(snapshot);
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(ProtocolError::TooLarge { bytes: bytes as u64 });
    }
    let mut packing = Packer::new(snapshot, chunk_bytes_max, bytes);
    if is_packed_as_one(snapshot) {
        packing.whole(&v1::write(snapshot))?;
        return packing.end(VERSION_WHOLE);
    }
    let parts = base.and_then(Manifest::parts).unwrap_or_default();
    for part in parts {
        if part.chunks.iter().all(|chunk| is_there(&chunk.key)) {
            packing.base.insert((part.text, part.gateways), part);
        }
    }
    packing.part(&v1::head(snapshot.namespace()), None, None)?;
    for (index, section) in snapshot.sections().iter().enumerate() {
        let count = u32::try_from(section.gateways().len()).unwrap_or(u32::MAX);
        if index == 0 {
            packing.part(section.text_of_first(), None, Some(count))?;
        } else {
            packing.part(section.text(), Some(section.sha256()), Some(count))?;
        }
    }
    packing.part(&v1::tail(snapshot.generation(), snapshot.digest()), None, None)?;
    packing.end(VERSION_SECTIONS)
}

/// Whether the document is too short to be cut into sections.
pub(super) fn is_packed_as_one(snapshot: &Snapshot) -> bool {
    v1::bytes(snapshot) < SECTIONS_FROM_BYTES
}

struct Packer<'b> {
    size: usize,
    folder: String,
    manifest: Manifest,
    fresh: Vec<(String, Bytes)>,
    /// By text and number of gateways.
    base: HashMap<(&'b str, Option<u32>), Packing<'b>>,
}

impl<'b> Packer<'b> {
    fn new(snapshot: &Snapshot, chunk_bytes_max: usize, bytes: usize) -> Self {
        Self {
            size: chunk_bytes_max.clamp(1, CHUNK_BYTES_MAX),
            folder: folder(snapshot.generation(), &snapshot.digest()),
            manifest: Manifest {
                version: String::new(),
                generation: snapshot.generation(),
                digest: snapshot.digest(),
                encoding: ENCODING.to_owned(),
                bytes: bytes as u64,
                chunks: Vec::new(),
                retired: None,
            },
            fresh: Vec::new(),
            base: HashMap::new(),
        }
    }

    /// A document that is packed as one. What lies at its keys follows from the snapshot alone.
    fn whole(&mut self, document: &[u8]) -> Result<(), ProtocolError> {
        for (number, chunk) in self.packed(document)?.into_iter().enumerate() {
            self.add(&chunk, &number.to_string());
        }
        Ok(())
    }

    /// One part of a document in sections.
    fn part(
        &mut self,
        text: &str,
        sha256: Option<[u8; 32]>,
        gateways: Option<u32>,
    ) -> Result<(), ProtocolError> {
        let sha256 = sha256.unwrap_or_else(|| Sha256::digest(text.as_bytes()).into());
        let sha256 = hex::encode(sha256);
        if let Some(same) = self.base.get(&(sha256.as_str(), gateways)) {
            self.manifest.chunks.extend_from_slice(same.chunks);
            return Ok(());
        }
        let first = self.manifest.chunks.len();
        for chunk in self.packed(text.as_bytes())? {
            // Named by its content: whoever writes there, however late, writes the same.
            let name = hex::encode(Sha256::digest(&chunk))
                .chars()
                .take(16)
                .collect::<String>();
            self.add(&chunk, &name);
        }
        if let Some(first) = self.manifest.chunks.get_mut(first) {
            first.text = Some(sha256);
            first.gateways = gateways;
        }
        Ok(())
    }

    fn packed(&self, text: &[u8]) -> Result<Vec<Bytes>, ProtocolError> {
        let packed =
            zstd::bulk::compress(text, LEVEL).map_err(|error| ProtocolError::Unpack(error.to_string()))?;
        let packed = Bytes::from(packed);
        let cut = (0..packed.len()).step_by(self.size);
        Ok(cut
            .map(|start| packed.slice(start..packed.len().min(start + self.size)))
            .collect())
    }

    fn add(&mut self, value: &Bytes, name: &str) {
        let key = format!("{}{name}", self.folder);
        self.manifest.chunks.push(Chunk {
            key: key.clone(),
            bytes: value.len() as u64,
            sha256: hex::encode(Sha256::digest(value)),
            text: None,
            gateways: None,
        });
        self.fresh.push((key, value.clone()));
    }

    fn end(mut self, version: &str) -> Result<Packed, ProtocolError> {
        if self.manifest.chunks.len() > CHUNKS_MAX {
            return Err(ProtocolError::TooLarge {
                bytes: self.manifest.bytes,
            });
        }
        version.clone_into(&mut self.manifest.version);
        Ok(Packed {
            manifest: self.manifest,
            fresh: self.fresh,
        })
    }
}

fn folder(generation: Generation, digest: &Digest) -> String {
    format!("{CHUNKS}{generation}-{}/", digest.short())
}

/// Generation that a chunk's key (relative to the snapshot's folder) names.
pub(super) fn generation_in(key: &str) -> Option<Generation> {
    let folder = key.strip_prefix(CHUNKS)?;
    folder.split_once('-')?.0.parse().ok().map(Generation)
}

/// What is wrong with a chunk, if anything.
pub(super) fn fault(chunk: &Chunk, value: &[u8]) -> Option<&'static str> {
    if value.len() as u64 != chunk.bytes {
        return Some("has another length than the manifest says");
    }
    let sha256 = hex::encode(Sha256::digest(value));
    if !sha256.eq_ignore_ascii_case(&chunk.sha256) {
        return Some("has another hash than the manifest says");
    }
    None
}

/// Unpacks a whole document of this length.
pub(super) fn unpack(packed: &[u8], bytes: u64) -> Result<Vec<u8>, ProtocolError> {
    let document = unpack_up_to(packed, bytes)?;
    if document.len() as u64 != bytes {
        return Err(other_length());
    }
    Ok(document)
}

/// Unpacks what is at most so many bytes.
pub(super) fn unpack_up_to(packed: &[u8], bytes_max: u64) -> Result<Vec<u8>, ProtocolError> {
    let wrong = |error: std::io::Error| ProtocolError::Unpack(error.to_string());
    let decoder = zstd::stream::read::Decoder::new(Cursor::new(packed)).map_err(wrong)?;
    let mut text = Vec::new();
    let bytes_max = bytes_max.min(DOCUMENT_BYTES_MAX as u64);
    // One byte more than promised is enough to see that there is more.
    decoder
        .take(bytes_max + 1)
        .read_to_end(&mut text)
        .map_err(wrong)?;
    if text.len() as u64 > bytes_max {
        return Err(other_length());
    }
    Ok(text)
}

pub(super) fn other_length() -> ProtocolError {
    ProtocolError::Unpack("it has another length than the manifest says".to_owned())
}
