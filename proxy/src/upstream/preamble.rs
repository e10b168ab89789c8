//! What a connection to an instance begins with: the PROXY protocol header, the TLS handshake.
//!
//! **Invariants.** A certificate that does not stand for the name asked for is refused, unless the route says that any
//! will do. Options that cannot be used are told when the table is made, not when a request comes.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use weir_model::{ProxyProtocol, RouteOptions, UpstreamProtocol, UpstreamTls};

use crate::{
    error::ErrorKind,
    proxy_protocol::{self, Version},
    tls::{read_identity, read_roots},
};

/// Of a route: the same for every instance and for every table that does not change it, so that sessions are
/// resumed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preambles {
    proxy_header: Option<ProxyProtocol>,
    tls: Option<(UpstreamTls, Arc<ClientConfig>)>,
    protocol: UpstreamProtocol,
}

/// A connection after its preamble.
pub(crate) enum Secured {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Preambles {
    /// Reads what `options` lead to. `before`: of the same route in the table before.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub(crate) fn new(options: &RouteOptions, before: Option<&Self>) -> Result<Self, String> {
        let before = before.filter(|before| before.protocol == options.protocol);
        let tls = match (&options.tls, before.and_then(|before| before.tls.as_ref())) {
            (None, _) => None,
            (Some(tls), Some(before)) if before.0 == *tls => Some(before.clone()),
            (Some(tls), _) => Some((tls.clone(), client_config(tls, options.protocol)?)),
        };
        Ok(Self {
            proxy_header: options.send_proxy_protocol,
            tls,
            protocol: options.protocol,
        })
    }

    /// Whether connections made before may be used on.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.proxy_header == other.proxy_header
            && self.protocol == other.protocol
            && match (&self.tls, &other.tls) {
                (None, None) => true,
                (Some((_, one)), Some((_, other))) => Arc::ptr_eq(one, other),
                _ => false,
            }
    }

    /// Whether instances speak HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.protocol == UpstreamProtocol::Http2
    }

    /// For one instance; `None`: nothing.
    ///
    /// # Errors
    /// Why no certificate can be for `host`.
    pub(crate) fn of(&self, host: &str) -> Result<Option<Arc<Preamble>>, String> {
        if self.proxy_header.is_none() && self.tls.is_none() {
            return Ok(None);
        }
        let tls = match &self.tls {
            None => None,
            Some((options, config)) => {
                let name = options.server_name.as_deref().unwrap_or(host);
                let name = ServerName::try_from(name.to_owned())
                    .map_err(|_| format!("`{name}` is no name that a certificate can have"))?;
                Some((TlsConnector::from(Arc::clone(config)), name))
            }
        };
        Ok(Some(Arc::new(Preamble {
            proxy_header: self.proxy_header,
            tls,
            is_http2: self.is_http2(),
        })))
    }
}

/// Of one instance.
pub(crate) struct Preamble {
    proxy_header: Option<ProxyProtocol>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    is_http2: bool,
}

impl std::fmt::Debug for Preamble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preamble")
            .field("proxy_header", &self.proxy_header)
            .field("tls", &self.tls.as_ref().map(|(_, name)| name))
            .finish()
    }
}

impl Preamble {
    /// Whether a connection tells of one client and therefore is no other's.
    pub(crate) fn is_of_one_client(&self) -> bool {
        self.proxy_header.is_some()
    }

    /// Sends and receives it. `ends`: the client, and where it connected to.
    pub(crate) async fn perform(
        &self,
        mut stream: TcpStream,
        (client, to): (SocketAddr, SocketAddr),
    ) -> Result<Secured, ErrorKind> {
        if let Some(version) = self.proxy_header {
            let version = match version {
                ProxyProtocol::V1 => Version::V1,
                ProxyProtocol::V2 => Version::V2,
            };
            let mut header = Vec::new();
            proxy_protocol::write(version, client, to, &mut header);
            stream
                .write_all(&header)
                .await
                .map_err(|_| ErrorKind::ConnectFailed)?;
        }
        let Some((connector, name)) = &self.tls else {
            return Ok(Secured::Clear(stream));
        };
        match connector.connect(name.clone(), stream).await {
            Ok(stream) if self.is_http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") => {
                tracing::debug!(?name, "an instance does not speak HTTP/2 over TLS");
                Err(ErrorKind::InstanceTls)
            }
            Ok(stream) => Ok(Secured::Tls(Box::new(stream))),
            Err(error) => {
                tracing::debug!(?name, %error, "the TLS handshake with an instance failed");
                Err(ErrorKind::InstanceTls)
            }
        }
    }
}

fn client_config(options: &UpstreamTls, protocol: UpstreamProtocol) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if options.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody::new(&provider)))
    } else {
        builder.with_root_certificates(roots(options.authority.as_deref())?)
    };
    let mut config = match &options.certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let (chain, key) = read_identity(certificate).map_err(|error| error.to_string())?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("the certificate for instances cannot be used: {error}"))?
        }
    };
    config.alpn_protocols = match protocol {
        UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
        UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(Arc::new(config))
}

/// The certificates that are trusted.
fn roots(authority: Option<&str>) -> Result<RootCertStore, String> {
    if let Some(authority) = authority {
        return read_roots(authority);
    }
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        return Err("this host has no certificates to trust; name an `authority`".to_owned());
    }
    Ok(roots)
}

/// Trusts whoever answers, for trying things out; the handshake itself must be sound.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl Anybody {
    fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
