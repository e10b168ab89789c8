//! `/{kind}` and `/{kind}/{name}` (spec of the API §3, §4, §6).

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use serde_json::Value;
use weir_artifact::{
    Artifact, Breed, Deployable, Kind,
    read::{self, DeployRequest},
    write,
};

use super::{
    Api,
    answer::{Answer, ApiError},
    change::{Change, deployment_tree},
    kinds::{Collection, later},
    paging::Paging,
    references::References,
    request::{Parameters, Text},
};
use crate::{
    error::OperationError,
    event::Archive,
    reconcile::operations,
    state::{name_of, plural},
};

/// Type of a breed that holds a script.
const JAVASCRIPT: &str = "application/javascript";

/// `GET /{kind}`
pub(super) async fn list(
    State(api): State<Api>,
    Path(kind): Path<String>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Answer, ApiError> {
    let references = References::asked(&parameters)?;
    let state = &*api.state;
    let (artifacts, total) = match Collection::of(&kind)? {
        Collection::Later(_) => (Vec::new(), 0),
        Collection::Gateways => {
            let (gateways, total) = paging.of(operations::gateways_view(state).await?);
            (gateways.into_iter().map(Artifact::Gateway).collect(), total)
        }
        Collection::Deployments => {
            let (deployments, total) = paging.of(state.deployments().await?);
            if parameters.flag("as_blueprint")? {
                let mut trees = Vec::with_capacity(deployments.len());
                for deployment in deployments {
                    trees.push(as_blueprint(&api, &deployment.name, references).await?);
                }
                return Ok(paging.answer(trees, total));
            }
            (deployments.into_iter().map(Artifact::Deployment).collect(), total)
        }
        Collection::Stored(kind) => {
            let (stored, total) = state.persist.list(plural(kind), paging.part()).await?;
            let mut artifacts = Vec::with_capacity(stored.len());
            for stored in stored {
                artifacts.push(refreshed(&api, crate::state::typed(kind, &stored)?).await?);
            }
            (artifacts, total)
        }
    };
    let mut trees = Vec::with_capacity(artifacts.len());
    for artifact in artifacts {
        trees.push(write::value(&references.apply(state, artifact).await?));
    }
    Ok(paging.answer(trees, total))
}

/// `GET /{kind}/{name}`
pub(super) async fn read(
    State(api): State<Api>,
    Path((kind, name)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Answer, ApiError> {
    let references = References::asked(&parameters)?;
    let state = &*api.state;
    let artifact = match Collection::of(&kind)? {
        Collection::Later(_) => None,
        Collection::Gateways => operations::gateway_view(state, &gateway_name(&name))
            .await?
            .map(Artifact::Gateway),
        Collection::Deployments => {
            if parameters.flag("as_blueprint")? {
                return Ok(Answer::ok(as_blueprint(&api, &name, references).await?));
            }
            state.deployment(&name).await?.map(Artifact::Deployment)
        }
        Collection::Stored(kind) => match state.artifact(kind, &name).await? {
            Some(artifact) => Some(refreshed(&api, artifact).await?),
            None => None,
        },
    };
    let artifact = artifact.ok_or_else(ApiError::not_found)?;
    let artifact = references.apply(state, artifact).await?;
    Ok(Answer::ok(write::value(&artifact)))
}

/// `POST /{kind}`
pub(super) async fn create(
    State(api): State<Api>,
    Path(kind): Path<String>,
    parameters: Parameters,
    Text(text): Text,
) -> Result<Answer, ApiError> {
    let change = Change {
        state: &api.state,
        archive: Archive::Create,
        validate_only: parameters.flag("validate_only")?,
        source: &text,
    };
    match Collection::of(&kind)? {
        Collection::Later(kind) => Err(later(kind)),
        Collection::Stored(kind) => {
            let artifact = read::one(kind, &text)?;
            stored(&change, artifact, StatusCode::CREATED).await
        }
        Collection::Gateways => gateway(&change, None).await,
        Collection::Deployments => {
            let request = read::deploy_request(&text)?;
            let tree = change.deploy(None, request).await?;
            Ok(Answer::new(StatusCode::ACCEPTED, tree))
        }
    }
}

/// `PUT /{kind}/{name}`
pub(super) async fn update(
    State(api): State<Api>,
    Path((kind, name)): Path<(String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
    Text(text): Text,
) -> Result<Answer, ApiError> {
    let change = Change {
        state: &api.state,
        archive: Archive::Update,
        validate_only: parameters.flag("validate_only")?,
        source: &text,
    };
    match Collection::of(&kind)? {
        Collection::Later(kind) => Err(later(kind)),
        Collection::Stored(kind) => {
            let artifact = if kind == Kind::Breed && is_javascript(&headers) {
                script(name.clone(), text.clone())
            } else {
                read::one(kind, &text)?
            };
            same_name(&name, name_of(&artifact))?;
            stored(&change, artifact, StatusCode::OK).await
        }
        Collection::Gateways => gateway(&change, Some(&gateway_name(&name))).await,
        Collection::Deployments if parameters.flag("delete")? => undeploy(&change, &name).await,
        Collection::Deployments => {
            let request = read::deploy_request(&text)?;
            let tree = change.deploy(Some(&name), request).await?;
            Ok(Answer::new(StatusCode::ACCEPTED, tree))
        }
    }
}

/// `DELETE /{kind}/{name}`
pub(super) async fn delete(
    State(api): State<Api>,
    Path((kind, name)): Path<(String, String)>,
    parameters: Parameters,
    Text(text): Text,
) -> Result<Answer, ApiError> {
    let change = Change {
        state: &api.state,
        archive: Archive::Delete,
        validate_only: parameters.flag("validate_only")?,
        source: &text,
    };
    match Collection::of(&kind)? {
        Collection::Later(kind) => Err(later(kind)),
        Collection::Deployments => {
            // The deployment loses services; it is not deleted by that.
            let change = Change {
                archive: Archive::Update,
                ..change
            };
            undeploy(&change, &name).await
        }
        Collection::Gateways => {
            change.remove(Collection::Gateways, &gateway_name(&name)).await?;
            Ok(Answer::new(StatusCode::ACCEPTED, Value::Null))
        }
        collection @ Collection::Stored(_) => {
            change.remove(collection, &name).await?;
            Ok(Answer::empty(StatusCode::NO_CONTENT))
        }
    }
}

async fn stored(change: &Change<'_>, artifact: Artifact, status: StatusCode) -> Result<Answer, ApiError> {
    if change.validate_only {
        return Ok(Answer::new(status, write::value(&artifact)));
    }
    let all = change.store(vec![artifact]).await?;
    Ok(Answer::new(status, all.iter().map(write::value).collect()))
}

async fn gateway(change: &Change<'_>, name: Option<&str>) -> Result<Answer, ApiError> {
    let Artifact::Gateway(gateway) = read::one(Kind::Gateway, change.source)? else {
        return Err(ApiError::internal());
    };
    if let Some(name) = name {
        same_name(name, &gateway.name)?;
    }
    let tree = change.gateway(gateway).await?;
    Ok(Answer::new(StatusCode::ACCEPTED, tree))
}

async fn undeploy(change: &Change<'_>, name: &str) -> Result<Answer, ApiError> {
    let request: Option<DeployRequest> = match change.source.trim() {
        "" => None,
        _ => Some(read::deploy_request(change.source)?),
    };
    match change.undeploy(name, request).await {
        Ok(tree) => Ok(Answer::new(StatusCode::ACCEPTED, tree)),
        Err(error) => Err(error),
    }
}

async fn as_blueprint(api: &Api, name: &str, references: References) -> Result<Value, ApiError> {
    let blueprint = operations::deployment_as_blueprint(&api.state, name).await;
    let blueprint = match blueprint {
        Err(OperationError::NotFound { .. }) => return Err(ApiError::not_found()),
        other => other?,
    };
    let artifact = references
        .apply(&api.state, Artifact::Blueprint(blueprint))
        .await?;
    Ok(write::value(&artifact))
}

async fn refreshed(api: &Api, mut artifact: Artifact) -> Result<Artifact, ApiError> {
    if let Artifact::Blueprint(blueprint) = &mut artifact {
        api.state.refresh(blueprint).await?;
    }
    Ok(artifact)
}

/// Names of gateways are decoded once more (spec of the API §1), as clients encode them twice.
fn gateway_name(name: &str) -> String {
    name.replace("%2F", "/").replace("%2f", "/")
}

fn same_name(path: &str, body: &str) -> Result<(), ApiError> {
    if path == body {
        return Ok(());
    }
    Err(ApiError::problem(
        "InconsistentArtifactName",
        format!("The path names `{path}`, the body `{body}`."),
    ))
}

fn is_javascript(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().starts_with(JAVASCRIPT))
}

fn script(name: String, definition: String) -> Artifact {
    Artifact::Breed(Breed {
        name,
        deployable: Deployable {
            kind: Some(JAVASCRIPT.to_owned()),
            definition,
        },
        ..Breed::default()
    })
}

/// `GET /deployments/{deployment}/clusters/{cluster}/sla`
#[utoipa::path(get, path = "/deployments/{deployment}/clusters/{cluster}/sla", tag = "deployments",
    params(("deployment" = String, Path), ("cluster" = String, Path)),
    responses((status = 200, description = "As stored, or null", body = Value),
        (status = 404, description = "No such deployment or cluster", body = super::answer::ErrorBody)))]
pub(super) async fn sla(
    State(api): State<Api>,
    Path((deployment, cluster)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let mut deployment = api
        .state
        .deployment(&deployment)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let cluster = deployment
        .clusters
        .get_mut(&cluster)
        .ok_or_else(ApiError::not_found)?;
    Ok(Answer::ok(cluster.sla.take().unwrap_or(Value::Null)))
}

/// `GET /deployments/{deployment}/clusters/{cluster}/services/{service}/scale`
#[utoipa::path(get, path = "/deployments/{deployment}/clusters/{cluster}/services/{service}/scale",
    tag = "deployments",
    params(("deployment" = String, Path), ("cluster" = String, Path), ("service" = String, Path,
        description = "Name of the breed")),
    responses((status = 200, description = "The scale, or null", body = Value),
        (status = 404, description = "No such service", body = super::answer::ErrorBody)))]
