//! What the proxy tells: for Prometheus, for health checks, for control.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use serde_json::json;

use crate::Proxy;

pub(crate) fn router(proxy: Proxy) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/frames", get(frames))
        .with_state(proxy)
}

async fn metrics(State(proxy): State<Proxy>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        proxy.metrics(),
    )
}

async fn health(State(proxy): State<Proxy>) -> impl IntoResponse {
    let (generation, digest) = proxy.serving();
    let (code, status) = if proxy.is_leaving() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ok")
    };
    let body = json!({ "status": status, "generation": generation, "digest": digest });
    (code, Json(body))
}

async fn frames(State(proxy): State<Proxy>) -> impl IntoResponse {
    Json(proxy.frame())
}
