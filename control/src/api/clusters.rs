//! `/deployments/{d}/clusters/{c}/sla` and `.../services/{s}/scale` (spec of the API §6).

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::Value;
use weir_artifact::{Artifact, ClusterSla, Deployment, Kind, OrReference, Sla, read, write};

use super::{
    Api,
    answer::{Answer, ApiError, ErrorBody},
    change::deployment_tree,
    request::Submission,
};
use crate::{event::Archive, state::Shelf};

/// Reads the SLA of a cluster.
#[utoipa::path(get, path = "/deployments/{deployment}/clusters/{cluster}/sla", tag = "deployments",
    params(("deployment" = String, Path), ("cluster" = String, Path)),
    responses((status = 200, description = "The SLA, or null", body = Value),
        (status = 404, description = "No such deployment or cluster", body = ErrorBody)))]
pub(super) async fn sla(
    State(api): State<Api>,
    Path((deployment, cluster)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let deployment = of_cluster(&api.state, &deployment, &cluster).await?;
    Ok(Answer::ok(part(deployment_tree(deployment), &[&cluster, "sla"])))
}

/// Replaces the SLA of a cluster.
#[utoipa::path(post, path = "/deployments/{deployment}/clusters/{cluster}/sla", tag = "deployments",
    params(("deployment" = String, Path), ("cluster" = String, Path),
        ("validate_only" = Option<bool>, Query, description = "Check, but change nothing")),
    request_body(content = Value, description = "An SLA, or a reference to one"),
    responses((status = 202, description = "The SLA now wanted", body = Value),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 404, description = "No such deployment or cluster", body = ErrorBody)))]
pub(super) async fn create_sla(
    Path(place): Path<(String, String)>,
    asked: Submission,
) -> Result<Answer, ApiError> {
    set_sla(place, &asked).await
}

/// Replaces the SLA of a cluster.
#[utoipa::path(put, path = "/deployments/{deployment}/clusters/{cluster}/sla", tag = "deployments",
    params(("deployment" = String, Path), ("cluster" = String, Path),
        ("validate_only" = Option<bool>, Query, description = "Check, but change nothing")),
    request_body(content = Value, description = "An SLA, or a reference to one"),
    responses((status = 202, description = "The SLA now wanted", body = Value),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 404, description = "No such deployment or cluster", body = ErrorBody)))]
pub(super) async fn put_sla(
    Path(place): Path<(String, String)>,
    asked: Submission,
) -> Result<Answer, ApiError> {
    set_sla(place, &asked).await
}

async fn set_sla((deployment, cluster): (String, String), asked: &Submission) -> Result<Answer, ApiError> {
    let validate_only = asked.validate_only()?;
    let given = read::sla(&asked.text)?;
    let mut change = asked.change(Archive::Update).await;
    let mut changed = of_cluster(&change.tx, &deployment, &cluster).await?;
    let given = resolved(&change.tx, given).await?;
    if let Some(cluster) = changed.clusters.get_mut(&cluster) {
        cluster.sla = Some(given);
    }
    let shown = part(deployment_tree(changed.clone()), &[&cluster, "sla"]);
    change.put_deployment(changed);
    change.finish(validate_only).await?;
    Ok(Answer::new(StatusCode::ACCEPTED, shown))
}

/// The SLA that a reference names, with the escalations that the reference has itself.
async fn resolved(shelf: &Shelf, sla: ClusterSla) -> Result<ClusterSla, ApiError> {
    let ClusterSla::Reference(reference) = sla else {
        return Ok(sla);
    };
    let Some(Artifact::Sla(named)) = shelf.artifact(Kind::Sla, &reference.name).await? else {
        return Err(ApiError::problem(
            "ArtifactNotFound",
            format!("There is no sla `{}`.", reference.name),
        ));
    };
    Ok(ClusterSla::Inline(Sla {
        escalation: reference.escalation.or(named.sla.escalation),
        ..named.sla
    }))
}

