//! Publishing: chunks first, manifest last, then what nobody reads any more is removed.
//!
//! A part of the document that the published manifest has as well (equal text) is named where it lies: it is neither packed nor written.
//! That is sound whoever publishes at the same time, and wherever a publisher dies:
//!
//! - **What a manifest names stays as long as it, or the one right after it, is the manifest.** Only who has just put manifest `n` by
//!   compare-and-set on `n - 1` removes chunks, and only such as neither `n` nor `n - 1` names. Whatever comes after `n` is
//!   built on `n` (its writer read `n`, or its own compare-and-set fails): it names chunks of `n`, and new ones. New ones lie
//!   under a generation above that of `n`, and nothing above that of `n - 1` is ever removed. So a removal, however late it
//!   comes, meets no chunk that a later manifest names. A reader that has just taken `n - 1` finishes.
//! - **Who loses the compare-and-set has changed nothing.** It has written chunks under its own generation, which nobody names,
//!   and removes nothing.
//! - **Nothing is overwritten by something else.** A chunk of a document in sections is named by generation, digest and its own hash; those of a
//!   document that is packed as one follow from generation and digest. A write that arrives late, or twice, writes what is
//!   there.
//! - **A publisher that dies** before the manifest is written leaves the old one, whole. After that, it leaves chunks that nobody names:
//!   the manifest lists in `retired` those that it replaced, so that a later publisher removes them; those that were about to be
//!   removed, and those that no manifest lists, are found by looking through all keys now and then.
//!
//! Looking through all keys costs more than a change; it is done when the document is packed as one (there are few), when the
//! manifest before does not say what it replaced, when a generation is missing between it and this one, and every
//! 64th generation. Then it is also seen whether what is to be named is there and is what it should be: what is not is written again.
//! [`publish_anew`] is for who has found out before.

use std::collections::HashSet;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use weir_model::Snapshot;

use super::{
    ProtocolError,
    chunk::{generation_in, is_packed_as_one, pack},
    manifest::{CHUNKS, MANIFEST_BYTES_MAX, Manifest, manifest, manifest_key, snapshot_prefix},
    read::get,
};
use crate::{Expect, Revision, Store, StoreError};

/// Chunks that are written, read or removed at a time.
pub(super) const AT_ONCE: usize = 8;
/// Retired chunks are removed when they are at least so many.
const RETIRED_MIN: usize = 16;
/// Room in a manifest for what is added to it afterwards ([`super::mark`]).
const ADDED_BYTES_MAX: usize = 1024;
/// Every generation that is a multiple of this looks through all keys.
const LOOK_THROUGH_EVERY: u64 = 64;

/// Publishes a snapshot if the manifest is still where `expect` says (`None`: there is none), and gives the
/// manifest's new place. The chunks of the manifest before stay until a later publication.
///
/// Who publishes chooses a generation above the published one and above those that agents acknowledge: an
/// agent never goes back.
///
/// # Errors
/// [`ProtocolError::Outdated`] if somebody else published, [`ProtocolError::NotNewer`] if the generation does
/// not grow, else what the store says. Readers see the old snapshot then.
pub async fn publish(
    store: &dyn Store,
    prefix: &str,
    snapshot: &Snapshot,
    expect: Option<Revision>,
) -> Result<Revision, ProtocolError> {
    // A manifest that cannot be read is replaced: its revision must still be the expected one.
    let published = match manifest(store, prefix).await {
        Ok(published) => published.map(|(manifest, _)| manifest),
        Err(error) if error.is_content() => {
            tracing::warn!(%error, "the published manifest cannot be read and is replaced");
            None
        }
        Err(error) => return Err(error),
    };
    if let Some(published) = &published
        && published.generation >= snapshot.generation()
    {
        return Err(ProtocolError::NotNewer {
            published: published.generation,
            new: snapshot.generation(),
        });
    }
    publish_over(store, prefix, snapshot, published.as_ref(), expect).await
}

/// As [`publish`], but takes nothing for granted that lies there: every chunk is written anew, under keys of its own. For a
/// publication that cannot be read whole.
///
/// # Errors
/// As [`publish`].
pub async fn publish_anew(
    store: &dyn Store,
    prefix: &str,
    snapshot: &Snapshot,
    expect: Option<Revision>,
) -> Result<Revision, ProtocolError> {
    match manifest(store, prefix).await {
        Ok(Some((published, _))) if published.generation >= snapshot.generation() => {
            return Err(ProtocolError::NotNewer {
                published: published.generation,
                new: snapshot.generation(),
            });
        }
        Err(error) if !error.is_content() => return Err(error),
        _ => {}
    }
    publish_over(store, prefix, snapshot, None, expect).await
}

async fn publish_over(
    store: &dyn Store,
    prefix: &str,
    snapshot: &Snapshot,
    published: Option<&Manifest>,
    expect: Option<Revision>,
) -> Result<Revision, ProtocolError> {
    let folder = snapshot_prefix(prefix);
    let limit = store.capabilities().value_bytes_max;
    let present = if published.is_none_or(|published| looks_through(published, snapshot)) {
        Some(keys_there(store, &folder).await?)
    } else {
        None
    };
    let damaged = match (&present, published) {
        (Some(present), Some(published)) => damaged(store, &folder, published, present).await?,
        _ => HashSet::new(),
    };
    let is_there =
        |key: &str| present.as_ref().is_none_or(|present| present.contains(key)) && !damaged.contains(key);
    let packed = pack(snapshot, limit, published, is_there)?;
    let mut new = packed.manifest;
    let fresh = packed.fresh.into_iter();
    let writes: Vec<_> = fresh
        .map(|(name, value)| write(store, &folder, name, value))
        .collect();
    let mut writes = stream::iter(writes).buffer_unordered(AT_ONCE);
    while writes.try_next().await?.is_some() {}

    let idle = Idle::of(&new, published, present.as_ref());
    new.retired = idle.retired(&new, published);
    let value = value_of(&mut new);
    let expect = expect.map_or(Expect::Absent, Expect::At);
    let revision = match store.put(&manifest_key(prefix), value, expect, None).await {
        Ok(revision) => revision,
        Err(StoreError::Conflict { found, .. }) => return Err(ProtocolError::Outdated { found }),
        Err(error) => return Err(error.into()),
    };
    if let Err(error) = remove(store, &folder, idle.removed).await {
        tracing::warn!(%error, "chunks of old snapshots could not be removed; a later publication tries again");
    }
    Ok(revision)
}

