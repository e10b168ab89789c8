//! The admin listener: on a thread and a runtime of its own, so that a busy data plane or store does not
//! silence it.
//!
//! **Invariants.** Everything but `/health` wants the token, if there is one. The same is served at the socket and, if
//! one is configured, at a Unix socket, whose folder says who may come: there no token is asked for.

mod frames;
mod guard;
mod page;
mod statistics;
mod tls;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::Query,
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::from_fn_with_state,
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use weir_proxy::Proxy;

use self::{frames::Frames, guard::Guard};
use crate::{
    Config,
    handover::{ADMIN, ADMIN_SOCKET, Inherited},
    status::Status,
};

/// Longest wait for answers under way at the end.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// More text for `/metrics`.
pub(crate) type MoreMetrics = Arc<dyn Fn(&mut String) + Send + Sync>;

/// A bound admin listener that does not serve yet.
pub(crate) struct Bound {
    listener: TcpListener,
    socket: Option<Socket>,
    tls: Option<TlsAcceptor>,
    guard: Guard,
    pub(crate) address: SocketAddr,
}

/// A Unix socket; its file is removed at the end.
#[derive(Debug)]
struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Another process has the socket now.
    is_kept: Arc<AtomicBool>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Relaxed) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Bound {
    /// Where others reach it: what they are to be told, else the address that is bound. With a scheme if that is TLS.
    pub(crate) fn advertised(&self, told: Option<&str>) -> String {
        let address = match told {
            Some(told) if told.contains("://") || told.starts_with("unix:") => return told.to_owned(),
            Some(told) => told.to_owned(),
            None => self.address.to_string(),
        };
        if told.is_none() && self.address.ip().is_unspecified() {
            tracing::warn!(
                address,
                "others are told an address that leads to this agent from its own host alone; advertise another"
            );
        }
        match self.tls {
            Some(_) => format!("https://{address}"),
            None => address,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    end: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
    /// Other handles of its sockets, by name.
    handles: Vec<(&'static str, OwnedFd)>,
    keeps_file: Option<Arc<AtomicBool>>,
}

/// Binds its sockets, or takes those of the process before.
pub(crate) fn bind(config: &Config, inherited: Option<&mut Inherited>) -> anyhow::Result<Bound> {
    let (taken, taken_socket) = match inherited {
        Some(inherited) => (inherited.admin(), inherited.admin_socket()),
        None => (None, None),
    };
    let address = config.admin;
    let listener = match taken {
        Some(listener) => listener,
        None => {
            TcpListener::bind(address).with_context(|| format!("the admin listener cannot bind {address}"))?
        }
    };
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let guard = Guard {
        token: config.admin_token.clone(),
        statistics: config.statistics.clone(),
    };
    let tls = config
        .admin_tls
        .as_ref()
        .map(|files| tls::acceptor(&files.certificate, &files.key))
        .transpose()?;
    if !address.ip().is_loopback() {
        if guard.is_open() {
            tracing::warn!(%address, "the admin listener is reachable from elsewhere and has no authentication");
        } else if tls.is_none() {
            tracing::warn!(%address, "the admin listener is reachable from elsewhere and its token travels in clear");
        }
    }
    let socket = match (config.admin_socket.as_deref(), taken_socket) {
        (Some(path), Some(listener)) => Some(Socket::new(listener, path)?),
        (Some(path), None) => Some(bind_socket(path)?),
        (None, _) => None,
    };
    Ok(Bound {
        listener,
        socket,
        tls,
        guard,
        address,
    })
}

/// Binds a Unix socket. A file that a run before left behind is replaced; one that somebody answers at is not.
fn bind_socket(path: &Path) -> anyhow::Result<Socket> {
    let cannot = || format!("the admin listener cannot bind {}", path.display());
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            anyhow::ensure!(
                std::os::unix::net::UnixStream::connect(path).is_err(),
                "{}: somebody else listens there",
                cannot()
            );
            std::fs::remove_file(path).with_context(cannot)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
    .with_context(cannot)?;
    Socket::new(listener, path)
}

impl Socket {
    fn new(listener: UnixListener, path: &Path) -> anyhow::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            file: SocketFile {
                path: path.to_owned(),
                is_kept: Arc::default(),
            },
        })
    }
}

