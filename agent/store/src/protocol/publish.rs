//! Publishing: chunks first, manifest last, then what nobody reads any more is removed.

use bytes::Bytes;
use weir_model::{Generation, Snapshot};

use super::{
    ProtocolError,
    chunk::{generation_in, pack},
    manifest::{CHUNKS, manifest, manifest_key, snapshot_prefix},
};
use crate::{Expect, Revision, Store, StoreError};

/// Publishes a snapshot if the manifest is still where `expect` says (`None`: there is none), and gives the
/// manifest's new place. The chunks of the generation before stay until the next publication.
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
    let packed = pack(snapshot, store.capabilities().value_bytes_max)?;
    let folder = snapshot_prefix(prefix);
    for (chunk, value) in packed.manifest.chunks.iter().zip(&packed.chunks) {
        let key = format!("{folder}{}", chunk.key);
        store.put(&key, value.clone(), Expect::Any, None).await?;
    }
    let key = manifest_key(prefix);
    let value = serde_json::to_vec(&packed.manifest).expect("plain data with text keys always serialises");
    let expect = expect.map_or(Expect::Absent, Expect::At);
    let revision = match store.put(&key, Bytes::from(value), expect, None).await {
        Ok(revision) => revision,
        Err(StoreError::Conflict { found, .. }) => return Err(ProtocolError::Outdated { found }),
        Err(error) => return Err(error.into()),
    };
    let oldest = published.map_or(snapshot.generation(), |published| published.generation);
    if let Err(error) = remove_before(store, &folder, oldest).await {
        tracing::warn!(%error, "chunks of old snapshots could not be removed; the next publication tries again");
    }
    Ok(revision)
}

/// Removes the chunks of generations before `oldest`. Those of a publication that has failed or is under way
/// are newer and stay.
async fn remove_before(store: &dyn Store, folder: &str, oldest: Generation) -> Result<(), StoreError> {
    for chunk in store.keys(&format!("{folder}{CHUNKS}")).await? {
        let generation = chunk.strip_prefix(folder).and_then(generation_in);
        if generation.is_some_and(|generation| generation < oldest) {
            store.delete(&chunk, Expect::Any).await?;
        }
    }
    Ok(())
}
