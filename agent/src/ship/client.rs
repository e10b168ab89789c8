//! One connection to Elasticsearch, kept alive.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::ElasticsearchAccess;

/// Longest wait for a connection and for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest answer in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where Elasticsearch is.
#[derive(Clone)]
pub(super) struct Address {
    host: String,
    port: u16,
    /// `/` or `/path/`.
    base: String,
    /// `Basic ...` or `ApiKey ...`.
    credentials: Option<HeaderValue>,
    tls: Option<TlsConnector>,
}

/// Credentials stay out of logs.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Address {
    /// Reads `http[s]://[NAME:PASSWORD@]HOST[:PORT][/PATH]`; the port is 9200 if it is not said. What is special in a
    /// URL is `%xx` in name and password.
    pub(super) fn parse(url: &str, access: &ElasticsearchAccess) -> anyhow::Result<Self> {
        // The text itself may have a password.
        let wrong = "the address of Elasticsearch is not of the form http[s]://[NAME:PASSWORD@]HOST[:PORT]";
        let uri: Uri = url.trim().parse().ok().context(wrong)?;
        let authority = uri.authority().context(wrong)?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => bail!(wrong),
        };
        ensure!(!authority.host().is_empty() && uri.query().is_none(), wrong);
        let pair = authority.as_str().rsplit_once('@').map(|(pair, _)| pair);
        let credentials = match (pair, &access.api_key) {
            (Some(_), Some(_)) => {
                bail!("Elasticsearch takes a name and a password or an API key, not both")
            }
            (Some(pair), None) => {
                let (name, password) = pair.split_once(':').unwrap_or((pair, ""));
                let pair = [unescaped(name), b":".to_vec(), unescaped(password)].concat();
                Some(format!("Basic {}", STANDARD.encode(pair)))
            }
            // As Elasticsearch shows it once (`encoded`), or its two parts as Filebeat has them (`ID:KEY`).
            (None, Some(key)) if key.reveal().contains(':') => {
                Some(format!("ApiKey {}", STANDARD.encode(key.reveal())))
            }
            (None, Some(key)) => Some(format!("ApiKey {}", key.reveal())),
            (None, None) => None,
        };
        let credentials = credentials
            .map(|credentials| {
                let mut value = HeaderValue::try_from(credentials)
                    .context("the API key of Elasticsearch has a character that none has")?;
                value.set_sensitive(true);
                anyhow::Ok(value)
            })
            .transpose()?;
        ensure!(
            is_tls || access.authority.is_none(),
            "certificates to trust are of no use without https:// before the address of Elasticsearch"
        );
        let tls = is_tls
            .then(|| connector(access.authority.as_deref()))
            .transpose()?;
        Ok(Self {
            host: authority
                .host()
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: authority.port_u16().unwrap_or(9200),
            base: format!("{}/", uri.path().trim_end_matches('/')),
            credentials,
            tls,
        })
    }
}

