//! Marks of who leads, on the manifest.
//!
//! A control that takes over marks the manifest before anything else: whoever read it before can then no longer write over
//! it, since publishing is a compare-and-set on the manifest's place. Readers ignore the field; a publication leaves it out.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{ProtocolError, manifest::MANIFEST_BYTES_MAX, manifest_key};
use crate::{Expect, Store};

/// Name of the field.
const FIELD: &str = "epoch";

/// The epoch that the manifest is marked with; `None`: it is not, or there is none that can be read.
///
/// # Errors
/// [`ProtocolError::Store`] if the store fails.
pub async fn epoch(store: &dyn Store, prefix: &str) -> Result<Option<u64>, ProtocolError> {
    let entry = store.get(&manifest_key(prefix)).await?;
    let fields = entry.and_then(|entry| serde_json::from_slice::<Map<String, Value>>(&entry.value).ok());
    Ok(fields.and_then(|fields| fields.get(FIELD)?.as_u64()))
}

/// Marks the manifest, which stays as it is otherwise. One that is not there or cannot be read is left alone: who
/// publishes next replaces it.
///
/// # Errors
/// [`crate::StoreError::Conflict`] if somebody else wrote it meanwhile, else what the store says.
pub async fn mark(store: &dyn Store, prefix: &str, epoch: u64) -> Result<(), ProtocolError> {
    let key = manifest_key(prefix);
    let Some(entry) = store.get(&key).await? else {
        return Ok(());
    };
    let Ok(mut fields) = serde_json::from_slice::<Map<String, Value>>(&entry.value) else {
        return Ok(());
    };
    fields.insert(FIELD.to_owned(), epoch.into());
    let mut value = Value::Object(fields.clone()).to_string();
    if value.len() > MANIFEST_BYTES_MAX {
        // Only publishers read it, and they can do without.
        fields.remove("retired");
        value = Value::Object(fields).to_string();
    }
    let value = Bytes::from(value);
    store.put(&key, value, Expect::At(entry.revision), None).await?;
    Ok(())
}
