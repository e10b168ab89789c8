//! One client's connection: clear, TLS 1.3, or HTTP/2 over TLS.

use std::{io, sync::Arc};

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    task::AbortHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{client::Load, websocket};

/// Name in the certificates of the targets, and in every request.
pub(crate) const HOST: &str = "load.example";

/// A connection that can ask.
#[derive(Debug)]
pub(crate) enum Connection {
    Clear(TcpStream),
    WebSocket(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Http2 {
        requests: SendRequest<Bytes>,
        driver: AbortHandle,
    },
}

/// TLS as the clients of a load speak it: 1.3, trusting the target's own certificate.
pub(crate) fn connector(certificate: &[u8], http2: bool, resume: bool) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate.to_vec()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if !resume {
        config.resumption = rustls::client::Resumption::disabled();
    }
    config.alpn_protocols = vec![if http2 {
        b"h2".to_vec()
    } else {
        b"http/1.1".to_vec()
    }];
    Ok(TlsConnector::from(Arc::new(config)))
}

pub(crate) fn wrong(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Connection {
    /// Connects as the load says.
    pub(crate) async fn open(load: &Load, tls: Option<&TlsConnector>) -> io::Result<Self> {
        let mut stream = TcpStream::connect(load.to).await?;
        stream.set_nodelay(true)?;
        if load.websocket {
            websocket::upgrade(&mut stream).await?;
            return Ok(Self::WebSocket(stream));
        }
        let Some(tls) = tls else {
            return Ok(Self::Clear(stream));
        };
        let name = HOST.try_into().map_err(wrong)?;
        let stream = tls.connect(name, stream).await?;
        if !load.http2 {
            return Ok(Self::Tls(Box::new(stream)));
        }
        let (requests, driving) = h2::client::handshake(stream).await.map_err(wrong)?;
        let driver = tokio::task::spawn_local(async move {
            // Its end is seen by the requests.
            let _ = driving.await;
        });
        Ok(Self::Http2 {
            requests,
            driver: driver.abort_handle(),
        })
    }

    /// One request; checks status and length of the answer.
    pub(crate) async fn ask(
        &mut self,
        request: &[u8],
        buffer: &mut [u8],
        body_bytes: usize,
        lengths_differ: bool,
    ) -> io::Result<()> {
        match self {
            Self::Clear(stream) => ask(stream, request, buffer, body_bytes, lengths_differ).await,
            Self::WebSocket(stream) => websocket::echo(stream, buffer, body_bytes).await,
            Self::Tls(stream) => ask(stream.as_mut(), request, buffer, body_bytes, lengths_differ).await,
            Self::Http2 { requests, .. } => ask_http2(requests, body_bytes).await,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Self::Http2 { driver, .. } = self {
            driver.abort();
        }
    }
}

async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
    buffer: &mut [u8],
    mut body_bytes: usize,
    lengths_differ: bool,
) -> io::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut filled = 0;
    let head = loop {
        let read = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
        if read == 0 {
            return Err(wrong("closed early"));
        }
        filled += read;
        if let Some(end) = memchr::memmem::find(buffer.get(..filled).unwrap_or_default(), b"\r\n\r\n") {
            break end + 4;
        }
    };
    if !buffer.starts_with(b"HTTP/1.1 200") {
        return Err(wrong("another status"));
    }
    if lengths_differ {
        let longer = format!("Content-Length: {}\r\n", body_bytes + 1);
        if memchr::memmem::find(buffer.get(..head).unwrap_or_default(), longer.as_bytes()).is_some() {
            body_bytes += 1;
        }
    }
    let mut rest = (head + body_bytes)
        .checked_sub(filled)
        .ok_or_else(|| wrong("too long"))?;
    while rest > 0 {
        match stream.read(buffer).await? {
            0 => return Err(wrong("closed early")),
            read => rest = rest.checked_sub(read).ok_or_else(|| wrong("too long"))?,
        }
    }
    Ok(())
}

async fn ask_http2(requests: &mut SendRequest<Bytes>, body_bytes: usize) -> io::Result<()> {
    let request = http::Request::get(format!("https://{HOST}/load"))
        .header("user-agent", "load/1.0")
        .header("accept", "*/*")
        .header("cookie", "a=b")
        .body(())
        .map_err(wrong)?;
    let mut ready = requests.clone().ready().await.map_err(wrong)?;
    let (answer, _) = ready.send_request(request, true).map_err(wrong)?;
    let answer = answer.await.map_err(wrong)?;
    if answer.status() != http::StatusCode::OK {
        return Err(wrong("another status"));
    }
    let mut body = answer.into_body();
    let mut read = 0;
    while let Some(data) = body.data().await {
        let data = data.map_err(wrong)?;
        read += data.len();
        body.flow_control().release_capacity(data.len()).map_err(wrong)?;
    }
    if read == body_bytes {
        Ok(())
    } else {
        Err(wrong("another length"))
    }
}