impl Address {
    /// As in a URL: an IPv6 address has brackets.
    fn host_and_port(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

/// `%xx` undone; a lone `%` stays.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        match (first, after) {
            (b'%', [high, low, after @ ..]) if digit(*high).is_some() && digit(*low).is_some() => {
                rest = after;
                bytes.extend(digit(*high).zip(digit(*low)).map(|(high, low)| high * 16 + low));
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

/// Trusts what these certificates have signed; `None`: what this host trusts.
fn connector(authority: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    match authority {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            ensure!(
                !roots.is_empty(),
                "this host has no certificates to trust Elasticsearch by; name some"
            );
        }
        Some(path) => {
            let shown = path.display();
            let cannot =
                || format!("the certificates {shown} that Elasticsearch is trusted by cannot be used");
            for certificate in CertificateDer::pem_file_iter(path).with_context(cannot)? {
                roots
                    .add(certificate.with_context(cannot)?)
                    .with_context(cannot)?;
            }
            ensure!(!roots.is_empty(), "{}: there is none in it", cannot());
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Sends requests one after the other; connects when there is no connection.
#[derive(Debug)]
pub(super) struct Client {
    address: Address,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// The status and the body of the answer. After an error the next request connects anew.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let asking = self.try_ask(method, path, content_type, body);
        let outcome = match timeout(ANSWER_MAX, asking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow::anyhow!(
                "it did not answer within {} s",
                ANSWER_MAX.as_secs()
            )),
        };
        if outcome.is_err() {
            self.connection = None;
        }
        outcome
    }

    async fn try_ask(
        &mut self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.address.base))
            .header(HOST, self.address.host_and_port());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(credentials) = &self.address.credentials {
            request = request.header(AUTHORIZATION, credentials);
        }
        let request = request.body(Full::new(body))?;
        let kept = match self.connection.take() {
            Some(mut kept) => kept.ready().await.ok().map(|()| kept),
            None => None,
        };
        let mut connection = match kept {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let response = connection.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("the answer could not be read: {error}"))?
            .to_bytes();
        self.connection = Some(connection);
        Ok((status, body))
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let Address { host, port, tls, .. } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        Ok(match tls {
            None => driven(stream).await?,
            Some(tls) => {
                let name = ServerName::try_from(host.clone())?;
                driven(tls.connect(name, stream).await?).await?
            }
        })
    }
}

/// A connection whose other half runs as a task; that ends with this half.
async fn driven<S>(stream: S) -> anyhow::Result<SendRequest<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // What went wrong is told to who waits for an answer.
        let _ = connection.await;
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::{Address, ElasticsearchAccess, unescaped};
    use crate::Secret;

    fn parse(url: &str) -> anyhow::Result<Address> {
        Address::parse(url, &ElasticsearchAccess::default())
    }

    fn key(key: &str) -> ElasticsearchAccess {
        ElasticsearchAccess {
            api_key: Some(Secret::new(key)),
            authority: None,
        }
    }

    #[test]
    fn addresses_are_read_and_credentials_stay_out_of_logs() {
        let address = parse("http://elastic:s3cret@es:9201/base").unwrap();
        assert_eq!(
            (address.host.as_str(), address.port, address.base.as_str()),
            ("es", 9201, "/base/")
        );
        assert_eq!(
            address.credentials.as_ref().unwrap(),
            "Basic ZWxhc3RpYzpzM2NyZXQ="
        );
        assert!(!format!("{address:?}").contains("s3cret"));
        let address = parse("http://[::1]").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("::1", 9200));
        assert_eq!(address.host_and_port(), "[::1]:9200");
        for url in ["", "es:9200", "ftp://es", "http://", "http://es?x=1"] {
            let error = parse(url).err().unwrap().to_string();
            assert!(error.contains("Elasticsearch"), "{url}: {error}");
        }
    }

    #[test]
    fn passwords_may_have_what_is_special_in_a_url() {
        // elastic:p@ss%w:rd
        let address = parse("http://elastic:p%40ss%25w:rd@es").unwrap();
        assert_eq!(
            address.credentials.as_ref().unwrap(),
            "Basic ZWxhc3RpYzpwQHNzJXc6cmQ="
        );
        assert_eq!(unescaped("a%zz%4"), b"a%zz%4");
        assert_eq!(unescaped("%00%Ff"), [0, 0xff]);
    }

    #[test]
    fn api_keys_are_taken_in_both_forms_and_not_beside_a_password() {
        let encoded = Address::parse("http://es", &key("aWQ6a2V5")).unwrap();
        let parts = Address::parse("http://es", &key("id:key")).unwrap();
        assert_eq!(encoded.credentials.unwrap(), "ApiKey aWQ6a2V5");
        assert_eq!(parts.credentials.unwrap(), "ApiKey aWQ6a2V5");
        assert!(Address::parse("http://a:b@es", &key("id:key")).is_err());
        assert!(Address::parse("http://es", &key("a\nb")).is_err());
    }

    #[test]
    fn certificates_that_cannot_be_used_are_refused_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let access = ElasticsearchAccess {
            authority: Some(path.clone()),
            api_key: None,
        };
        let refused = |url: &str| format!("{:#}", Address::parse(url, &access).err().unwrap());
        assert!(refused("https://es").contains("ca.pem"), "it is not there");
        std::fs::write(&path, "no certificate").unwrap();
        assert!(refused("https://es").contains("there is none in it"));
        assert!(refused("http://es").contains("without https"));
    }
}
