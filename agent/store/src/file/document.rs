//! From the file's bytes to gateways.

use std::{fs::File, io::Read as _, path::Path};

use weir_model::{Gateway, document};

use super::yaml;

/// Longest document in bytes.
const DOCUMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Reads the gateways of a file.
pub(super) fn gateways(path: &Path) -> Result<Vec<Gateway>, Vec<String>> {
    let bytes = load(path).map_err(|reason| vec![reason])?;
    read_gateways(&bytes)
}

fn load(path: &Path) -> Result<Vec<u8>, String> {
    let named = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(named)?
        .take(DOCUMENT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(named)?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(format!(
            "{} is longer than {DOCUMENT_BYTES_MAX} bytes",
            path.display()
        ));
    }
    Ok(bytes)
}

/// Reads a document of gateways in YAML or JSON (which is YAML as well).
///
/// # Errors
/// Every fault, for people.
pub fn read_gateways(bytes: &[u8]) -> Result<Vec<Gateway>, Vec<String>> {
    let text = std::str::from_utf8(bytes).map_err(|error| vec![format!("it is not UTF-8 text: {error}")])?;
    let value = yaml::read(text).map_err(|error| vec![error.to_string()])?;
    document::read(value).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}
