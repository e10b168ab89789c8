//! What a key may be.

use crate::StoreError;

/// Longest key in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 1024;

/// Refuses what cannot be a key of any store.
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(refused(key, "it is empty"));
    }
    check_prefix(key)
}

/// As [`check_key`], for what keys begin with.
pub(crate) fn check_prefix(key: &str) -> Result<(), StoreError> {
    let reason = if key.len() > KEY_BYTES_MAX {
        "it is longer than 1024 bytes"
    } else if key.starts_with('/') {
        "it begins with a slash"
    } else if key.contains('\0') {
        "it contains a zero byte"
    } else {
        return Ok(());
    };
    Err(refused(key, reason))
}

/// As [`check_key`], for stores whose keys are paths: every part has a name.
#[cfg(any(feature = "consul", feature = "zookeeper"))]
pub(crate) fn check_path(key: &str) -> Result<(), StoreError> {
    check_key(key)?;
    if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(refused(
            key,
            "this store's keys are paths: no part may be empty, `.` or `..`",
        ));
    }
    Ok(())
}

pub(crate) fn refused(key: &str, reason: &'static str) -> StoreError {
    StoreError::InvalidKey {
        key: key.chars().take(80).collect(),
        reason: reason.into(),
    }
}
