//! The service that the demo deploys: says which version it is.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use clap::Args;

use super::MARK;
use crate::{failure::Failure, process::ProcessId, signals::Signals};

/// Header that names the version.
pub(crate) const VERSION_HEADER: &str = "x-demo-version";
/// Between two looks whether the demo still runs.
const LOOK: Duration = Duration::from_millis(250);
/// Longest time for requests in flight when it stops.
const DRAIN: Duration = Duration::from_secs(3);

/// The service that `weir demo` deploys. Listens on the loopback port of the variable PORT.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoService {
    /// Which version it says it is
    #[arg(long)]
    version: String,
}

#[derive(Clone, Debug)]
struct Identity {
    version: String,
    port: u16,
}

pub(crate) async fn run(service: DemoService) -> Result<(), Failure> {
    let port: u16 = std::env::var("PORT")
        .context("the variable PORT is not set")?
        .parse()
        .context("the variable PORT is no port")?;
    let demo = match std::env::var(MARK) {
        Ok(mark) => Some(mark.parse::<ProcessId>().map_err(Failure::Usage)?),
        Err(_) => None,
    };
    let mut signals = Signals::new()?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot listen on port {port}"))?;
    let router = Router::new()
        .route("/health", get(async || "ok\n"))
        .fallback(answer)
        .with_state(Identity {
            version: service.version,
            port,
        });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async {
        // A sender that is gone means the same.
        let _ = stopped.await;
    });
    let mut serving = tokio::spawn(serving.into_future());
    tokio::select! {
        () = signals.next() => {}
        () = gone(demo) => {}
        ended = &mut serving => {
            ended.map_err(anyhow::Error::new)?.context("the server ended")?;
        }
    }
    let _ = stop.send(());
    let _ = tokio::time::timeout(DRAIN, serving).await;
    Ok(())
}

/// Waits until the demo's process is gone; for ever without one.
async fn gone(demo: Option<ProcessId>) {
    let Some(demo) = demo else {
        return std::future::pending().await;
    };
    while demo.is_running() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn answer(State(identity): State<Identity>, headers: HeaderMap) -> Response {
    let Identity { version, port } = identity;
    let pid = std::process::id();
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("json"));
    let named = [(VERSION_HEADER, version.clone())];
    if wants_json {
        let body =
            serde_json::json!({"version": version, "instance": format!("127.0.0.1:{port}"), "process": pid});
        (named, Json(body)).into_response()
    } else {
        let body = format!("demo version {version}, instance 127.0.0.1:{port}, process {pid}\n");
        (named, body).into_response()
    }
}
