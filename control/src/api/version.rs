//! Versions of artifacts, so that nobody overwrites what they have not seen: `ETag` and `If-Match`.
//!
//! A version is named by what is wanted (see `state::intent`), not by how it is printed: it is the same in JSON and
//! in YAML, and does not change while a deployment only comes up.

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderValue, StatusCode,
        header::{ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH},
        request::Parts,
    },
};
use serde_json::Value;
use weir_artifact::Kind;

use super::answer::{Answer, ApiError};
use crate::state::{Shelf, digest, intent};

/// What a request says about the version that it changes (RFC 9110 §13.1.1, §13.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Preconditions {
    /// `If-Match`: one of these is there.
    matches: Option<Tags>,
    /// `If-None-Match`: none of these is there.
    differs: Option<Tags>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// Without quotes.
    Of(Vec<String>),
}

impl<S: Sync> FromRequestParts<S> for Preconditions {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self {
            matches: tags(parts, &IF_MATCH)?,
            differs: tags(parts, &IF_NONE_MATCH)?,
        })
    }
}

impl Preconditions {
    /// Whether an artifact is as the request says. `shelf`: what is stored.
    ///
    /// # Errors
    /// 412, with the version that is there.
    pub(super) async fn hold(&self, shelf: &Shelf, kind: Kind, name: &str) -> Result<(), ApiError> {
        if *self == Self::default() {
            return Ok(());
        }
        let found = intent(shelf, kind, name).await?.map(|tree| digest(&tree));
        let is = |tags: &Tags| match (tags, &found) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::Of(tags), Some(found)) => tags.contains(found),
        };
        let right = self.matches.as_ref().is_none_or(is) && !self.differs.as_ref().is_some_and(is);
        if right {
            return Ok(());
        }
        let found = match found {
            Some(found) => format!("is at version \"{found}\""),
            None => "is not there".to_owned(),
        };
        Err(ApiError::new(
            StatusCode::PRECONDITION_FAILED,
            format!(
                "The {kind} `{name}` {found}, which is not what the request expects; nothing was changed."
            ),
        ))
    }
}

fn tags(parts: &Parts, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let mut tags = Vec::new();
    for value in parts.headers.get_all(name) {
        let wrong =
            || ApiError::bad_request(format!("Header `{name}` is `*` or a list of versions in quotes."));
        for item in value.to_str().map_err(|_| wrong())?.split(',') {
            let item = item.trim();
            if item == "*" {
                return Ok(Some(Tags::Any));
            }
            // Clients that compress on the way may weaken it.
            let item = item.strip_prefix("W/").unwrap_or(item);
            let tag = item
                .strip_prefix('"')
                .and_then(|item| item.strip_suffix('"'))
                .ok_or_else(wrong)?;
            tags.push(tag.to_owned());
        }
    }
    Ok((!tags.is_empty()).then_some(Tags::Of(tags)))
}

/// Names the version of what is wanted.
pub(super) fn tagged(answer: Answer, wanted: Option<&Value>) -> Answer {
    match wanted {
        Some(wanted) => {
            let tag = HeaderValue::try_from(format!("\"{}\"", digest(wanted)));
            match tag {
                Ok(tag) => answer.header(ETAG, tag),
                Err(_) => answer,
            }
        }
        None => answer,
    }
}
