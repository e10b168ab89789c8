//! Cutting, packing and checking.

use std::io::{Cursor, Read as _};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use weir_model::{Digest, Generation, Snapshot, wire};

use super::{
    DOCUMENT_BYTES_MAX, ProtocolError,
    manifest::{CHUNKS, CHUNKS_MAX, Chunk, ENCODING, Manifest, VERSION},
};

/// Longest chunk in bytes; less where the store's value limit is less (Consul).
pub(super) const CHUNK_BYTES_MAX: usize = 384 * 1024;
/// Effort of packing; higher levels gain little on such documents.
const LEVEL: i32 = 3;

/// A snapshot as it lies in a store: the manifest, and the chunks in its order.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) manifest: Manifest,
    pub(crate) chunks: Vec<Bytes>,
}

pub(crate) fn pack(snapshot: &Snapshot, chunk_bytes_max: usize) -> Result<Packed, ProtocolError> {
    let document = wire::v1::write(snapshot);
    let bytes = document.len() as u64;
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(ProtocolError::TooLarge { bytes });
    }
    let packed =
        zstd::bulk::compress(&document, LEVEL).map_err(|error| ProtocolError::Unpack(error.to_string()))?;
    let packed = Bytes::from(packed);
    let size = chunk_bytes_max.clamp(1, CHUNK_BYTES_MAX);
    let count = packed.len().div_ceil(size);
    if count > CHUNKS_MAX {
        return Err(ProtocolError::TooLarge { bytes });
    }
    let folder = folder(snapshot.generation(), &snapshot.digest());
    let mut manifest = Manifest {
        version: VERSION.to_owned(),
        generation: snapshot.generation(),
        digest: snapshot.digest(),
        encoding: ENCODING.to_owned(),
        bytes,
        chunks: Vec::with_capacity(count),
    };
    let mut chunks = Vec::with_capacity(count);
    for number in 0..count {
        let end = packed.len().min((number + 1) * size);
        let chunk = packed.slice(number * size..end);
        manifest.chunks.push(Chunk {
            key: format!("{folder}{number}"),
            bytes: chunk.len() as u64,
            sha256: hex::encode(Sha256::digest(&chunk)),
        });
        chunks.push(chunk);
    }
    Ok(Packed { manifest, chunks })
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

pub(super) fn unpack(packed: Vec<u8>, bytes: u64) -> Result<Vec<u8>, ProtocolError> {
    let wrong = |error: std::io::Error| ProtocolError::Unpack(error.to_string());
    let decoder = zstd::stream::read::Decoder::new(Cursor::new(packed)).map_err(wrong)?;
    let mut document = Vec::new();
    // One byte more than promised is enough to see that there is more.
    decoder
        .take(bytes.min(DOCUMENT_BYTES_MAX as u64) + 1)
        .read_to_end(&mut document)
        .map_err(wrong)?;
    if document.len() as u64 != bytes {
        return Err(ProtocolError::Unpack(
            "it has another length than the manifest says".to_owned(),
        ));
    }
    Ok(document)
}
