//! TLS of the API's listener.
//!
//! **Invariants.** A certificate that cannot be used is an error at the start; later, when the files change, it
//! is a line in the log and the one before goes on being served. Connections keep what they began with.
//!
//! **Absent.** No client certificates: tokens say who is there. No HTTP/2: streams of events would need nothing
//! of it.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{TlsFiles, reconcile::chain};

/// Between two looks at the files: a new certificate is served so much later at most.
const PERIOD: Duration = Duration::from_secs(2);
/// Longest file in bytes.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// Why the certificate cannot be used.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// There is no certificate in the file.
    #[error("{} holds no PEM certificate", .0.display())]
    NoCertificate(PathBuf),
    /// There is no private key in the file.
    #[error("{} holds no PEM private key", .0.display())]
    NoKey(PathBuf),
    /// The key belongs to another certificate.
    #[error("the key in {} is not that of the certificate in {}", .key.display(), .certificate.display())]
    OtherKey { certificate: PathBuf, key: PathBuf },
    /// Anything else that the library does not like.
    #[error("the certificate in {} and the key in {} cannot be used", .certificate.display(), .key.display())]
    Refused {
        certificate: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
}

/// What is served at the moment.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    /// What was read last, good or bad, so that each fault is told once.
    seen: Mutex<Result<Pems, String>>,
}

/// Texts of both files.
#[derive(Clone, PartialEq, Eq)]
struct Pems {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Keys are not printed by accident.
impl std::fmt::Debug for Pems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pems")
    }
}

impl Tls {
    /// Reads both files. Blocks on the disk.
    pub(crate) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let pems = Pems::read(&files)?;
        let current = settings(&files, &pems)?;
        Ok(Self {
            files,
            current: ArcSwap::from_pointee(current),
            seen: Mutex::new(Ok(pems)),
        })
    }

    /// Greets a client with the present certificate.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Looks at the files again. Blocks on the disk.
    fn refresh(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let read = Pems::read(&self.files);
        if let (Ok(seen), Ok(read)) = (&*seen, &read)
            && seen == read
        {
            return;
        }
        let checked = read.and_then(|pems| Ok((settings(&self.files, &pems)?, pems)));
        match checked {
            Ok((settings, pems)) => {
                self.current.store(Arc::new(settings));
                *seen = Ok(pems);
                tracing::info!(certificate = %self.files.certificate.display(), "a new certificate is served");
            }
            Err(error) => {
                let error = chain(&error);
                // The two files are seldom written in the same moment: the next look may find both.
                if seen.as_ref().err() != Some(&error) {
                    tracing::warn!(
                        error,
                        "the new certificate cannot be used; the one before is served"
                    );
                    *seen = Err(error);
                }
            }
        }
    }
}

impl Pems {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
        })
    }
}

/// Watches the files until `stop`.
pub(crate) fn watch(tls: Arc<Tls>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PERIOD);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            let tls = Arc::clone(&tls);
            // A panic in there is reported where it happens.
            let _ = tokio::task::spawn_blocking(move || tls.refresh()).await;
        }
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| TlsError::File {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}

fn settings(files: &TlsFiles, pems: &Pems) -> Result<ServerConfig, TlsError> {
    let none = || TlsError::NoCertificate(files.certificate.clone());
    let certificates = CertificateDer::pem_slice_iter(&pems.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| none())?;
    if certificates.is_empty() {
        return Err(none());
    }
    let key = PrivateKeyDer::from_pem_slice(&pems.key).map_err(|_| TlsError::NoKey(files.key.clone()))?;
    let refused = |source| match source {
        rustls::Error::InconsistentKeys(_) => TlsError::OtherKey {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        },
        source => TlsError::Refused {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            source,
        },
    };
    let mut settings = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(refused)?;
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::{Tls, TlsError};
    use crate::TlsFiles;

    fn pair() -> (String, String) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn what_cannot_be_used_is_told_and_a_new_certificate_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            certificate: folder.path().join("certificate.pem"),
            key: folder.path().join("key.pem"),
        };
        let open = || Tls::open(files.clone()).map(drop);
        assert!(matches!(open(), Err(TlsError::File { .. })));
        let (certificate, key) = pair();
        std::fs::write(&files.certificate, "garbage").unwrap();
        std::fs::write(&files.key, &key).unwrap();
        assert!(matches!(open(), Err(TlsError::NoCertificate(_))));
        std::fs::write(&files.certificate, &certificate).unwrap();
        std::fs::write(&files.key, "garbage").unwrap();
        assert!(matches!(open(), Err(TlsError::NoKey(_))));
        std::fs::write(&files.key, pair().1).unwrap();
        let other = open().unwrap_err();
        assert!(matches!(other, TlsError::OtherKey { .. }), "{other}");
        std::fs::write(
            &files.certificate,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        assert!(matches!(open(), Err(TlsError::Refused { .. })));

        std::fs::write(&files.certificate, &certificate).unwrap();
        std::fs::write(&files.key, &key).unwrap();
        let tls = Tls::open(files.clone()).unwrap();
        let first = tls.current.load_full();
        tls.refresh();
        assert!(Arc::ptr_eq(&first, &tls.current.load_full()), "nothing changed");
        let (certificate, key) = pair();
        std::fs::write(&files.certificate, &certificate).unwrap();
        tls.refresh();
        assert!(
            Arc::ptr_eq(&first, &tls.current.load_full()),
            "half of it is not taken"
        );
        std::fs::write(&files.key, &key).unwrap();
        tls.refresh();
        assert!(!Arc::ptr_eq(&first, &tls.current.load_full()));
    }
}
