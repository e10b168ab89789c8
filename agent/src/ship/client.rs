//! One connection to Elasticsearch, kept alive.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

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
    /// `Basic ...`, from a name and a password in the address.
    credentials: Option<String>,
    tls: Option<TlsConnector>,
}

/// Credentials stay out of logs.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Address {
    /// Reads `http[s]://[NAME:PASSWORD@]HOST[:PORT][/PATH]`; the port is 9200 if it is not said.
    pub(super) fn parse(url: &str) -> anyhow::Result<Self> {
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
        let credentials = authority
            .as_str()
            .rsplit_once('@')
            .map(|(pair, _)| format!("Basic {}", STANDARD.encode(pair)));
        let tls = is_tls.then(connector).transpose()?;
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

/// Trusts what this host trusts.
fn connector() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
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
            .header(HOST, format!("{}:{}", self.address.host, self.address.port));
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
    use super::Address;

    #[test]
    fn addresses_are_read_and_credentials_stay_out_of_logs() {
        let address = Address::parse("http://elastic:s3cret@es:9201/base").unwrap();
        assert_eq!(
            (address.host.as_str(), address.port, address.base.as_str()),
            ("es", 9201, "/base/")
        );
        assert_eq!(address.credentials.as_deref(), Some("Basic ZWxhc3RpYzpzM2NyZXQ="));
        assert!(!format!("{address:?}").contains("s3cret"));
        let address = Address::parse("https://[::1]").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("::1", 9200));
        assert!(address.tls.is_some());
        for url in ["", "es:9200", "ftp://es", "http://", "http://es?x=1"] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains("Elasticsearch"), "{url}: {error}");
        }
    }
}
