//! `/`: many documents of any kinds at once (spec of the API §2), and `/plan`: what they would change.
//!
//! **Invariants.** All of it is applied, or nothing: one transaction for documents of every kind. Plain kinds come
//! first, then workflows, deployments and gateways, as these refer to the former; deleting goes the other way. The
//! results are in the order of the documents.

use axum::http::StatusCode;
use serde_json::{Value, json};
use weir_artifact::{
    Artifact, Kind,
    read::{self, DeployRequest, Request},
    write,
};

use super::{
    answer::{Answer, ApiError, ErrorBody},
    change::{Change, deployed},
    import, kinds,
    request::Submission,
};
use crate::event::Archive;

/// Creates everything, or nothing.
#[utoipa::path(post, path = "/", tag = "documents",
    params(("validate_only" = Option<bool>, Query, description = "Check, but change nothing")),
    request_body(content = Value, description = "Documents or list items, each with `kind` and `name`"),
    responses((status = 202, description = "The result of each, in order", body = [Value]),
        (status = 400, description = "Nothing was done", body = ErrorBody)))]
pub(super) async fn create(asked: Submission) -> Result<Answer, ApiError> {
    apply(&asked, Archive::Create).await
}

/// Creates or updates everything, or nothing.
#[utoipa::path(put, path = "/", tag = "documents",
    params(("validate_only" = Option<bool>, Query, description = "Check, but change nothing")),
    request_body(content = Value, description = "Documents or list items, each with `kind` and `name`"),
    responses((status = 202, description = "The result of each, in order", body = [Value]),
        (status = 400, description = "Nothing was done", body = ErrorBody)))]
pub(super) async fn update(asked: Submission) -> Result<Answer, ApiError> {
    apply(&asked, Archive::Update).await
}

async fn apply(asked: &Submission, archive: Archive) -> Result<Answer, ApiError> {
    let validate_only = asked.validate_only()?;
    let mut change = asked.change(archive).await;
    let results = run(&mut change, &asked.text).await?;
    let warnings = std::mem::take(&mut change.warnings);
    change.finish(validate_only).await?;
    Ok(Answer::new(StatusCode::ACCEPTED, Value::Array(results)).warned(&warnings))
}

/// Applies every document. Answers the results in their order.
pub(super) async fn run(change: &mut Change<'_>, text: &str) -> Result<Vec<Value>, ApiError> {
    let documents = import::documents(&change.tx, text).await?;
    let requests = change.noted(documents.requests()?);
    let many = requests.len() > 1;
    let mut order: Vec<(usize, Request)> = requests.into_iter().enumerate().collect();
    if order.is_empty() {
        return Err(ApiError::problem("UnexpectedTypeError", "There is no document."));
    }
    order.sort_by_key(|(_, request)| match request {
        Request::Deploy(..) => 2,
        Request::Artifact(artifact) => match artifact.kind() {
            Kind::Workflow => 1,
            Kind::Gateway => 3,
            _ => 0,
        },
    });
    let mut results = Vec::with_capacity(order.len());
    for (index, request) in order {
        match one(change, request).await {
            Ok(trees) => results.push((index, trees)),
            Err(error) if many => return Err(error.below(&index.to_string())),
            Err(error) => return Err(error),
        }
    }
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().flat_map(|(_, trees)| trees).collect())
}

async fn one(change: &mut Change<'_>, request: Request) -> Result<Vec<Value>, ApiError> {
    let artifact = match request {
        Request::Deploy(name, request) => {
            let (breeds, deployment) = change.deploy(Some(&name), request).await?;
            return Ok(vec![deployed(breeds, deployment)]);
        }
        Request::Artifact(artifact) => *artifact,
    };
    let stored = match artifact {
        Artifact::Gateway(gateway) => vec![Artifact::Gateway(change.gateway(gateway).await?)],
        Artifact::Workflow(workflow) => change.workflow(workflow).await?,
        plain => change.store(plain),
    };
    Ok(stored.iter().map(write::value).collect())
}