/// Whether all keys are to be looked through when `snapshot` is to follow `published`.
fn looks_through(published: &Manifest, snapshot: &Snapshot) -> bool {
    is_packed_as_one(snapshot)
        || published.retired.is_none()
        || snapshot.generation() != published.generation.next()
        || snapshot.generation().0.is_multiple_of(LOOK_THROUGH_EVERY)
}

/// Keys of the chunks that are there, relative to the snapshot's folder.
async fn keys_there(store: &dyn Store, folder: &str) -> Result<HashSet<String>, StoreError> {
    let keys = store.keys(&format!("{folder}{CHUNKS}")).await?;
    let relative = keys.iter().filter_map(|key| key.strip_prefix(folder));
    Ok(relative.map(str::to_owned).collect())
}

/// Keys of the chunks that are there and hold something else than the manifest says.
async fn damaged(
    store: &dyn Store,
    folder: &str,
    published: &Manifest,
    present: &HashSet<String>,
) -> Result<HashSet<String>, ProtocolError> {
    let reads: Vec<_> = published
        .chunks
        .iter()
        .filter(|chunk| present.contains(&chunk.key))
        .map(|chunk| async { (chunk.key.clone(), get(store, folder, chunk).await) })
        .collect();
    let mut reads = stream::iter(reads).buffer_unordered(AT_ONCE);
    let mut damaged = HashSet::new();
    while let Some((key, outcome)) = reads.next().await {
        match outcome {
            Ok(_) => {}
            Err(ProtocolError::Chunk { .. }) => {
                damaged.insert(key);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}

/// Chunks that neither the new manifest names nor the one before.
struct Idle {
    removed: Vec<String>,
    /// Few: left for a later publication.
    left: Vec<String>,
}

impl Idle {
    fn of(new: &Manifest, published: Option<&Manifest>, present: Option<&HashSet<String>>) -> Self {
        let manifests = published.into_iter().chain([new]);
        let named: HashSet<&str> = manifests.flat_map(keys).collect();
        let is_idle = |key: &&String| !named.contains(key.as_str());
        if let Some(present) = present {
            // Those of a publication that has failed or is under way may be newer: they stay.
            let is_old = |key: &&String| {
                generation_in(key).is_some_and(|generation| match published {
                    Some(published) => generation <= published.generation,
                    None => generation < new.generation,
                })
            };
            return Self {
                removed: present.iter().filter(is_old).filter(is_idle).cloned().collect(),
                left: Vec::new(),
            };
        }
        let retired = published.into_iter().flat_map(|published| &published.retired);
        let idle: Vec<String> = retired.flatten().filter(is_idle).cloned().collect();
        if idle.len() < RETIRED_MIN {
            Self {
                removed: Vec::new(),
                left: idle,
            }
        } else {
            Self {
                removed: idle,
                left: Vec::new(),
            }
        }
    }

    /// What `new` is to say of chunks that it does not name.
    fn retired(&self, new: &Manifest, published: Option<&Manifest>) -> Option<Vec<String>> {
        // A document that is packed as one is of 1.0.
        new.parts()?;
        let named: HashSet<&str> = keys(new).collect();
        let replaced = published
            .into_iter()
            .flat_map(keys)
            .filter(|key| !named.contains(key));
        let left = self.left.iter().map(String::as_str);
        Some(left.chain(replaced).map(str::to_owned).collect())
    }
}

fn keys(manifest: &Manifest) -> impl Iterator<Item = &str> {
    manifest.chunks.iter().map(|chunk| chunk.key.as_str())
}

/// The manifest as it is written. What would make it too long to be read is left out.
fn value_of(manifest: &mut Manifest) -> Bytes {
    let write = |manifest: &Manifest| {
        serde_json::to_vec(manifest).expect("plain data with text keys always serialises")
    };
    let mut value = write(manifest);
    if value.len() > MANIFEST_BYTES_MAX - ADDED_BYTES_MAX {
        manifest.retired = None;
        value = write(manifest);
    }
    value.into()
}

async fn remove(store: &dyn Store, folder: &str, keys: Vec<String>) -> Result<(), StoreError> {
    let keys = keys.into_iter();
    let removals: Vec<_> = keys.map(|name| remove_one(store, folder, name)).collect();
    let mut removals = stream::iter(removals).buffer_unordered(AT_ONCE);
    while removals.try_next().await?.is_some() {}
    Ok(())
}

async fn remove_one(store: &dyn Store, folder: &str, name: String) -> Result<bool, StoreError> {
    store.delete(&format!("{folder}{name}"), Expect::Any).await
}

async fn write(store: &dyn Store, folder: &str, name: String, value: Bytes) -> Result<Revision, StoreError> {
    store
        .put(&format!("{folder}{name}"), value, Expect::Any, None)
        .await
}
