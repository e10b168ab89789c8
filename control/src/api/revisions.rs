//! `/{kind}/{name}/revisions`: what an artifact was, and going back to it.
//!
//! **Invariants.** A revision of a deployment is what was wanted of it, as the blueprint that would make it: what
//! ran is not part of it. Going back is a change like any other: it makes a new revision, or nothing.

use axum::http::StatusCode;
use serde_json::{Value, json};
use weir_artifact::{Artifact, Blueprint, Deployment, Kind, OrReference, read, read::DeployRequest, write};
use weir_persist::{Page, Stored};

use super::{
    Api,
    answer::{Answer, ApiError},
    change::{Change, deployed},
    paging::Paging,
    version::{Preconditions, tagged},
};
use crate::{
    access::Principal,
    event::{Archive, timestamp},
    reconcile::operations,
    state::{INTENTS, digest, intent},
};

/// Kind under which revisions are kept.
const fn kept(kind: Kind) -> &'static str {
    match kind {
        Kind::Deployment => INTENTS,
        kind => kind.plural(),
    }
}

/// Newest first.
async fn history(api: &Api, kind: Kind, name: &str) -> Result<Vec<Stored>, ApiError> {
    let history = api.state.persist.history(kept(kind), name, Page::ALL).await?;
    match history.is_empty() {
        true => Err(ApiError::not_found()),
        false => Ok(history),
    }
}

/// `GET /{kind}/{name}/revisions`
pub(super) async fn list(api: &Api, kind: Kind, name: &str, paging: &Paging) -> Result<Answer, ApiError> {
    let history = history(api, kind, name).await?;
    let present = api
        .state
        .stored(kept(kind), name)
        .await?
        .map(|stored| stored.revision);
    let (part, total) = paging.of(history);
    let shown = part.iter().map(|stored| {
        json!({
            "revision": stored.revision,
            "timestamp": timestamp(stored.at_ms),
            "current": present == Some(stored.revision),
            "digest": digest(&stored.body),
        })
    });
    Ok(paging.answer(shown.collect(), total))
}

/// `GET /{kind}/{name}/revisions/{n}`
pub(super) async fn read(api: &Api, kind: Kind, name: &str, number: u64) -> Result<Answer, ApiError> {
    let found = find(api, kind, name, number).await?;
    Ok(Answer::ok(found.body))
}

async fn find(api: &Api, kind: Kind, name: &str, number: u64) -> Result<Stored, ApiError> {
    let history = history(api, kind, name).await?;
    let found = history.into_iter().find(|stored| stored.revision == number);
    found.ok_or_else(ApiError::not_found)
}

/// What is gone back to.
pub(super) struct Rollback {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) number: u64,
    pub(super) preconditions: Preconditions,
    pub(super) validate_only: bool,
}

/// `POST /{kind}/{name}/revisions/{n}/rollback`: answers as a `PUT` of that revision.
pub(super) async fn roll_back(api: &Api, principal: &Principal, asked: Rollback) -> Result<Answer, ApiError> {
    let Rollback {
        kind,
        name,
        number,
        preconditions,
        validate_only,
    } = asked;
    let found = find(api, kind, &name, number).await?;
    let source = found.body.to_string();
    let mut change = Change::begin(&api.state, principal, Archive::Update, &source).await;
    change.expects(&preconditions, kind, &name).await?;
    let (status, tree) = match kind {
        Kind::Deployment => {
            let Artifact::Blueprint(blueprint) = stored(Kind::Blueprint, &found)? else {
                return Err(ApiError::internal());
            };
            let deployment = deployment(&mut change, &name, blueprint).await?;
            (StatusCode::ACCEPTED, deployed(None, deployment))
        }
        kind => match stored(kind, &found)? {
            Artifact::Gateway(gateway) => {
                let gateway = change.gateway(gateway).await?;
                (StatusCode::ACCEPTED, write::value(&Artifact::Gateway(gateway)))
            }
            Artifact::Workflow(workflow) => {
                let all = change.workflow(workflow).await?;
                (StatusCode::ACCEPTED, all.iter().map(write::value).collect())
            }
            // A blueprint's inline breeds stay as they are now: each has revisions of its own.
            plain => {
                let tree = Value::Array(vec![write::value(&plain)]);
                change.store_alone(plain);
                (StatusCode::OK, tree)
            }
        },
    };
    let wanted = intent(&change.tx, kind, &name).await?;
    change.finish(validate_only).await?;
    Ok(tagged(Answer::new(status, tree), wanted.as_ref()))
}

fn stored(kind: Kind, found: &Stored) -> Result<Artifact, ApiError> {
    Ok(read::stored(kind, &found.body)?)
}

/// Makes a deployment what it was: settings that a merge would keep are set before it, services that were not
/// there are taken away after it.
async fn deployment(
    change: &mut Change<'_>,
    name: &str,
    blueprint: Blueprint,
) -> Result<Deployment, ApiError> {
    if blueprint
        .clusters
        .values()
        .all(|cluster| cluster.services.is_empty())
    {
        return Err(ApiError::problem(
            "NoServiceError",
            "The deployment had no services in this revision; delete it instead.",
        ));
    }
    let mut more = Blueprint {
        name: name.to_owned(),
        ..Blueprint::default()
    };
    if let Some(mut present) = change.tx.deployment(name).await? {
        present.metadata.clone_from(&blueprint.metadata);
        present.dialects.clone_from(&blueprint.dialects);
        present
            .environment_variables
            .clone_from(&blueprint.environment_variables);
        for (cluster_name, cluster) in &mut present.clusters {
            let was = blueprint.clusters.get(cluster_name);
            cluster.sla = was.and_then(|was| was.sla.clone());
            let mut leaving = cluster.clone();
            leaving.services.retain(|service| {
                !was.is_some_and(|was| was.services.iter().any(|other| other.name() == service.name()))
            });
            for service in &mut leaving.services {
                service.breed = OrReference::Reference(service.name().to_owned());
                service.runtime = None;
            }
            if !leaving.services.is_empty() {
                more.clusters.insert(cluster_name.clone(), leaving);
            }
        }
        change.tx.put(&Artifact::Deployment(present));
    }
    let request = DeployRequest::Blueprint(Box::new(blueprint));
    let (_, mut deployment) = change.deploy(Some(name), request).await?;
    if !more.clusters.is_empty() {
        let request = DeployRequest::Blueprint(Box::new(more));
        deployment = operations::slice(&mut change.tx, name, Some(request)).await?;
    }
    Ok(deployment)
}
