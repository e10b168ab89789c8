//! Answers and errors before they have a form: the form (JSON or YAML) is the outermost layer's business.

use std::fmt::Write as _;

use axum::{
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{ACCEPT, ALLOW, CONTENT_TYPE, WARNING},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use weir_artifact::Problem;
use weir_persist::PersistError;

use crate::{
    error::{OperationError, messages, problem},
    reconcile::chain,
};

/// Problems of one document that are told; a document of megabytes can have as many as it has lines.
const PROBLEMS_MAX: usize = 100;

/// A form of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
}

impl Format {
    /// YAML if `Accept` begins with it, else JSON (spec of the API §1).
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let first = accept.unwrap_or_default().trim_start().to_ascii_lowercase();
        let yaml = [
            "application/x-yaml",
            "application/yaml",
            "text/yaml",
            "text/x-yaml",
        ];
        if yaml.iter().any(|yaml| first.starts_with(yaml)) {
            Self::Yaml
        } else {
            Self::Json
        }
    }

    const fn content_type(self) -> HeaderValue {
        match self {
            Self::Json => HeaderValue::from_static("application/json"),
            Self::Yaml => HeaderValue::from_static("application/x-yaml"),
        }
    }

    fn text(self, tree: &Value) -> String {
        match self {
            Self::Json => tree.to_string(),
            Self::Yaml => weir_artifact::write::yaml(tree),
        }
    }
}

/// A body that has no form yet; an extension of its response.
#[derive(Clone, Debug)]
struct Tree(Value);

/// Gives the body its form, if it waits for one.
pub(super) fn formed(mut response: Response, format: Format) -> Response {
    if let Some(Tree(tree)) = response.extensions_mut().remove::<Tree>() {
        *response.body_mut() = format.text(&tree).into();
        response.headers_mut().insert(CONTENT_TYPE, format.content_type());
    }
    response
}

/// Changes the body, if it has no form yet.
pub(super) fn edited(mut response: Response, edit: impl FnOnce(&mut Value)) -> Response {
    if let Some(Tree(tree)) = response.extensions_mut().get_mut::<Tree>() {
        edit(tree);
    }
    response
}

/// The body that has no form yet.
pub(super) fn tree(response: &Response) -> Option<&Value> {
    response.extensions().get::<Tree>().map(|Tree(tree)| tree)
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    tree: Option<Value>,
    /// Instead of a tree.
    text: Option<String>,
    headers: HeaderMap,
}

/// Most warnings that an answer tells.
const WARNINGS_MAX: usize = 20;

impl Answer {
    pub(super) fn new(status: StatusCode, tree: Value) -> Self {
        Self {
            status,
            tree: Some(tree),
            text: None,
            headers: HeaderMap::new(),
        }
    }

    pub(super) fn ok(tree: Value) -> Self {
        Self::new(StatusCode::OK, tree)
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            tree: None,
            text: None,
            headers: HeaderMap::new(),
        }
    }

    /// Plain text, whatever the client wants to have.
    pub(super) fn text(status: StatusCode, text: String) -> Self {
        Self {
            text: Some(text),
            ..Self::empty(status)
        }
    }

    /// Tells what is hardly meant as it stands, a `Warning` line each (RFC 7234 §5.5, code 199): the body is Vamp's.
    pub(super) fn warned(mut self, warnings: &[Problem]) -> Self {
        for warning in warnings.iter().take(WARNINGS_MAX) {
            let text = format!("{}: {warning}", warning.code);
            let quoted: String = text
                .chars()
                .map(|letter| match letter {
                    '"' | '\\' => '\'',
                    ' '..='~' => letter,
                    _ => '?',
                })
                .collect();
            if let Ok(line) = HeaderValue::try_from(format!("199 weir \"{quoted}\"")) {
                self.headers.append(WARNING, line);
            }
        }
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        // A value that no header can hold (a host name with a line break in a link) is left out.
        if let Ok(value) = value.try_into() {
            self.headers.insert(name, value);
        }
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = match self.text {
            Some(text) => (self.status, text).into_response(),
            None => self.status.into_response(),
        };
        response.headers_mut().extend(self.headers);
        if let Some(tree) = self.tree {
            response.extensions_mut().insert(Tree(tree));
        }
        response
    }
}

