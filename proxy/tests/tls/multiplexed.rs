//! An origin that speaks HTTP/2 and answers by itself.

use std::{
    future::poll_fn,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server};
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    runtime::Runtime,
    sync::Notify,
};

/// Answers by path: `/echo` with the body, the names of the fields in `x-fields`; `/trailers` with the body and both its own
/// and the request's trailers; `/only` with trailers in place of a body; `/interim` after a 103; `/hold` when it is told; `/pour`
/// with bytes as long as they are taken; `/late` with the body, after it ended; `/broken` with half an answer, broken off when it is told; `/refused` with
/// REFUSED_STREAM the first time; `/cancelled` with CANCEL; `/wait` never.
pub struct Multiplexed {
    pub port: u16,
    pub seen: Arc<Seen>,
    _runtime: Runtime,
}

#[derive(Default)]
pub struct Seen {
    pub connections: AtomicUsize,
    pub requests: AtomicUsize,
    pub open: AtomicUsize,
    pub most_open: AtomicUsize,
    pub poured: AtomicUsize,
    pub reset: AtomicUsize,
    pub go_on: Notify,
    pub uris: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, Default)]
pub struct Habits {
    /// Streams at a time; 0: as many as come.
    pub streams_max: u32,
    /// Requests after which the connection is closed with a GOAWAY.
    pub leaves_after: usize,
}

impl Multiplexed {
    pub fn start(tls: Option<Arc<ServerConfig>>, habits: Habits) -> Self {
        let runtime = super::http2::runtime();
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                let (tls, shared) = (tls.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, habits, shared).await,
                        Some(config) => {
                            if let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await {
                                serve(stream, habits, shared).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            port,
            seen,
            _runtime: runtime,
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, habits: Habits, seen: Arc<Seen>) {
    let mut builder = server::Builder::new();
    if habits.streams_max > 0 {
        builder.max_concurrent_streams(habits.streams_max);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let mut served = 0;
    while let Some(Ok((request, respond))) = connection.accept().await {
        served += 1;
        seen.requests.fetch_add(1, Ordering::SeqCst);
        let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_open.fetch_max(open, Ordering::SeqCst);
        seen.uris.lock().unwrap().push(request.uri().to_string());
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let _ = answer(request, respond, &seen).await;
            seen.open.fetch_sub(1, Ordering::SeqCst);
        });
        if served == habits.leaves_after {
            connection.graceful_shutdown();
        }
    }
}

async fn whole(body: &mut RecvStream) -> Result<(Vec<u8>, HeaderMap), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, body.trailers().await?.unwrap_or_default()))
}

async fn send(stream: &mut SendStream<Bytes>, mut rest: Bytes, is_last: bool) -> Result<(), h2::Error> {
    if rest.is_empty() {
        return stream.send_data(rest, is_last);
    }
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let Some(room) = poll_fn(|task| stream.poll_capacity(task)).await else {
            return Ok(());
        };
        let piece = rest.split_to(room?.min(rest.len()));
        stream.send_data(piece, rest.is_empty() && is_last)?;
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: server::SendResponse<Bytes>,
    seen: &Seen,
) -> Result<(), h2::Error> {
    let (parts, mut body) = request.into_parts();
    let names: Vec<&str> = parts.headers.keys().map(http::HeaderName::as_str).collect();
    let head = || {
        Response::builder()
            .header("x-fields", names.join(","))
            .header("x-method", parts.method.as_str())
    };
    match parts.uri.path() {
        "/trailers" => {
            // As a service of gRPC streams: the head before the request is complete.
            let mut stream = respond.send_response(head().body(()).unwrap(), false)?;
            let (bytes, mut trailers) = whole(&mut body).await?;
            send(&mut stream, bytes.into(), false).await?;
            trailers.insert("grpc-status", "7".parse().unwrap());
            stream.send_trailers(trailers)
        }
        "/only" => {
            let only = head().header("grpc-status", "12").body(()).unwrap();
            respond.send_response(only, true).map(drop)
        }
        "/interim" => {
            let hint = Response::builder()
                .status(103)
                .header("link", "</a>")
                .body(())
                .unwrap();
            respond.send_informational(hint)?;
            respond.send_response(head().body(()).unwrap(), true).map(drop)
        }
        "/hold" => {
            seen.go_on.notified().await;
            seen.go_on.notify_one();
            respond.send_response(head().body(()).unwrap(), true).map(drop)
        }
        "/pour" => {
            let mut stream = respond.send_response(head().body(()).unwrap(), false)?;
            loop {
                stream.reserve_capacity(16_384);
                match poll_fn(|task| stream.poll_capacity(task)).await {
                    Some(Ok(room)) => {
                        seen.poured.fetch_add(room, Ordering::SeqCst);
                        stream.send_data(vec![b'p'; room].into(), false)?;
                    }
                    _ => {
                        seen.reset.fetch_add(1, Ordering::SeqCst);
                        return Ok(());
                    }
                }
            }
        }
        "/broken" => {
            let mut stream = respond.send_response(head().body(()).unwrap(), false)?;
            send(&mut stream, Bytes::from_static(b"half"), false).await?;
            // A reset takes back what was not sent yet.
            seen.go_on.notified().await;
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        "/refused" if seen.requests.load(Ordering::SeqCst) == 1 => {
            respond.send_reset(Reason::REFUSED_STREAM);
            Ok(())
        }
        "/refused-always" => {
            respond.send_reset(Reason::REFUSED_STREAM);
            Ok(())
        }
        "/cancelled" => {
            respond.send_reset(Reason::CANCEL);
            Ok(())
        }
        "/early" => {
            let early = Response::builder().status(413).header("content-length", "2");
            let mut stream = respond.send_response(early.body(()).unwrap(), false)?;
            // The rest of the request is not read: the library says NO_ERROR.
            send(&mut stream, Bytes::from_static(b"no"), true).await
        }
        "/wait" => {
            let gone = poll_fn(|task| respond.poll_reset(task)).await;
            seen.reset.fetch_add(usize::from(gone.is_ok()), Ordering::SeqCst);
            Ok(())
        }
        _ => {
            let (bytes, _) = whole(&mut body).await?;
            let head = head().header("content-length", bytes.len()).body(()).unwrap();
            let is_whole = bytes.is_empty() || parts.method == http::Method::HEAD;
            let mut stream = respond.send_response(head, is_whole)?;
            if is_whole {
                return Ok(());
            }
            send(&mut stream, bytes.into(), true).await
        }
    }
}

/// A free address where nobody listens.
pub fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}
