//! What agents serve, each under its own key and lease.

use bytes::Bytes;
use weir_model::{Acknowledgement, AgentId};

use super::{ProtocolError, trimmed};
use crate::{Expect, LeaseId, Revision, Store};

/// Longest acknowledgement in bytes: it must fit every store's value limit.
const ACKNOWLEDGEMENT_BYTES_MAX: usize = 256 * 1024;

/// What the keys of acknowledgements begin with.
pub fn agents_prefix(prefix: &str) -> String {
    match trimmed(prefix) {
        "" => "weir/agents/".to_owned(),
        prefix => format!("{prefix}/weir/agents/"),
    }
}

/// Full key of an agent's acknowledgement.
///
/// # Errors
/// [`ProtocolError::AgentId`] if the id cannot be part of a key.
pub fn acknowledgement_key(prefix: &str, agent: &AgentId) -> Result<String, ProtocolError> {
    let id = agent.as_str();
    let fits = id.len() <= 128
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !fits {
        return Err(ProtocolError::AgentId(id.chars().take(80).collect()));
    }
    Ok(format!("{}{id}", agents_prefix(prefix)))
}

/// Writes what an agent serves, bound to its lease.
///
/// # Errors
/// [`crate::StoreError::LeaseLost`] if the lease is over, else what the store says.
pub async fn acknowledge(
    store: &dyn Store,
    prefix: &str,
    lease: &LeaseId,
    acknowledgement: &Acknowledgement,
) -> Result<Revision, ProtocolError> {
    let key = acknowledgement_key(prefix, &acknowledgement.agent)?;
    let value = shortened(acknowledgement);
    Ok(store
        .put(&key, Bytes::from(value), Expect::Any, Some(lease))
        .await?)
}

/// Thousands of refusals are cut to what fits: the last one then says how many more there are.
fn shortened(acknowledgement: &Acknowledgement) -> Vec<u8> {
    let write = |acknowledgement: &Acknowledgement| {
        serde_json::to_vec(acknowledgement).expect("plain data with text keys always serialises")
    };
    let mut value = write(acknowledgement);
    let mut shorter = acknowledgement.clone();
    while value.len() > ACKNOWLEDGEMENT_BYTES_MAX && shorter.refused.len() > 1 {
        shorter.refused.truncate(shorter.refused.len() / 2);
        let more = acknowledgement.refused.len() - shorter.refused.len();
        let mut shown = shorter.clone();
        shown.refused.push(weir_model::Refusal {
            gateway: String::new(),
            reason: format!("and {more} more"),
        });
        value = write(&shown);
    }
    value
}

/// What every live agent serves, in order of ids. An acknowledgement that cannot be read is left out and logged.
///
/// # Errors
/// [`ProtocolError::Store`] if the store fails.
pub async fn agents(store: &dyn Store, prefix: &str) -> Result<Vec<Acknowledgement>, ProtocolError> {
    let (entries, _) = store.list(&agents_prefix(prefix)).await?;
    let read = entries.into_iter().filter_map(|entry| {
        serde_json::from_slice(&entry.value)
            .inspect_err(|error| tracing::warn!(key = entry.key, %error, "an acknowledgement cannot be read"))
            .ok()
    });
    Ok(read.collect())
}
