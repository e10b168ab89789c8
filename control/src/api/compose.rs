//! `POST /docker-compose`: a Compose file as a blueprint (spec of the API §3; of the artifacts §15).

use axum::http::StatusCode;
use weir_artifact::{Kind, compose, read};

use super::{
    answer::{Answer, ApiError},
    change::Change,
    request::Submission,
};
use crate::event::Archive;

/// Where a kind would stand in the path.
pub(super) const PATH: &str = "docker-compose";

/// Answers the blueprint as YAML, with comments about what was left out; stores it unless it is only checked.
pub(super) async fn import(asked: &Submission) -> Result<Answer, ApiError> {
    let name = asked
        .parameters
        .one("name")
        .filter(|name| !name.is_empty())
        .ok_or_else(|| ApiError::bad_request("Query parameter `name` says what the blueprint is called."))?;
    let validate_only = asked.validate_only()?;
    let yaml = compose::import(name, &asked.text)?;
    let blueprint = read::one(Kind::Blueprint, &yaml)?;
    let mut change = Change::begin(&asked.api.state, &asked.principal, Archive::Create, &yaml).await;
    change.store(blueprint);
    change.finish(validate_only).await?;
    Ok(Answer::text(StatusCode::CREATED, yaml))
}
