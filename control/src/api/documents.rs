//! `/`: many documents of any kinds at once (spec of the API §2).
//!
//! **Invariants.** Every document is checked before the first is applied. Plain kinds are stored together,
//! all or none; then deployments, then gateways, as these refer to the former. Deleting goes the other way.
//!
//! **Absent.** No transaction over deployments and gateways: when one fails that was valid when it was
//! checked, what came before it stays, and the error says so.

use axum::{extract::State, http::StatusCode};
use serde_json::{Value, json};
use weir_artifact::{
    Artifact,
    read::{self, DeployRequest, Request},
    write,
};

use super::{
    Api,
    answer::{Answer, ApiError},
    change::Change,
    kinds::Collection,
    request::{Parameters, Text},
};
use crate::event::Archive;

/// Creates everything.
#[utoipa::path(post, path = "/", tag = "documents",
    params(("validate_only" = Option<bool>, Query)),
    request_body(content = Value, description = "Documents or list items, each with `kind` and `name`"),
    responses((status = 202, description = "The result of each", body = [Value]),
        (status = 400, description = "Nothing was done", body = super::answer::ErrorBody)))]
pub(super) async fn create(
    State(api): State<Api>,
    parameters: Parameters,
    Text(text): Text,
) -> Result<Answer, ApiError> {
    apply(&api, Archive::Create, &parameters, &text).await
}

/// Creates or updates everything.
#[utoipa::path(put, path = "/", tag = "documents",
    params(("validate_only" = Option<bool>, Query)),
    request_body(content = Value, description = "Documents or list items, each with `kind` and `name`"),
    responses((status = 202, description = "The result of each", body = [Value]),
        (status = 400, description = "Nothing was done", body = super::answer::ErrorBody)))]
pub(super) async fn update(
    State(api): State<Api>,
    parameters: Parameters,
    Text(text): Text,
) -> Result<Answer, ApiError> {
    apply(&api, Archive::Update, &parameters, &text).await
}

async fn apply(api: &Api, archive: Archive, parameters: &Parameters, text: &str) -> Result<Answer, ApiError> {
    let change = Change {
        state: &api.state,
        archive,
        validate_only: parameters.flag("validate_only")?,
        source: text,
    };
    let requests = read::requests(text)?;
    if requests.is_empty() {
        return Err(ApiError::problem("UnexpectedTypeError", "There is no document."));
    }
    let mut stored = Vec::new();
    let mut deployments = Vec::new();
    let mut gateways = Vec::new();
    for request in requests {
        match request {
            Request::Deploy(name, request) => deployments.push((name, request)),
            Request::Artifact(artifact) => match *artifact {
                Artifact::Gateway(gateway) => gateways.push(gateway),
                plain => stored.push(plain),
            },
        }
    }
    // What depends on documents of the same text can be checked only once these are stored.
    let complete = stored.is_empty();
    if complete && !change.validate_only {
        let check = Change {
            validate_only: true,
            ..change
        };
        for (name, request) in &deployments {
            check.deploy(Some(name), request.clone()).await?;
        }
        if deployments.is_empty() {
            for gateway in &gateways {
                check.gateway(gateway.clone()).await?;
            }
        }
    }
    let mut results = Vec::new();
    for artifact in change.store(stored).await? {
        results.push(write::value(&artifact));
    }
    if change.validate_only && !complete {
        let deployments = deployments.into_iter();
        results.extend(deployments.map(|(name, _)| json!({"kind": "deployment", "name": name})));
        results.extend(
            gateways
                .into_iter()
                .map(|gateway| write::value(&Artifact::Gateway(gateway))),
        );
        return Ok(Answer::new(StatusCode::ACCEPTED, Value::Array(results)));
    }
    let anything_before = |results: &[Value]| !results.is_empty() && !change.validate_only;
    for (name, request) in deployments {
        let result = change.deploy(Some(&name), request).await;
        results.push(result.map_err(|error| partly(error, anything_before(&results)))?);
    }
    for gateway in gateways {
        let result = change.gateway(gateway).await;
        results.push(result.map_err(|error| partly(error, anything_before(&results)))?);
    }
    Ok(Answer::new(StatusCode::ACCEPTED, Value::Array(results)))
}

/// Deletes everything that is named.
#[utoipa::path(delete, path = "/", tag = "documents",
    params(("validate_only" = Option<bool>, Query)),
    request_body(content = Value, description = "Documents or list items, each with `kind` and `name`; \
        the rest of an artifact may be there. Of a deployment with clusters, only the services named there \
        are taken away."),
    responses((status = 202, description = "The kind and name of each", body = [Value]),
        (status = 400, description = "Nothing was done", body = super::answer::ErrorBody)))]
pub(super) async fn delete(
    State(api): State<Api>,
    parameters: Parameters,
    Text(text): Text,
) -> Result<Answer, ApiError> {
    let change = Change {
        state: &api.state,
        archive: Archive::Delete,
        validate_only: parameters.flag("validate_only")?,
        source: &text,
    };
    let mut removals = Vec::new();
    for tree in read::trees(&text)? {
        removals.push(removal(tree)?);
    }
    if removals.is_empty() {
        return Err(ApiError::problem("UnexpectedTypeError", "There is no document."));
    }
    // Gateways first, then deployments, then what these were made of.
    removals.sort_by_key(|removal| match removal.collection {
        Collection::Gateways => 0,
        Collection::Deployments => 1,
        Collection::Stored(_) | Collection::Later(_) => 2,
    });
    let mut results = Vec::new();
    for removal in removals {
        let done = match removal.services {
            Some(services) => {
                let change = Change {
                    archive: Archive::Update,
                    ..change
                };
                change.undeploy(&removal.name, Some(services)).await.map(drop)
            }
            None => change.remove(removal.collection, &removal.name).await,
        };
        done.map_err(|error| partly(error, !results.is_empty()))?;
        results.push(json!({"kind": removal.kind, "name": removal.name}));
    }
    Ok(Answer::new(StatusCode::ACCEPTED, Value::Array(results)))
}

struct Removal {
    collection: Collection,
    kind: String,
    name: String,
    /// Of a deployment: only these.
    services: Option<DeployRequest>,
}

fn removal(tree: Value) -> Result<Removal, ApiError> {
    let text = |key: &str| tree.get(key).and_then(Value::as_str).map(str::to_owned);
    let (Some(kind), Some(name)) = (text("kind"), text("name")) else {
        return Err(ApiError::problem(
            "MissingPathValueError",
            "Each document needs its `kind` and its `name`.",
        ));
    };
    let collection = Collection::of_document(&kind)?;
    let services = match (collection, tree.get("clusters")) {
        (Collection::Deployments, Some(Value::Object(_))) => Some(read::deploy_request(&tree.to_string())?),
        _ => None,
    };
    Ok(Removal {
        collection,
        kind,
        name,
        services,
    })
}

fn partly(error: ApiError, something_was_done: bool) -> ApiError {
    if something_was_done {
        error.and("The documents before this one were applied.")
    } else {
        error
    }
}