/// Deletes everything that is named, or nothing.
#[utoipa::path(delete, path = "/", tag = "documents",
    params(("validate_only" = Option<bool>, Query, description = "Check, but change nothing")),
    request_body(content = Value, description = "Documents or list items, each with `kind` and `name`; \
        the rest of an artifact may be there. Of a deployment with clusters, only the services named there \
        are taken away."),
    responses((status = 202, description = "The kind and name of each", body = [Value]),
        (status = 400, description = "Nothing was done", body = ErrorBody),
        (status = 404, description = "A deployment is not there; nothing was done", body = ErrorBody)))]
pub(super) async fn delete(asked: Submission) -> Result<Answer, ApiError> {
    let validate_only = asked.validate_only()?;
    let mut change = asked.change(Archive::Delete).await;
    let results = run_removal(&mut change, &asked.text).await?;
    change.finish(validate_only).await?;
    Ok(Answer::new(StatusCode::ACCEPTED, Value::Array(results)))
}

async fn run_removal(change: &mut Change<'_>, text: &str) -> Result<Vec<Value>, ApiError> {
    let trees = read::trees(text)?;
    let mut removals = trees
        .into_iter()
        .map(removal)
        .collect::<Result<Vec<Removal>, ApiError>>()?;
    if removals.is_empty() {
        return Err(ApiError::problem("UnexpectedTypeError", "There is no document."));
    }
    let results = removals
        .iter()
        .map(|removal| json!({"kind": removal.word, "name": removal.name}))
        .collect();
    // Gateways first, then deployments, then what these were made of.
    removals.sort_by_key(|removal| match removal.kind {
        Kind::Gateway => 0,
        Kind::Deployment => 1,
        _ => 2,
    });
    for removal in removals {
        match removal.services {
            Some(services) => change.undeploy(&removal.name, Some(services)).await.map(drop)?,
            None => change.remove(removal.kind, &removal.name).await?,
        }
    }
    Ok(results)
}

struct Removal {
    kind: Kind,
    /// As the document names the kind.
    word: String,
    name: String,
    /// Of a deployment: only these.
    services: Option<DeployRequest>,
}

fn removal(tree: Value) -> Result<Removal, ApiError> {
    let text = |key: &str| tree.get(key).and_then(Value::as_str).map(str::to_owned);
    let (Some(word), Some(name)) = (text("kind"), text("name")) else {
        return Err(ApiError::problem(
            "MissingPathValueError",
            "Each document needs its `kind` and its `name`.",
        ));
    };
    let kind = kinds::of_document(&word)?;
    let services = match (kind, tree.get("clusters")) {
        (Kind::Deployment, Some(Value::Object(_))) => Some(read::deploy_request(&tree.to_string())?),
        _ => None,
    };
    Ok(Removal {
        kind,
        word,
        name,
        services,
    })
}

/// Says what applying documents would change. Changes nothing.
#[utoipa::path(post, path = "/plan", tag = "documents",
    params(("delete" = Option<bool>, Query, description = "What deleting them would change")),
    request_body(content = Value, description = "Documents or list items, each with `kind` and `name`"),
    responses((status = 200, description = "See docs/api.md", body = super::drift::PlanBody),
        (status = 400, description = "They cannot be applied", body = ErrorBody),
        (status = 404, description = "A deployment to delete is not there", body = ErrorBody)))]
pub(super) async fn plan(asked: Submission) -> Result<Answer, ApiError> {
    let deletes = asked.parameters.flag("delete")?;
    let mut change = asked.change(Archive::Update).await;
    if deletes {
        run_removal(&mut change, &asked.text).await?;
    } else {
        run(&mut change, &asked.text).await?;
    }
    let differences = change.tx.differences().await?;
    // Neither the answer nor its making needs the lock.
    drop(change);
    Ok(Answer::ok(super::drift::shown(&differences)))
}