impl Admin {
    pub(crate) fn start(
        bound: Bound,
        proxy: &Proxy,
        status: Arc<Status>,
        more: Option<MoreMetrics>,
    ) -> anyhow::Result<Self> {
        let address = bound.address;
        let mut handles = vec![(ADMIN, bound.listener.as_fd().try_clone_to_owned()?)];
        if let Some(socket) = &bound.socket {
            handles.push((ADMIN_SOCKET, socket.listener.as_fd().try_clone_to_owned()?));
        }
        let keeps_file = bound
            .socket
            .as_ref()
            .map(|socket| Arc::clone(&socket.file.is_kept));
        let frames = Arc::new(Frames::new(proxy.clone(), Arc::clone(&status)));
        let router = router(proxy, status, &frames, more);
        let end = CancellationToken::new();
        let ended = end.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new()
            .name("weir-admin".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let served = async {
                        tokio::select! {
                            outcome = serve(bound, router, ended) => outcome,
                            () = frames.sample() => Ok(()),
                        }
                    };
                    if let Err(error) = served.await {
                        tracing::error!(%error, "the admin listener ended");
                    }
                });
            })?;
        Ok(Self {
            address,
            end,
            thread: Some(thread),
            handles,
            keeps_file,
        })
    }

    /// Other handles of its sockets, for the process that takes over.
    pub(crate) fn share(&self) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        let all = self.handles.iter();
        all.map(|(name, handle)| Ok((*name, handle.try_clone()?)))
            .collect()
    }

    /// The file of the Unix socket stays: it leads to the process that took over.
    pub(crate) fn keep_file(&self) {
        if let Some(keeps_file) = &self.keeps_file {
            keeps_file.store(true, Ordering::Relaxed);
        }
    }

    /// Ends the listener. Waits up to a second.
    pub(crate) async fn shutdown(mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn serve(bound: Bound, router: Router, end: CancellationToken) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(bound.listener)?;
    // Who may open the socket's file may ask.
    let (socket, _file) = match bound.socket {
        Some(Socket { listener, file }) => (Some(tokio::net::UnixListener::from_std(listener)?), Some(file)),
        None => (None, None),
    };
    let at_socket = async {
        match socket {
            Some(socket) => {
                axum::serve(socket, router.clone())
                    .with_graceful_shutdown(end.clone().cancelled_owned())
                    .await
            }
            None => std::future::pending().await,
        }
    };
    let guarded = router
        .clone()
        .layer(from_fn_with_state(Arc::new(bound.guard), guard::guard));
    let at_port = async {
        let ended = end.clone().cancelled_owned();
        match bound.tls {
            None => axum::serve(listener, guarded).with_graceful_shutdown(ended).await,
            Some(acceptor) => {
                let listener = tls::Listener::new(listener, acceptor)?;
                axum::serve(listener, guarded).with_graceful_shutdown(ended).await
            }
        }
    };
    tokio::select! {
        outcome = at_port => outcome,
        outcome = at_socket => outcome,
        () = async { end.cancelled().await; tokio::time::sleep(END_TIMEOUT).await } => Ok(()),
    }
}

/// What is asked of the frames.
#[derive(Debug, Deserialize)]
struct Since {
    /// Milliseconds since the Unix epoch.
    since: Option<u64>,
}

/// What is asked of the statistics.
#[derive(Debug, Default, Deserialize)]
struct Shown {
    /// Only gateways whose names have this.
    gateway: Option<String>,
}

fn router(proxy: &Proxy, status: Arc<Status>, frames: &Arc<Frames>, more: Option<MoreMetrics>) -> Router {
    let metered = (proxy.clone(), Arc::clone(&status));
    let seen = (proxy.clone(), Arc::clone(&status), Arc::clone(frames));
    let paged = seen.clone();
    let page = get(async move |Query(shown): Query<Shown>| {
        let (proxy, status, frames) = paged;
        let filter = shown.gateway.unwrap_or_default();
        Html(page::page(&statistics(&proxy, &frames), &status.show(), &filter))
    });
    let told = get(async move || {
        let (proxy, status, frames) = seen;
        let mut tree = status.show();
        let shown = serde_json::to_value(statistics(&proxy, &frames)).unwrap_or_default();
        if let (Value::Object(tree), Value::Object(shown)) = (&mut tree, shown) {
            tree.extend(shown);
        }
        Json(tree)
    });
    let frames = Arc::clone(frames);
    Router::new()
        .route("/", page.clone())
        .route("/stats.html", page)
        .route("/stats", told.clone())
        .route("/stats.json", told)
        .route("/status", get(async move || Json(status.show())))
        .route(
            "/frames",
            get(async move |query: Result<Query<Since>, _>| -> Response {
                match query {
                    Ok(Query(Since { since: None })) => Json(frames.now()).into_response(),
                    Ok(Query(Since { since: Some(at_ms) })) => Json(frames.since(at_ms)).into_response(),
                    Err(_) => {
                        let message = "`since` is a time in milliseconds since the Unix epoch";
                        (StatusCode::BAD_REQUEST, Json(json!({ "message": message }))).into_response()
                    }
                }
            }),
        )
        .route(
            "/metrics",
            get(async move || {
                let (proxy, status) = metered;
                let mut text = proxy.metrics() + &status.metrics();
                if let Some(more) = more {
                    more(&mut text);
                }
                ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
            }),
        )
        .fallback_service(proxy.router())
}

fn statistics(proxy: &Proxy, frames: &Frames) -> statistics::Statistics {
    let (now, base) = frames.window(statistics::WINDOW);
    statistics::statistics(&now, base.as_deref(), &proxy.gateways())
}
