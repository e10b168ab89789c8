//! What handshakes at one gateway need.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;
use weir_model::{Protocol, Tls, TlsVersion};

use super::certificate::{Certified, is_pem, read_roots};

/// Sessions of clients without tickets that are remembered for each gateway.
const SESSIONS_MAX: usize = 1_024;

/// TLS of one gateway. The same for all tables that do not change it, so that tickets and sessions live on.
pub(crate) struct Acceptor {
    options: Tls,
    protocol: Protocol,
    pub(super) handshake: TlsAcceptor,
    certificates: Arc<Certificates>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads the certificates.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub(crate) fn new(options: &Tls, protocol: Protocol) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions: &[&rustls::SupportedProtocolVersion] = match options.minimum {
            TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V13 => &[&rustls::version::TLS13],
        };
        let certificates = Arc::new(Certificates::read(&options.certificates, &provider)?);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let builder = match &options.client_ca {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = read_roots(authority).map_err(|reason| format!("client_ca: {reason}"))?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if options.client_certificate_optional {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?;
        if protocol == Protocol::Http {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(Self {
            options: options.clone(),
            protocol,
            handshake: TlsAcceptor::from(Arc::new(config)),
            certificates,
        })
    }

    /// Whether it was made of the same.
    pub(crate) fn is_of(&self, options: &Tls, protocol: Protocol) -> bool {
        self.options == *options && self.protocol == protocol
    }

    /// Why the newest content of its files is not served, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        self.certificates.fault()
    }

    pub(super) fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }
}

/// The certificates of one gateway, read anew when their files change.
#[derive(Debug)]
pub(super) struct Certificates {
    sources: Vec<weir_model::Certificate>,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Vec<Certified>>,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    stamps: Vec<Stamp>,
    fault: Option<String>,
}

/// What tells two contents of a file apart: time of the change and length in bytes.
type Stamp = Option<(SystemTime, u64)>;

impl Certificates {
    fn read(sources: &[weir_model::Certificate], provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        // Before the content: a change in between is then seen as one.
        let stamps = stamps(sources);
        let certified = read_all(sources, provider)?;
        Ok(Self {
            sources: sources.to_vec(),
            provider: Arc::clone(provider),
            current: ArcSwap::from_pointee(certified),
            watched: Mutex::new(Watched { stamps, fault: None }),
        })
    }

    /// Whether there are files to watch.
    pub(super) fn has_files(&self) -> bool {
        files(&self.sources).next().is_some()
    }

    /// Reads the files again if one changed. What cannot be used is reported and changes nothing.
    pub(super) fn refresh(&self) {
        let stamps = stamps(&self.sources);
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.stamps == stamps {
            return;
        }
        watched.stamps = stamps;
        match read_all(&self.sources, &self.provider) {
            Ok(certified) => {
                self.current.store(Arc::new(certified));
                watched.fault = None;
                tracing::info!("certificates have changed and are served");
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "changed certificates cannot be used; those before are still served"
                );
                watched.fault = Some(format!(
                    "the changed certificates cannot be used, those before are still served: {reason}"
                ));
            }
        }
    }

    fn fault(&self) -> Option<String> {
        self.watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fault
            .clone()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let all = self.current.load();
        let named = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            all.iter()
                .find(|one| one.is_for(&name, true))
                .or_else(|| all.iter().find(|one| one.is_for(&name, false)))
        });
        named.or(all.first()).map(|one| Arc::clone(&one.key))
    }
}

fn read_all(
    sources: &[weir_model::Certificate],
    provider: &CryptoProvider,
) -> Result<Vec<Certified>, String> {
    if sources.is_empty() {
        return Err("TLS is asked for without a certificate".to_owned());
    }
    sources
        .iter()
        .map(|source| Certified::read(source, provider).map_err(|error| error.to_string()))
        .collect()
}

fn files(sources: &[weir_model::Certificate]) -> impl Iterator<Item = &str> {
    sources
        .iter()
        .flat_map(|source| [source.certificate.as_str(), source.key.as_str()])
        .filter(|value| !is_pem(value))
}

fn stamps(sources: &[weir_model::Certificate]) -> Vec<Stamp> {
    files(sources)
        .map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
        .collect()
}