/// Takes the SLA of a cluster away.
#[utoipa::path(delete, path = "/deployments/{deployment}/clusters/{cluster}/sla", tag = "deployments",
    params(("deployment" = String, Path), ("cluster" = String, Path),
        ("validate_only" = Option<bool>, Query, description = "Check, but change nothing")),
    responses((status = 204, description = "There is none any more"),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 404, description = "No such deployment or cluster", body = ErrorBody)))]
pub(super) async fn delete_sla(
    Path((deployment, cluster)): Path<(String, String)>,
    asked: Submission,
) -> Result<Answer, ApiError> {
    let validate_only = asked.validate_only()?;
    let mut change = asked.change(Archive::Update).await;
    let mut deployment = of_cluster(&change.tx, &deployment, &cluster).await?;
    let had = deployment
        .clusters
        .get_mut(&cluster)
        .and_then(|cluster| cluster.sla.take());
    if had.is_some() {
        change.put_deployment(deployment);
    }
    change.finish(validate_only).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// Reads the scale of a service.
#[utoipa::path(get, path = "/deployments/{deployment}/clusters/{cluster}/services/{service}/scale",
    tag = "deployments",
    params(("deployment" = String, Path), ("cluster" = String, Path), ("service" = String, Path,
        description = "Name of the breed")),
    responses((status = 200, description = "The scale, or null", body = Value),
        (status = 404, description = "No such service", body = ErrorBody)))]
pub(super) async fn scale(
    State(api): State<Api>,
    Path((deployment, cluster, service)): Path<(String, String, String)>,
) -> Result<Answer, ApiError> {
    let mut deployment = of_cluster(&api.state, &deployment, &cluster).await?;
    let scale = deployment
        .clusters
        .get_mut(&cluster)
        .and_then(|cluster| {
            let mut services = cluster.services.iter_mut();
            services.find(|known| known.name() == service)
        })
        .ok_or_else(ApiError::not_found)?
        .scale
        .take();
    Ok(Answer::ok(
        scale.map(|scale| write::scale(&scale)).unwrap_or_default(),
    ))
}

/// Sets the scale of a service, which is deployed anew with it.
#[utoipa::path(put, path = "/deployments/{deployment}/clusters/{cluster}/services/{service}/scale",
    tag = "deployments",
    params(("deployment" = String, Path), ("cluster" = String, Path), ("service" = String, Path,
        description = "Name of the breed"),
        ("validate_only" = Option<bool>, Query, description = "Check, but change nothing")),
    request_body(content = Value, description = "`{cpu, memory, instances}` or a reference"),
    responses((status = 202, description = "The scale now wanted", body = Value),
        (status = 400, description = "Wrong", body = ErrorBody),
        (status = 404, description = "No such service", body = ErrorBody)))]
pub(super) async fn put_scale(
    Path((deployment, cluster, service)): Path<(String, String, String)>,
    asked: Submission,
) -> Result<Answer, ApiError> {
    let validate_only = asked.validate_only()?;
    let scale = read::scale(&asked.text)?;
    let mut change = asked.change(Archive::Update).await;
    let scale = change.scale([&deployment, &cluster, &service], scale).await?;
    change.finish(validate_only).await?;
    Ok(Answer::new(
        StatusCode::ACCEPTED,
        write::scale(&OrReference::Inline(scale)),
    ))
}

/// A deployment that has a cluster.
async fn of_cluster(shelf: &Shelf, deployment: &str, cluster: &str) -> Result<Deployment, ApiError> {
    let found = shelf.deployment(deployment).await?;
    found
        .filter(|deployment| deployment.clusters.contains_key(cluster))
        .ok_or_else(ApiError::not_found)
}

/// A part of a printed deployment's cluster.
fn part(mut tree: Value, [cluster, key]: &[&str; 2]) -> Value {
    let part = tree
        .get_mut("clusters")
        .and_then(|clusters| clusters.get_mut(cluster)?.get_mut(key));
    part.map(Value::take).unwrap_or_default()
}
