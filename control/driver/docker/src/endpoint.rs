//! Where an engine is, and connections to it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bollard::{BollardRequest, errors::Error};
use futures::future::BoxFuture;
use hyper::{
    Response,
    body::Incoming,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use thiserror::Error as ThisError;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Where an engine listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Port of an engine without TLS.
const PORT: u16 = 2375;
/// Port of an engine with TLS.
const PORT_TLS: u16 = 2376;
/// Longest time to connect, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Where an engine is.
#[derive(Clone)]
pub struct Endpoint {
    place: Place,
}

#[derive(Clone)]
enum Place {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
        tls: Option<Tls>,
    },
}

#[derive(Clone)]
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Files in PEM form that an engine with TLS asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who signed the engine's certificate.
    pub ca: PathBuf,
    /// Our certificate and its key, if the engine asks who we are.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// `ca.pem`, `cert.pem` and `key.pem` of a folder, as `DOCKER_CERT_PATH` names one.
    #[must_use]
    pub fn of_folder(folder: &Path) -> TlsFiles {
        TlsFiles {
            ca: folder.join("ca.pem"),
            client: Some((folder.join("cert.pem"), folder.join("key.pem"))),
        }
    }
}

/// Why this is not an endpoint.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum EndpointError {
    /// Not in one of the forms.
    #[error("`{0}` is not an engine's endpoint; write unix:///PATH, tcp://HOST:PORT, or https://HOST:PORT")]
    Form(String),
    /// TLS was asked for without the files for it.
    #[error(
        "{0} needs TLS, and it is not said where ca.pem, cert.pem and key.pem are (--docker-certs, DOCKER_CERT_PATH)"
    )]
    NoFiles(String),
    /// A file cannot be read, or does not hold what it should.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificate and key do not fit, or the engine's name is none.
    #[error("TLS with {host} cannot be set up")]
    Tls {
        /// With whom.
        host: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Endpoint {
    /// Reads `unix:///PATH`, `/PATH`, `tcp://HOST[:PORT]`, `http://...` or `https://...`. TLS is used with `https`,
    /// and with `tcp` if there are files for it.
    ///
    /// # Errors
    /// It is in none of these forms, or the files cannot be used.
    pub fn new(text: &str, tls: Option<&TlsFiles>) -> Result<Endpoint, EndpointError> {
        let wrong = || EndpointError::Form(text.to_owned());
        if let Some(path) = text
            .strip_prefix("unix://")
            .or(text.starts_with('/').then_some(text))
        {
            if !path.starts_with('/') {
                return Err(wrong());
            }
            return Ok(Endpoint {
                place: Place::Unix(PathBuf::from(path)),
            });
        }
        let (scheme, address) = text.split_once("://").ok_or_else(wrong)?;
        let secure = match scheme {
            "tcp" => tls.is_some(),
            "http" => false,
            "https" => true,
            _ => return Err(wrong()),
        };
        let address = address.trim_end_matches('/');
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().map_err(|_| wrong())?)),
            _ => (address, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            return Err(wrong());
        }
        let port = port.unwrap_or(if secure { PORT_TLS } else { PORT });
        let tls = match (secure, tls) {
            (false, _) => None,
            (true, Some(files)) => Some(client(&host, files)?),
            (true, None) => return Err(EndpointError::NoFiles(text.to_owned())),
        };
        Ok(Endpoint {
            place: Place::Tcp { host, port, tls },
        })
    }

    /// What Docker's own variables say: `DOCKER_HOST`, `DOCKER_CERT_PATH`, `DOCKER_TLS_VERIFY`. `None`: they
    /// name no engine. `variable` gives the values of variables.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub fn of_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Endpoint>, EndpointError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let Some(host) = set("DOCKER_HOST") else {
            return Ok(None);
        };
        let folder = set("DOCKER_CERT_PATH").map(PathBuf::from);
        let verify = set("DOCKER_TLS_VERIFY").is_some();
        let tls = verify
            .then_some(folder)
            .flatten()
            .map(|folder| TlsFiles::of_folder(&folder));
        if verify && tls.is_none() && host.starts_with("tcp://") {
            return Err(EndpointError::NoFiles(host));
        }
        Endpoint::new(&host, tls.as_ref()).map(Some)
    }

    /// The usual socket of this host, if there is one.
    #[must_use]
    pub fn default_socket() -> Option<Endpoint> {
        Path::new(DEFAULT_SOCKET).exists().then(|| Endpoint {
            place: Place::Unix(PathBuf::from(DEFAULT_SOCKET)),
        })
    }

    /// Whether it is on this host for certain.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.host().is_none()
    }

    /// The host's name or address; `None`: this one.
    pub(crate) fn host(&self) -> Option<&str> {
        match &self.place {
            Place::Unix(_) => None,
            Place::Tcp { host, .. } => Some(host),
        }
    }

    /// Sends a request on a connection of its own, which ends with the answer.
    pub(crate) fn send(
        &self,
        mut request: BollardRequest,
    ) -> BoxFuture<'static, Result<Response<Incoming>, Error>> {
        let endpoint = self.clone();
        Box::pin(async move {
            let stream = timeout(CONNECT_MAX, endpoint.connect())
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            // An origin server is asked for a path (RFC 9112, section 3.2.1).
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = path.map_or_else(hyper::Uri::default, hyper::Uri::from);
            request
                .headers_mut()
                .insert(HOST, HeaderValue::from_static("docker"));
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(async move {
                // Whoever waits for the answer is told as well.
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "a connection to the engine ended");
                }
            });
            Ok(sender.send_request(request).await?)
        })
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.place {
            Place::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Place::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                match tls {
                    None => Box::new(stream),
                    Some(tls) => {
                        let connector = TlsConnector::from(Arc::clone(&tls.config));
                        Box::new(connector.connect(tls.name.clone(), stream).await?)
                    }
                }
            }
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Unix(path) => write!(f, "unix://{}", path.display()),
            Place::Tcp { host, port, tls } => {
                let scheme = if tls.is_some() { "https" } else { "tcp" };
                write!(f, "{scheme}://{host}:{port}")
            }
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Bytes both ways.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Only what the named authority signed is trusted, as Docker's own client does it.
fn client(host: &str, files: &TlsFiles) -> Result<Tls, EndpointError> {
    let file = |path: &Path, source: Box<dyn std::error::Error + Send + Sync>| EndpointError::File {
        path: path.to_owned(),
        source,
    };
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, EndpointError> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let found = read.map_err(|error| file(path, Box::new(error)))?;
        if found.is_empty() {
            return Err(file(path, "there is no certificate in it".into()));
        }
        Ok(found)
    };
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| EndpointError::Tls {
        host: host.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots
            .add(certificate)
            .map_err(|error| file(&files.ca, Box::new(error)))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(Box::new(error)))?
        .with_root_certificates(roots);
    let config = match &files.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, Box::new(error)))?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|error| failed(Box::new(error)))?
        }
    };
    Ok(Tls {
        config: Arc::new(config),
        name: ServerName::try_from(host.to_owned()).map_err(|error| failed(Box::new(error)))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Endpoint::new(text, None).map_or_else(|error| error.to_string(), |endpoint| endpoint.to_string())
    }

    #[test]
    fn forms_of_endpoints() {
        assert_eq!(shown("unix:///run/docker.sock"), "unix:///run/docker.sock");
        assert_eq!(shown("/run/docker.sock"), "unix:///run/docker.sock");
        assert_eq!(shown("tcp://engine"), "tcp://engine:2375");
        assert_eq!(shown("tcp://[::1]:99"), "tcp://::1:99");
        assert_eq!(shown("http://10.0.0.1:2380/"), "tcp://10.0.0.1:2380");
        for wrong in [
            "",
            "unix://run",
            "tcp://",
            "tcp://a:b",
            "ssh://x",
            "docker.sock",
            "tcp://a/b",
        ] {
            assert!(
                shown(wrong).contains("not an engine's endpoint"),
                "{wrong}: {}",
                shown(wrong)
            );
        }
        assert!(shown("https://engine").contains("needs TLS"));
    }

    #[test]
    fn variables_of_docker() {
        let of = |pairs: &[(&str, &str)]| {
            let found = Endpoint::of_environment(|name| {
                let pair = pairs.iter().find(|(key, _)| *key == name)?;
                Some(pair.1.to_owned())
            });
            match found {
                Ok(endpoint) => endpoint.map_or_else(|| "none".to_owned(), |endpoint| endpoint.to_string()),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(of(&[]), "none");
        assert_eq!(of(&[("DOCKER_HOST", "")]), "none");
        assert_eq!(of(&[("DOCKER_HOST", "tcp://e:1")]), "tcp://e:1");
        assert!(of(&[("DOCKER_HOST", "tcp://e:1"), ("DOCKER_TLS_VERIFY", "1")]).contains("needs TLS"));
        let missing = of(&[
            ("DOCKER_HOST", "tcp://e:1"),
            ("DOCKER_TLS_VERIFY", "1"),
            ("DOCKER_CERT_PATH", "/nowhere"),
        ]);
        assert!(missing.contains("/nowhere/ca.pem cannot be used"), "{missing}");
    }
}
