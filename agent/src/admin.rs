//! The admin listener: on a thread and a runtime of its own, so that a busy data plane or store does not
//! silence it.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use axum::{Json, Router, http::header::CONTENT_TYPE, routing::get};
use tokio_util::sync::CancellationToken;
use weir_proxy::Proxy;

use crate::status::Status;

/// Longest wait for answers under way at the end.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// A bound admin listener that does not serve yet.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    end: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<Bound> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("the admin listener cannot bind {address}"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "the admin listener is reachable from elsewhere and has no authentication");
    }
    Ok(Bound { listener, address })
}

impl Admin {
    pub(crate) fn start(bound: Bound, proxy: &Proxy, status: Arc<Status>) -> anyhow::Result<Self> {
        let Bound { listener, address } = bound;
        let router = router(proxy, status);
        let end = CancellationToken::new();
        let ended = end.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new()
            .name("weir-admin".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    if let Err(error) = serve(listener, router, ended).await {
                        tracing::error!(%error, "the admin listener ended");
                    }
                });
            })?;
        Ok(Self {
            address,
            end,
            thread: Some(thread),
        })
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

async fn serve(listener: TcpListener, router: Router, end: CancellationToken) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let serving = axum::serve(listener, router).with_graceful_shutdown(end.clone().cancelled_owned());
    tokio::select! {
        outcome = serving => outcome,
        () = async { end.cancelled().await; tokio::time::sleep(END_TIMEOUT).await } => Ok(()),
    }
}

fn router(proxy: &Proxy, status: Arc<Status>) -> Router {
    let metered = (proxy.clone(), Arc::clone(&status));
    Router::new()
        .route("/status", get(async move || Json(status.show())))
        .route(
            "/metrics",
            get(async move || {
                let (proxy, status) = metered;
                let text = proxy.metrics() + &status.metrics();
                ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
            }),
        )
        .fallback_service(proxy.router())
}
