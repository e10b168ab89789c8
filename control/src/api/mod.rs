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
mod backup;
mod change;
mod clusters;
mod compose;
mod configuration;
mod crud;
mod documents;
mod drift;
mod events;
mod figures;
mod gate;
mod import;
mod instances;
mod kinds;
mod layers;
mod lead;
mod logs;
mod negotiate;
mod openapi;
mod page;
mod paging;
mod path;
mod patient;
mod plural;
mod references;
mod refusal;
mod request;
mod request_id;
mod reverse;
mod revisions;
mod scheduler;
mod serve;
mod stream;
mod system;
mod tail;
mod tokens;
mod version;
mod vga;
mod websocket;
mod workflows;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::StatusCode,
    middleware::{from_fn, from_fn_with_state},
    routing::{any, delete, get, post},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use uuid::Uuid;

use self::answer::ApiError;
pub(crate) use self::{serve::serve, system::PART_TIMEOUT};
use crate::state::State;

/// Below an instance.
const INSTANCE_LOGS: &str =
    "/deployments/{deployment}/clusters/{cluster}/services/{service}/instances/{instance}/logs";
const INSTANCE_EXEC: &str =
    "/deployments/{deployment}/clusters/{cluster}/services/{service}/instances/{instance}/exec";

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
    /// Bounds sockets.
    sockets: Arc<Semaphore>,
    /// Bounds events about refusals.
    refusals: Arc<refusal::Refusals>,
    /// Bounds events about those who were not let in.
    denials: Arc<refusal::Refusals>,
    /// What `/proxy` may keep busy.
    proxied: Arc<Semaphore>,
}

impl Api {
    pub(crate) fn new(state: Arc<State>, address: SocketAddr, stop: CancellationToken) -> Self {
        Self {
            state,
            address,
            uuid: Uuid::new_v4(),
            stop,
            streams: Arc::new(Semaphore::new(stream::STREAMS_MAX)),
            sockets: Arc::new(Semaphore::new(websocket::SOCKETS_MAX)),
            refusals: Arc::default(),
            denials: Arc::default(),
            proxied: Arc::new(Semaphore::new(reverse::PROXIED_MAX)),
        }
    }

    /// The right to one stream more.
    fn stream_permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("There are {} streams already.", stream::STREAMS_MAX),
            )
        })
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
        .route("/docs", get(page::index))
        .route("/docs/{file}", get(page::file))
        .route("/plan", post(documents::plan))
        .route("/info", get(system::info))
        .route("/information", get(system::info))
        .route("/stats", get(system::stats))
        .route("/statistics", get(system::stats))
        .route(
            "/config",
            get(configuration::read_all)
                .put(configuration::update)
                .post(configuration::create),
        )
        .route(
            "/configuration",
            get(configuration::read_all)
                .put(configuration::update)
                .post(configuration::create),
        )
        .route("/config/{key}", get(configuration::read_one))
        .route("/configuration/{key}", get(configuration::read_one))
        .route("/scheduler/nodes", get(scheduler::nodes))
        .route("/scheduler/routing", get(scheduler::routing))
        .route("/metrics/{*rest}", get(figures::metrics))
        .route("/health/{*rest}", get(figures::health))
        .route("/agents", get(system::agents))
        .route("/leader", get(system::leader))
        .route(
            "/vga/{type}/{name}/template",
            get(vga::template)
                .put(vga::put_template)
                .post(vga::put_template)
                .delete(vga::delete_template),
        )
        .route("/vga/{type}/{name}/configuration", get(vga::configuration))
        .route("/vga/{type}/{name}/config", get(vga::configuration))
        .route("/haproxy/{version}", get(vga::haproxy))
        .route("/traffic", get(system::traffic))
        .route("/allocation", get(instances::show))
        .route(INSTANCE_LOGS, get(instances::logs))
        .route(INSTANCE_EXEC, post(instances::exec))
        .route("/backup", get(backup::backup))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{token}", delete(tokens::revoke))
        .route("/logs", get(logs::stream))
        .route("/log", get(logs::stream))
        .route("/events", get(events::list).post(events::publish))
        .route("/events/stream", get(stream::stream))
        .route(
            "/deployments/{deployment}/clusters/{cluster}/sla",
            get(clusters::sla)
                .post(clusters::create_sla)
                .put(clusters::put_sla)
                .delete(clusters::delete_sla),
        )
        .route(
            "/deployments/{deployment}/clusters/{cluster}/services/{service}/scale",
            get(clusters::scale).put(clusters::put_scale),
        )
        .route("/{kind}", get(crud::list).post(crud::create))
        .route(
            "/{kind}/{*name}",
            get(crud::read)
                .post(crud::create_below)
                .put(crud::update)
                .delete(crud::delete),
        );
    let rest = Router::new()
        .nest(path::BASE, paths)
        // What looks like the API and is not is told so; everything else is a page.
        .route("/api", any(not_found))
        .route("/api/{*rest}", any(not_found))
        .route("/{namespace}/api/v1", any(not_found))
        .route("/{namespace}/api/v1/{*rest}", any(not_found))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(api.clone(), lead::led))
        .layer(from_fn(negotiate::negotiated))
        .layer(from_fn_with_state(api.clone(), refusal::told))
        .layer(from_fn_with_state(api.clone(), layers::guard))
        .layer(from_fn_with_state(api.clone(), gate::gate))
        .layer(from_fn_with_state(api.clone(), layers::origin))
        .layer(from_fn_with_state(api.clone(), plural::kinds))
        .layer(from_fn(layers::finish))
        .layer(layers::cors(&api))
        .with_state(api.clone());
    let sockets = websocket::Sockets {
        api: api.clone(),
        router: rest.clone(),
    };
    let sockets = Router::new()
        .route(path::SOCKET, get(websocket::open))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(layers::finish))
        .with_state(sockets);
    // What is proxied passes as it is.
    let proxy = Router::new()
        .route(path::PROXY, any(reverse::pass))
        .route(&format!("{}/", path::PROXY), any(reverse::pass))
        .route(&format!("{}/{{*rest}}", path::PROXY), any(reverse::pass))
        .with_state(api);
    rest.fallback_service(weir_ui::router())
        .layer(CompressionLayer::new())
        .merge(sockets)
        .merge(proxy)
        .layer(from_fn(request_id::identified))
}

async fn not_found() -> ApiError {
    ApiError::not_found()
}

async fn method_not_allowed() -> ApiError {
    ApiError::method_not_allowed()
}
