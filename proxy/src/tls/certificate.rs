//! A certificate chain with its key, as one of several of a gateway.

use std::{
    borrow::Cow,
    io::Read as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use thiserror::Error;

use super::expiry::not_after;

/// Longest PEM file that is read, in bytes.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub(crate) enum CertificateError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {reason}")]
    File { path: String, reason: String },
    /// There is no certificate in it.
    #[error("{0} holds no PEM certificate")]
    NoCertificate(String),
    /// There is no private key in it.
    #[error("{0} holds no PEM private key")]
    NoKey(String),
    /// The first certificate is none of X.509 version 3.
    #[error("the certificate in {0} cannot be read")]
    Unreadable(String),
    /// The key is of no known kind, or another certificate's.
    #[error("the key of the certificate in {place} cannot be used with it: {reason}")]
    Key { place: String, reason: String },
}

/// A chain with its key, and the names that it stands for.
#[derive(Debug)]
pub(super) struct Certified {
    pub(super) key: Arc<CertifiedKey>,
    names: Vec<String>,
}

impl Certified {
    /// Reads chain and key from where `source` says.
    pub(super) fn read(
        source: &weir_model::Certificate,
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let place = place(&source.certificate);
        let pem = read_pem(&source.certificate)?;
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CertificateError::NoCertificate(place.clone()))?;
        let Some(own) = chain.first() else {
            return Err(CertificateError::NoCertificate(place));
        };
        let names = webpki::EndEntityCert::try_from(own)
            .map_err(|_| CertificateError::Unreadable(place.clone()))?
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect();
        let until = not_after(own).ok_or_else(|| CertificateError::Unreadable(place.clone()))?;
        if UNIX_EPOCH + Duration::from_secs(until) < SystemTime::now() {
            tracing::warn!(
                certificate = place,
                "a certificate has expired; it is served all the same"
            );
        }
        let key = PrivateKeyDer::from_pem_slice(read_pem(&source.key)?.as_bytes())
            .map_err(|_| CertificateError::NoKey(self::place(&source.key)))?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| CertificateError::Key {
            place,
            reason: match error {
                rustls::Error::InconsistentKeys(_) => "it belongs to another certificate".to_owned(),
                error => error.to_string(),
            },
        })?;
        Ok(Self {
            key: Arc::new(key),
            names,
        })
    }

    /// Whether it stands for a name in lower case (RFC 9525 §6.3: a wildcard is the whole first label).
    pub(super) fn is_for(&self, name: &str, exactly: bool) -> bool {
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            None => exactly && own == name,
            Some(parent) => !exactly && name.split_once('.').is_some_and(|(_, rest)| rest == parent),
        })
    }
}

/// The chain and the key of a certificate.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate to be shown to others.
pub(crate) fn read_identity(source: &weir_model::Certificate) -> Result<Identity, CertificateError> {
    let place = place(&source.certificate);
    let chain = CertificateDer::pem_slice_iter(read_pem(&source.certificate)?.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| CertificateError::NoCertificate(place.clone()))?;
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate(place));
    }
    let key = PrivateKeyDer::from_pem_slice(read_pem(&source.key)?.as_bytes())
        .map_err(|_| CertificateError::NoKey(self::place(&source.key)))?;
    Ok((chain, key))
}

/// The certificates of an authority.
///
/// # Errors
/// Why they cannot be used.
pub(crate) fn read_roots(authority: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let pem = read_pem(authority).map_err(|error| error.to_string())?;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        certificate
            .map_err(|_| "the authority is not PEM".to_owned())
            .and_then(|certificate| {
                roots
                    .add(certificate)
                    .map_err(|error| format!("the authority cannot be used: {error}"))
            })?;
    }
    if roots.is_empty() {
        return Err("the authority holds no PEM certificate".to_owned());
    }
    Ok(roots)
}

/// Whether a value is PEM itself and not the path of a file.
pub(crate) fn is_pem(value: &str) -> bool {
    value.contains("-----BEGIN")
}

/// How errors call a value.
fn place(value: &str) -> String {
    if is_pem(value) {
        "the PEM given".to_owned()
    } else {
        value.to_owned()
    }
}

/// The PEM that a value is or leads to.
pub(crate) fn read_pem(value: &str) -> Result<Cow<'_, str>, CertificateError> {
    if is_pem(value) {
        return Ok(Cow::Borrowed(value));
    }
    let wrong = |error: std::io::Error| CertificateError::File {
        path: value.to_owned(),
        reason: error.to_string(),
    };
    let mut text = String::new();
    std::fs::File::open(Path::new(value))
        .and_then(|file| file.take(PEM_BYTES_MAX).read_to_string(&mut text))
        .map_err(wrong)?;
    Ok(Cow::Owned(text))
}
