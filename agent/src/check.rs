//! Checks a file without serving it.

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use weir_model::{Generation, Snapshot, wire};

/// Longest file in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

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

/// As [`file()`], for what a file would hold.
///
/// # Errors
/// As [`file()`].
pub fn bytes(bytes: &[u8]) -> Result<Sound, Vec<String>> {
    if is_snapshot(bytes) {
        let reading = wire::v1::read(bytes).map_err(|error| vec![error.to_string()])?;
        if !reading.refused.is_empty() {
            let reasons = reading.refused.iter();
            return Err(reasons
                .map(|refusal| format!("gateway `{}`: {}", refusal.gateway, refusal.reason))
                .collect());
        }
        return Ok(Sound {
            kind: "snapshot",
            gateways: reading.snapshot.gateways().len(),
        });
    }
    let gateways = weir_store::file::read_gateways(bytes)?;
    let snapshot = Snapshot::new("check", Generation(1), gateways)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    Ok(Sound {
        kind: "document",
        gateways: snapshot.gateways().len(),
    })
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

#[cfg(test)]
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
