//! The REST API (Vamp's paths below `/api/v1`).
//!
//! **Job.** From requests to reads and changes of artifacts, and back. A request is read to text, the text
//! by `weir_artifact` to artifacts with all problems; changes go through [`change`]; answers are trees until
//! the outermost layer prints them as JSON or YAML.
//!
//! **Invariants.** Bodies are bounded before they are read. A change that was begun is finished, whatever
//! happens to its client. A panic is an answer 500 and a line in the log.
//!
//! **Absent.** No decision about deployments and gateways: those are `reconcile::operations`.

mod answer;
mod change;
mod crud;
mod documents;
mod events;
mod kinds;
mod layers;
mod openapi;
mod paging;
mod path;
mod references;
mod refusal;
mod request;
mod serve;
mod stream;
mod system;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::StatusCode,
    middleware::{from_fn, from_fn_with_state},
    routing::{any, get, post},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use uuid::Uuid;

use self::answer::ApiError;
pub(crate) use self::serve::serve;
use crate::state::State;

/// What handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    state: Arc<State>,
    /// Where this is listened on.
    address: SocketAddr,
    /// This run of control.
    uuid: Uuid,
    /// Ends streams.
    stop: CancellationToken,
    /// Bounds streams.
    streams: Arc<Semaphore>,
    /// Bounds events about refusals.
    refusals: Arc<refusal::Refusals>,
}

impl Api {
    pub(crate) fn new(state: Arc<State>, address: SocketAddr, stop: CancellationToken) -> Self {
        Self {
            state,
            address,
            uuid: Uuid::new_v4(),
            stop,
            streams: Arc::new(Semaphore::new(stream::STREAMS_MAX)),
            refusals: Arc::default(),
        }
    }
}

/// Every path: the API, and the pages for all else.
pub(crate) fn router(api: Api) -> Router {
    let paths = Router::new()
        .route(
            "/",
            post(documents::create)
                .put(documents::update)
                .delete(documents::delete),
        )
        .route("/openapi.json", get(openapi::serve))
        .route("/info", get(system::info))
        .route("/information", get(system::info))
        .route("/agents", get(system::agents))
        .route("/traffic", get(system::traffic))
        .route("/events", get(events::list).post(events::publish))
        .route("/events/stream", get(stream::stream))
        .route("/deployments/{deployment}/clusters/{cluster}/sla", get(crud::sla))
        .route(
            "/deployments/{deployment}/clusters/{cluster}/services/{service}/scale",
            get(crud::scale).put(crud::put_scale),
        )
        .route("/{kind}", get(crud::list).post(crud::create))
        .route(
            "/{kind}/{*name}",
            get(crud::read).put(crud::update).delete(crud::delete),
        );
    let api = Router::new()
        .nest(path::BASE, paths)
        // What looks like the API and is not is told so; everything else is a page.
        .route("/api", any(not_found))
        .route("/api/{*rest}", any(not_found))
        .route("/{namespace}/api/v1", any(not_found))
        .route("/{namespace}/api/v1/{*rest}", any(not_found))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(api.clone(), refusal::told))
        .layer(from_fn_with_state(api.clone(), layers::guard))
        .layer(from_fn_with_state(api.clone(), layers::origin))
        .layer(from_fn(layers::finish))
        .layer(layers::cors(&api))
        .with_state(api);
    api.fallback_service(weir_ui::router())
        .layer(CompressionLayer::new())
}

async fn not_found() -> ApiError {
    ApiError::not_found()
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "The path does not know this method.",
    )
}
