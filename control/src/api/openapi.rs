//! The description of the interface, made from the code.

mod artifacts;
mod common;
mod parts;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::IntoResponse,
};
use utoipa::{OpenApi, openapi::tag::TagBuilder};
use weir_artifact::Kind;

use super::{
    Api, answer, backup, clusters, configuration, documents, drift, events, instances, logs, path::BASE,
    scheduler, stream, system, tokens, vga,
};

/// What annotations of handlers say.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir",
        description = "Artifacts, deployments, gateways and events. Bodies and answers are JSON or YAML \
            (`application/x-yaml`). Every path also exists below `/{namespace}`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        documents::create,
        documents::update,
        documents::delete,
        documents::plan,
        clusters::sla,
        clusters::create_sla,
        clusters::put_sla,
        clusters::delete_sla,
        clusters::scale,
        clusters::put_scale,
        events::publish,
        events::list,
        stream::stream,
        logs::stream,
        backup::backup,
        system::info,
        system::stats,
        system::agents,
        system::traffic,
        system::leader,
        vga::template,
        vga::put_template,
        vga::delete_template,
        vga::configuration,
        configuration::read_all,
        configuration::read_one,
        configuration::update,
        configuration::create,
        instances::show,
        instances::logs,
        instances::exec,
        scheduler::nodes,
        scheduler::routing,
        tokens::list,
        tokens::create,
        tokens::revoke,
    ),
    components(schemas(answer::ErrorBody, events::EventBody, drift::PlanBody))
)]
struct Described;

/// Groups of paths beside the kinds, with what they are.
const GROUPS: [(&str, &str); 5] = [
    ("documents", "Many artifacts of any kinds at once"),
    ("events", "Everything that happens"),
    ("figures", "Metrics and health as single numbers"),
    ("system", "What this control is and does"),
    ("access", "Who may do what"),
];

/// The whole description.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Described::openapi();
    document.paths.paths = document
        .paths
        .paths
        .into_iter()
        .map(|(path, item)| (format!("{BASE}{}", path.trim_end_matches('/')), item))
        .collect();
    artifacts::describe(&mut document);
    common::complete(&mut document);
    let kinds = Kind::ALL.map(|kind| (kind.plural(), format!("The {} and their versions", kind.plural())));
    let groups = GROUPS.map(|(name, about)| (name, about.to_owned()));
    let tags = kinds
        .into_iter()
        .chain(groups)
        .map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build());
    document.tags = Some(tags.collect());
    document
}

/// `GET /openapi.json`
pub(super) async fn serve(State(_): State<Api>) -> impl IntoResponse {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], Json(document()))
}
