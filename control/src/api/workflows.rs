//! `/workflows/{name}/status` (spec of the API §5).
//!
//! **Absent.** Nothing runs workflows yet: the status is what is wanted, and the answer says so.

use axum::http::StatusCode;
use serde_json::json;
use weir_artifact::{Artifact, Kind, read};

use super::{
    Api,
    answer::{Answer, ApiError},
    request::Submission,
};
use crate::event::Archive;

/// Told with every status that is set.
const NOT_RUN: &str = "Workflows are kept but not run by this version: the status is what is wanted.";

/// `GET /workflows/{name}/status`
pub(super) async fn status(api: &Api, name: &str) -> Result<Answer, ApiError> {
    match api.state.artifact(Kind::Workflow, name).await? {
        Some(Artifact::Workflow(workflow)) => Ok(Answer::ok(json!(workflow.status.word()))),
        _ => Err(ApiError::not_found()),
    }
}

/// `PUT /workflows/{name}/status`: a bare word.
pub(super) async fn put_status(asked: &Submission, name: &str) -> Result<Answer, ApiError> {
    let validate_only = asked.validate_only()?;
    let status = read::workflow_status(&asked.text)?;
    let mut change = asked.change(Archive::Update).await;
    change.workflow_status(name, status).await?;
    change.finish(validate_only).await?;
    let told = json!([{
        "name": name,
        "kind": "workflow-status",
        "status": status.word(),
        "message": NOT_RUN,
    }]);
    Ok(Answer::new(StatusCode::ACCEPTED, told))
}
