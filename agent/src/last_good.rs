//! The last good snapshot on disk: what is served after a start without the store.
//!
//! The file is a line `sha256:<64 digits>` over all that follows, then one JSON object. It is replaced whole:
//! a crash leaves the old one or the new one.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use weir_model::{Digest, Generation, Snapshot, wire};
use weir_store::protocol::DOCUMENT_BYTES_MAX;

/// Format of the file.
const FORMAT: u32 = 1;
/// Room for what is around the snapshot, in bytes.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
/// Written at a time, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// A snapshot that was applied. A copy costs nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Served {
    /// What the proxy was given.
    pub(crate) snapshot: Snapshot,
    /// Digest of the document it came from, which may have gateways that were refused.
    pub(crate) digest: Digest,
    /// Whether nothing of the document was refused on reading.
    pub(crate) complete: bool,
}

impl Served {
    /// Whether it is the same, by numbers and digests.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let key = |served: &Self| {
            let snapshot = &served.snapshot;
            (
                snapshot.generation(),
                snapshot.digest(),
                served.digest,
                served.complete,
            )
        };
        key(self) == key(other)
    }
}

#[derive(Deserialize)]
struct FileIn<'a> {
    format: u32,
    generation: Generation,
    digest: Digest,
    complete: bool,
    #[serde(borrow)]
    snapshot: &'a RawValue,
}

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(String),
}

#[derive(Clone, Debug)]
pub(crate) struct LastGood {
    path: PathBuf,
}

impl LastGood {
    pub(crate) fn in_folder(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join("last-good.json"),
        }
    }

    /// What was saved; `None` if nothing was.
    ///
    /// # Errors
    /// What is wrong with it; it is moved aside then.
    pub(crate) fn load(&self) -> Result<Option<Served>, String> {
        match self.read() {
            Ok(served) => Ok(served),
            Err(error) => {
                let aside = self.path.with_extension("json.corrupt");
                tracing::error!(
                    path = %self.path.display(),
                    aside = %aside.display(),
                    error = &error as &dyn std::error::Error,
                    "the last good snapshot on disk cannot be used and is moved aside"
                );
                if let Err(error) = fs::rename(&self.path, &aside) {
                    tracing::error!(%error, "it could not be moved aside");
                }
                Err(format!(
                    "the last good snapshot on disk cannot be used: {}",
                    crate::follow::chain(&error)
                ))
            }
        }
    }

    fn read(&self) -> Result<Option<Served>, LoadError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LoadError::Read(error)),
        };
        let limit = DOCUMENT_BYTES_MAX + ENVELOPE_BYTES_MAX;
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(LoadError::Read)?;
        if bytes.len() > limit {
            return Err(LoadError::Damaged(format!("it is longer than {limit} bytes")));
        }
        parse(&bytes).map(Some).map_err(LoadError::Damaged)
    }

    /// Replaces what was saved; on disk when it returns. Waits for the disk.
    pub(crate) fn save(&self, served: &Served) -> io::Result<()> {
        let fresh = self.path.with_extension("json.new");
        let checksum = Digest::of_pieces(
            pieces(served)
                .collect::<Vec<_>>()
                .iter()
                .map(|piece| piece.as_bytes()),
        );
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(&fresh)?);
        writeln!(file, "{checksum}")?;
        for piece in pieces(served) {
            file.write_all(piece.as_bytes())?;
        }
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&fresh, &self.path)?;
        match self.path.parent() {
            // The rename itself is on disk only with its folder.
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// What follows the checksum, without putting it together.
fn pieces(served: &Served) -> impl Iterator<Item = Cow<'_, str>> {
    let opening = format!(
        r#"{{"format":{FORMAT},"generation":{},"digest":"{}","complete":{},"snapshot":"#,
        served.snapshot.generation(),
        served.digest,
        served.complete
    );
    let snapshot = wire::v1::pieces(&served.snapshot);
    std::iter::once(Cow::Owned(opening))
        .chain(snapshot)
        .chain([Cow::Borrowed("}")])
}

fn parse(bytes: &[u8]) -> Result<Served, String> {
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or("it has no checksum")?;
    let (checksum, document) = bytes.split_at(end);
    let document = document.get(1..).unwrap_or_default();
    let checksum: Digest = std::str::from_utf8(checksum)
        .map_err(|error| error.to_string())?
        .parse()
        .map_err(|error: weir_model::DigestError| error.to_string())?;
    if Digest::of(document) != checksum {
        return Err("its content does not have its checksum".to_owned());
    }
    let file: FileIn<'_> = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    if file.format != FORMAT {
        return Err(format!(
            "it has format {}; this program knows {FORMAT}",
            file.format
        ));
    }
    let reading = wire::v1::read(file.snapshot.get().as_bytes()).map_err(|error| error.to_string())?;
    if let Some(refusal) = reading.refused.first() {
        tracing::warn!(
            gateway = refusal.gateway,
            reason = refusal.reason,
            "a gateway of the last good snapshot cannot be served by this version"
        );
    }
    Ok(Served {
        snapshot: reading.snapshot.with_generation(file.generation),
        digest: file.digest,
        complete: file.complete && reading.refused.is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use weir_model::{Digest, Gateway, GatewayName, Generation, Protocol, Snapshot, Sticky};

    use super::{LastGood, Served};

    fn served() -> Served {
        let gateway = Gateway {
            options: weir_model::GatewayOptions::default(),
            name: GatewayName::new("shop").unwrap(),
            protocol: Protocol::Http,
            listener: None,
            virtual_hosts: vec!["shop.example".to_owned()],
            sticky: Sticky::None,
            routes: Vec::new(),
        };
        Served {
            snapshot: Snapshot::new("test", Generation(7), vec![gateway]).unwrap(),
            digest: Digest::of(b"the document, which had more"),
            complete: false,
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood::in_folder(folder.path());
        assert_eq!(last_good.load(), Ok(None));
        last_good.save(&served()).unwrap();
        assert_eq!(last_good.load(), Ok(Some(served())));
    }

    #[test]
    fn any_damage_is_noticed_and_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood::in_folder(folder.path());
        last_good.save(&served()).unwrap();
        let path = folder.path().join("last-good.json");
        let whole = std::fs::read(&path).unwrap();
        let aside = folder.path().join("last-good.json.corrupt");
        for at in (0..whole.len()).step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(last_good.load().is_err(), "byte {at}");
            assert_eq!(std::fs::read(&aside).unwrap(), damaged);
            assert!(!path.exists());
        }
        std::fs::write(&path, whole.get(..whole.len() / 2).unwrap()).unwrap();
        assert!(last_good.load().is_err());
    }
}