pub(super) async fn scale(
    State(api): State<Api>,
    Path((deployment, cluster, service)): Path<(String, String, String)>,
) -> Result<Answer, ApiError> {
    let deployment = api
        .state
        .deployment(&deployment)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let index = deployment
        .clusters
        .get(&cluster)
        .and_then(|cluster| cluster.services.iter().position(|known| known.name() == service))
        .ok_or_else(ApiError::not_found)?;
    let mut tree = deployment_tree(deployment);
    let scale = tree.get_mut("clusters").and_then(|clusters| {
        clusters
            .get_mut(&cluster)?
            .get_mut("services")?
            .get_mut(index)?
            .get_mut("scale")
    });
    Ok(Answer::ok(scale.map(Value::take).unwrap_or_default()))
}

/// `PUT /deployments/{deployment}/clusters/{cluster}/services/{service}/scale`
#[utoipa::path(put, path = "/deployments/{deployment}/clusters/{cluster}/services/{service}/scale",
    tag = "deployments",
    params(("deployment" = String, Path), ("cluster" = String, Path), ("service" = String, Path,
        description = "Name of the breed"), ("validate_only" = Option<bool>, Query)),
    request_body(content = Value, description = "`{cpu, memory, instances}` or a reference"),
    responses((status = 202, description = "The scale now wanted", body = Value),
        (status = 400, description = "Wrong", body = super::answer::ErrorBody),
        (status = 404, description = "No such service", body = super::answer::ErrorBody)))]
pub(super) async fn put_scale(
    State(api): State<Api>,
    Path((deployment, cluster, service)): Path<(String, String, String)>,
    parameters: Parameters,
    Text(text): Text,
) -> Result<Answer, ApiError> {
    let change = Change {
        state: &api.state,
        archive: Archive::Update,
        validate_only: parameters.flag("validate_only")?,
        source: &text,
    };
    let scale = read::scale(&text)?;
    let tree = change.scale([&deployment, &cluster, &service], scale).await?;
    Ok(Answer::new(StatusCode::ACCEPTED, tree))
}
