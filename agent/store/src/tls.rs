//! How stores that other programs serve are spoken to by TLS.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::{
    StoreError,
    address::{Address, TlsOptions},
};

/// What a client of an address presents and trusts. Files are read now.
pub(crate) fn client(address: &Address, options: &TlsOptions) -> Result<ClientConfig, StoreError> {
    let wrong = |what: &str, error: &dyn fmt::Display| address.wrong(&format!("{what}: {error}"));
    let mut roots = RootCertStore::empty();
    match &options.ca {
        Some(path) => {
            let what = "the authorities (ca) cannot be used";
            let file = CertificateDer::pem_file_iter(path).map_err(|error| wrong(what, &error))?;
            for certificate in file {
                let certificate = certificate.map_err(|error| wrong(what, &error))?;
                roots.add(certificate).map_err(|error| wrong(what, &error))?;
            }
            if roots.is_empty() {
                return Err(wrong(what, &"there is no certificate in the file"));
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
            if roots.is_empty() {
                return Err(address.wrong("the system has no authorities to trust; name some by `ca`"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("TLS cannot be used", &error))?;
    let builder = match &options.server_name {
        None => builder.with_root_certificates(roots),
        Some(name) => {
            let name = ServerName::try_from(name.clone())
                .map_err(|error| wrong("`server_name` is no name of a server", &error))?;
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| wrong("TLS cannot be used", &error))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Named { inner, name }))
        }
    };
    let (Some(cert), Some(key)) = (&options.cert, &options.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let what = "the client's certificate (cert) cannot be used";
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(what, &error))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| wrong("the client's key (key) cannot be used", &error))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| wrong(what, &error))
}

/// For clear connections of a client that wants to be told about TLS all the same.
#[cfg(any(feature = "etcd", feature = "consul"))]
pub(crate) fn unused() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of the default versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

/// Checks all that is usually checked, but against a name that was configured.
#[derive(Debug)]
struct Named {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner
            .verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
