//! Something behind the proxy that tells what it got.

use std::net::SocketAddr;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{
        Request,
        ws::{Message, WebSocketUpgrade},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use futures::stream;
use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// Each word becomes a piece of `/pieces`.
    pub(crate) pieces: mpsc::Sender<&'static str>,
    server: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (pieces, receiver) = mpsc::channel::<&'static str>(8);
        let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(Some(receiver)));
        let router = Router::new()
            .route("/socket", get(socket))
            .route(
                "/pieces",
                get(async move || pieces_of(receiver.lock().await.take().unwrap())),
            )
            .route(
                "/moved",
                get(async || (StatusCode::FOUND, [("location", "/there?a=b")])),
            )
            .route("/broken", get(async || (StatusCode::BAD_REQUEST, "own words")))
            .fallback(any(told));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            address,
            pieces,
            server,
        }
    }
}

/// Method, path, headers and body of the request.
async fn told(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let headers: serde_json::Map<_, _> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())))
        .collect();
    let told = json!({
        "method": parts.method.as_str(),
        "path": parts.uri.to_string(),
        "headers": headers,
        "length": body.len(),
    });
    (
        [("x-own", "yes"), ("connection", "x-hop"), ("x-hop", "1")],
        told.to_string(),
    )
        .into_response()
}

fn pieces_of(receiver: mpsc::Receiver<&'static str>) -> Response {
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        let word = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(Bytes::from(word)), receiver))
    });
    Response::new(Body::from_stream(pieces))
}

async fn socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            if let Message::Text(text) = message {
                let back = Message::Text(format!("back: {text}").into());
                if socket.send(back).await.is_err() {
                    return;
                }
            }
        }
    })
}
