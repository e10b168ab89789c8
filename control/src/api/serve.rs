//! The API's sockets.
//!
//! **Invariants.** Connections are bounded in number; heads, pauses between requests, TLS greetings and writes
//! that nobody reads are bounded in time. A shutdown lets requests end, for as long as [`DRAIN`].

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{gate::Peer, path::normalised, patient::Patient};
use crate::tls::Tls;

/// Connections at the same time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 4096;
/// Time for a request's head, from the end of the one before.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest head in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Time for a TLS greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for requests to end when control stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after the system has no file descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// First byte of a TLS greeting (RFC 8446 §5.1: a record of type handshake).
const TLS_HANDSHAKE: u8 = 22;
/// What a client is told that speaks plain HTTP to a listener with TLS.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\
    content-length: 58\r\nconnection: close\r\n\r\n{\"message\":\"This port speaks https only, not plain http.\"}";

/// What every connection needs.
#[derive(Clone)]
struct Connections {
    router: Router,
    namespace: Arc<str>,
    strip: usize,
    http: http1::Builder,
    stop: CancellationToken,
}

/// Serves until `stop`, then ends.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    namespace: String,
    strip: usize,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX);
    let connections = Connections {
        router,
        namespace: namespace.into(),
        strip,
        http,
        stop: stop.clone(),
    };
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, address, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (connections, tls) = (connections.clone(), tls.clone());
        tasks.spawn(async move {
            match tls {
                None => {
                    let peer = Peer {
                        address,
                        secure: false,
                    };
                    connections.serve(Patient::new(stream), peer).await;
                }
                Some(tls) => {
                    if let Some(stream) = greeted(stream, &tls).await {
                        let peer = Peer {
                            address,
                            secure: true,
                        };
                        Box::pin(connections.serve(stream, peer)).await;
                    }
                }
            }
            drop(permit);
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("requests were still running when control stopped");
    }
}

impl Connections {
    async fn serve<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let mut request = normalised(request.map(Body::new), &self.namespace, self.strip);
            request.extensions_mut().insert(peer);
            let answer = self.router.clone().oneshot(request);
            async { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection.with_upgrades());
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        // Clients that go away in the middle of something are everyday.
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// A connection with TLS; `None` if the client does not know how.
async fn greeted(
    mut stream: TcpStream,
    tls: &Tls,
) -> Option<tokio_rustls::server::TlsStream<Patient<TcpStream>>> {
    let greeting = async {
        let mut first = [0];
        stream.peek(&mut first).await?;
        if first[0] != TLS_HANDSHAKE {
            stream.write_all(SPEAK_TLS).await?;
            stream.shutdown().await?;
            // What was not read would make the system take the answer back.
            let mut rest = stream.take(HEAD_BYTES_MAX as u64);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
            return Err(io::Error::other("it does not speak TLS"));
        }
        tls.acceptor().accept(Patient::new(stream)).await
    };
    match tokio::time::timeout(GREETING_TIMEOUT, greeting).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS greeting failed");
            None
        }
        Err(_) => None,
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, address, permit))
}

#[cfg(test)]
mod tests {
    use super::SPEAK_TLS;

    #[test]
    fn the_answer_to_plain_http_says_its_length() {
        let text = std::str::from_utf8(SPEAK_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
    }
}
