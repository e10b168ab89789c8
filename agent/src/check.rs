//! Checks a file, or what a store has published, without serving it: read as agents read it, compiled by the compiler of
//! the data plane.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;
use weir_model::{Generation, Refusal, Snapshot, wire};
use weir_proxy::Proxy;
use weir_store::protocol;

use crate::follow::{chain, within};

/// Longest file in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest wait for a store.
const STORE_TIMEOUT: Duration = Duration::from_secs(15);

/// What a sound file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// `document` or `snapshot`.
    pub kind: &'static str,
    /// How many gateways it has.
    pub gateways: usize,
}

/// Checks a document of gateways (YAML or JSON, as the `file` store reads it) or a published snapshot (JSON).
///
/// # Errors
/// Every reason why it would be refused, for people.
pub fn file(path: &Path) -> Result<Sound, Vec<String>> {
    let unreadable = |error: std::io::Error| vec![format!("it cannot be read: {error}")];
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(vec![format!("it is longer than {FILE_BYTES_MAX} bytes")]);
    }
    bytes(&std::fs::read(path).map_err(unreadable)?)
}

/// Whether this is meant as the address of a store.
pub fn is_store(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty() && scheme.len() > 1 && scheme.bytes().all(|byte| byte.is_ascii_alphabetic())
    })
}

/// Checks what is published in the store at an address, as an agent would take it.
///
/// # Errors
/// Why it would be refused, or why the store cannot be read.
pub async fn store(url: &str, prefix: &str) -> Result<Sound, Vec<String>> {
    let one = |reason: String| vec![reason];
    let url = url.to_owned();
    let opened = tokio::task::spawn_blocking(move || weir_store::connect(&url)).await;
    let store = opened
        .map_err(|error| one(error.to_string()))?
        .map_err(|error| one(chain(&error)))?;
    let mut reader = protocol::Reader::new();
    let published = within(STORE_TIMEOUT, reader.read(&*store, prefix))
        .await
        .map_err(|error| one(chain(&error)))?
        .ok_or_else(|| one(format!("nothing is published below `{prefix}`")))?;
    let reading = wire::v1::Reader::default()
        .read(&published.document)
        .map_err(|error| one(error.to_string()))?;
    let inside = (reading.snapshot.generation(), reading.digest);
    if inside != (published.generation, published.digest) {
        return Err(one(format!(
            "the manifest says generation {} and {}, the document generation {} and {}",
            published.generation, published.digest, inside.0, inside.1
        )));
    }
    compiled("snapshot", &reading.snapshot, reading.refused)
}

/// As [`file()`], for what a file would hold.
///
/// # Errors
/// As [`file()`].
pub fn bytes(bytes: &[u8]) -> Result<Sound, Vec<String>> {
    if is_snapshot(bytes) {
        let reading = wire::v1::read(bytes).map_err(|error| vec![error.to_string()])?;
        return compiled("snapshot", &reading.snapshot, reading.refused);
    }
    let gateways = gateways(bytes)?;
    let snapshot = Snapshot::new("check", Generation(1), gateways)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    compiled("document", &snapshot, Vec::new())
}

#[cfg(feature = "file")]
fn gateways(bytes: &[u8]) -> Result<Vec<weir_model::Gateway>, Vec<String>> {
    weir_store::file::read_gateways(bytes)
}

#[cfg(not(feature = "file"))]
fn gateways(_: &[u8]) -> Result<Vec<weir_model::Gateway>, Vec<String>> {
    Err(vec![
        "it is no snapshot, and this build was made without the feature `file`".to_owned(),
    ])
}

/// What the compiler of the data plane says, and what reading said before.
fn compiled(
    kind: &'static str,
    snapshot: &Snapshot,
    mut refused: Vec<Refusal>,
) -> Result<Sound, Vec<String>> {
    refused.extend(Proxy::check(snapshot).map_err(|error| vec![chain(&error)])?);
    if refused.is_empty() {
        return Ok(Sound {
            kind,
            gateways: snapshot.gateways().len(),
        });
    }
    let reasons = refused.iter();
    Err(reasons
        .map(|refusal| format!("gateway `{}`: {}", refusal.gateway, refusal.reason))
        .collect())
}

/// A snapshot is JSON with a digest; a person's document has none.
fn is_snapshot(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Snapshot<'a> {
        #[serde(borrow)]
        #[expect(dead_code, reason = "only its presence counts")]
        digest: &'a RawValue,
    }
    serde_json::from_slice::<Snapshot<'_>>(bytes).is_ok()
}

#[cfg(all(test, feature = "file"))]
mod tests {
    use super::{Sound, bytes};

    #[test]
    fn documents_and_snapshots_are_told_apart() {
        let document = b"gateways: {shop: {port: 8080, routes: {a: {instances: ['127.0.0.1:1']}}}}";
        let sound = |kind| Ok(Sound { kind, gateways: 1 });
        assert_eq!(bytes(document), sound("document"));
        let gateways = weir_store::file::read_gateways(document).unwrap();
        let snapshot = weir_model::Snapshot::new("x", weir_model::Generation(1), gateways).unwrap();
        let written = weir_model::wire::v1::write(&snapshot);
        assert_eq!(bytes(&written), sound("snapshot"));

        let text = String::from_utf8(written).unwrap().replace("10000", "9000");
        assert!(bytes(text.as_bytes()).unwrap_err()[0].contains("digest"));
        let reasons = bytes(b"gateways: {shop: {prot: 1, sticky: x, routes: {}}}").unwrap_err();
        assert!(reasons.len() > 1, "every reason is told: {reasons:?}");
    }
}