/// A bad answer.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    problems: Vec<Problem>,
    /// Methods that the path knows.
    allow: Option<&'static str>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            problems: Vec::new(),
            allow: None,
        }
    }

    /// 400 with one problem of the whole request.
    pub(super) fn problem(code: &'static str, message: impl Into<String>) -> Self {
        Self::from(vec![problem(code, "/", message)])
    }

    /// 400 for a request that is wrong before there is any document.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "The requested resource could not be found.",
        )
    }

    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error.")
    }

    /// The message, for whoever has another way to say it.
    pub(super) fn into_message(self) -> String {
        self.message
    }

    /// 405.
    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "The path does not know this method.",
        )
    }

    /// With the methods that the path knows.
    pub(super) fn allowing(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// The same, about one of many documents.
    pub(super) fn below(mut self, place: &str) -> Self {
        if self.problems.is_empty() {
            self.message = format!("{place}: {}", self.message);
            return self;
        }
        for problem in &mut self.problems {
            problem.path = match problem.path.as_str() {
                "/" => place.to_owned(),
                path => format!("{place}/{}", path.trim_start_matches('/')),
            };
        }
        Self::from(self.problems)
    }
}

impl From<Vec<Problem>> for ApiError {
    fn from(mut problems: Vec<Problem>) -> Self {
        let left_out = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        let mut message = match problems.as_slice() {
            // Of one problem of the whole request, the place says nothing.
            [only] if only.path == "/" && only.position.is_none() && only.hint.is_none() => {
                only.message.clone()
            }
            _ => messages(&problems),
        };
        if left_out > 0 {
            // Writing to a string cannot fail.
            let _ = write!(message, "\n... and {left_out} more problems.");
        }
        Self {
            status: StatusCode::BAD_REQUEST,
            message,
            problems,
            allow: None,
        }
    }
}

impl From<PersistError> for ApiError {
    fn from(error: PersistError) -> Self {
        match error {
            error if crate::leader::is_fence(&error) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "Another control leads; nothing was changed.",
            ),
            // Only another control on the same storage can be the cause: writes of this one are serialised.
            PersistError::Conflict { .. } => Self::new(StatusCode::CONFLICT, format!("Try again: {error}.")),
            PersistError::Full(_) => {
                tracing::error!(error = chain(&error), "storage failed");
                Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "The storage of control is full; nothing was changed.",
                )
            }
            PersistError::ReadOnly(_) => {
                tracing::error!(error = chain(&error), "storage failed");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The storage of control is read-only; nothing was changed.",
                )
            }
            error => {
                tracing::error!(error = chain(&error), "storage failed");
                Self::internal()
            }
        }
    }
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Problems(problems) => problems.into(),
            OperationError::NotFound { .. } => Self::new(
                StatusCode::NOT_FOUND,
                format!("{}.", sentence(&error.to_string())),
            ),
            OperationError::Persist(error) => error.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            message: self.message,
            problems: self.problems.into_iter().map(ProblemBody::from).collect(),
        };
        let tree = serde_json::to_value(body).unwrap_or_default();
        let mut answer = Answer::new(self.status, tree);
        if let Some(methods) = self.allow {
            answer = answer.header(ALLOW, methods);
        }
        answer.into_response()
    }
}

/// What every error answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorBody {
    /// For people; all problems, one per line.
    message: String,
    /// For programs; every problem of the document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ProblemBody>,
}

/// One thing that is wrong with a document.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
struct ProblemBody {
    /// Stable name of the error.
    code: &'static str,
    /// Place in the tree; `/` is the whole document.
    path: String,
    /// Line in the text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// Column in the text, from 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// What is wrong.
    message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl From<Problem> for ProblemBody {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code,
            path: problem.path,
            line: problem.position.map(|position| position.line),
            column: problem.position.map(|position| position.column),
            message: problem.message,
            hint: problem.hint,
        }
    }
}

/// With a capital letter.
pub(super) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{http::StatusCode, response::IntoResponse};
    use weir_persist::PersistError;

    use super::{ApiError, tree};

    #[test]
    fn storage_that_cannot_be_written_is_said() {
        let why = || "no room".into();
        for (error, status, says) in [
            (
                PersistError::Full(why()),
                StatusCode::INSUFFICIENT_STORAGE,
                "full",
            ),
            (
                PersistError::ReadOnly(why()),
                StatusCode::SERVICE_UNAVAILABLE,
                "read-only",
            ),
            (
                PersistError::Storage(why()),
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal",
            ),
        ] {
            let response = ApiError::from(error).into_response();
            assert_eq!(response.status(), status);
            let message = tree(&response).unwrap()["message"].as_str().unwrap().to_owned();
            assert!(message.contains(says) && !message.contains("room"), "{message}");
        }
    }
}
