//! What a request carries: parameters and a text of bounded length.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use futures::StreamExt;
use serde_json::Value;

use super::{Api, answer::ApiError, change::Change};
use crate::{access::Principal, event::Archive};

/// Longest body in bytes.
pub(super) const BODY_BYTES_MAX: usize = weir_artifact::read::BYTES_MAX;
/// Bytes beyond the limit that are read and thrown away, so that a client that sends first and reads then
/// gets to read why it is refused.
const DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Time for all of a body to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// The body as text.
#[derive(Debug)]
pub(super) struct Text(pub(super) String);

impl<S: Sync> FromRequest<S> for Text {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = tokio::time::timeout(BODY_TIMEOUT, bounded(&parts.headers, body));
        let bytes = bytes.await.map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("The body did not come within {BODY_TIMEOUT:?}."),
            )
        })??;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self(text)),
            Err(error) => {
                let end = error.utf8_error().valid_up_to();
                let before = error.as_bytes().get(..end).unwrap_or_default();
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                Err(ApiError::problem(
                    "YamlParsingError",
                    format!(
                        "The body is not UTF-8: byte {} (line {line}) begins no character.",
                        end + 1
                    ),
                ))
            }
        }
    }
}

async fn bounded(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, ApiError> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(BODY_BYTES_MAX));
    let mut discarded = 0;
    if announced.is_some_and(|announced| announced > BODY_BYTES_MAX) {
        // A client that asks first need not send anything.
        if headers.contains_key(header::EXPECT) {
            return Err(too_large());
        }
        discarded = 1;
    }
    while let Some(chunk) = stream.next().await {
        let chunk: Bytes =
            chunk.map_err(|_| ApiError::bad_request("The body ended before all of it was there."))?;
        if discarded > 0 || bytes.len() + chunk.len() > BODY_BYTES_MAX {
            bytes = Vec::new();
            discarded += chunk.len();
            if discarded > DISCARDED_BYTES_MAX {
                break;
            }
        } else {
            bytes.extend_from_slice(&chunk);
        }
    }
    if discarded > 0 {
        Err(too_large())
    } else {
        Ok(bytes)
    }
}

fn too_large() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("The body is too large: at most {BODY_BYTES_MAX} bytes are accepted."),
    )
}

/// A request that changes something: who asks, and for what.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) api: Api,
    pub(super) parameters: Parameters,
    pub(super) principal: Principal,
    pub(super) text: String,
}

impl FromRequest<Api> for Submission {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let parameters = Parameters::from_request_parts(&mut parts, api).await?;
        let Ok(principal) = Principal::from_request_parts(&mut parts, api).await;
        let Text(text) = Text::from_request(Request::from_parts(parts, body), api).await?;
        Ok(Self {
            api: api.clone(),
            parameters,
            principal,
            text,
        })
    }
}

impl Submission {
    /// Whether it is only to be checked.
    pub(super) fn validate_only(&self) -> Result<bool, ApiError> {
        self.parameters.flag("validate_only")
    }

    /// Begins the changes that it asks for.
    pub(super) async fn change(&self, archive: Archive) -> Change<'_> {
        Change::begin(&self.api.state, &self.principal, archive, &self.text).await
    }
}

/// The only document of a text; `None` if there is none.
pub(super) fn tree(text: &str) -> Result<Option<Value>, ApiError> {
    let mut trees = weir_artifact::read::trees(text)?;
    if trees.len() > 1 {
        return Err(ApiError::problem(
            "UnexpectedTypeError",
            format!("One document is expected, not {}.", trees.len()),
        ));
    }
    Ok(trees.pop())
}

/// The query string, in order.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(error) => Err(ApiError::bad_request(format!(
                "The query parameters cannot be read: {error}."
            ))),
        }
    }
}

impl Parameters {
    /// The last value of a parameter.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter().rev();
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of parameters with one of these names, in order.
    pub(super) fn all(&self, names: &[&str]) -> Vec<String> {
        let pairs = self.0.iter().filter(|(key, _)| names.contains(&key.as_str()));
        pairs.map(|(_, value)| value.clone()).collect()
    }

    /// A switch; absent is off, without a value it is on.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.one(name) {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(other) => Err(ApiError::bad_request(format!(
                "Query parameter `{name}` is true or false, not `{other}`."
            ))),
        }
    }

    /// A number that is not negative.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let number = self.one(name).map(|text| {
            let negative = text.starts_with('-') && text.parse::<i64>().is_ok();
            if negative { Ok(0) } else { text.parse() }
        });
        number.transpose().map_err(|_| {
            ApiError::bad_request(format!(
                "Query parameter `{name}` is a whole number, which `{}` is not.",
                self.one(name).unwrap_or_default()
            ))
        })
    }

    /// All but these, in order.
    pub(super) fn without<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.0.iter().filter(|(key, _)| !names.contains(&key.as_str()));
        pairs.map(|(key, value)| (key.as_str(), value.as_str()))
    }
}
