//! What can go wrong with an operation on artifacts.

use thiserror::Error;
use weir_artifact::Problem;
use weir_persist::PersistError;
pub(crate) use weir_plan::problem;

/// What went wrong with an operation on artifacts (merge, slice, scale, gateways).
#[derive(Debug, Error)]
pub(crate) enum OperationError {
    /// What was asked for is wrong: every problem of it. REST answers 400 with all of them.
    #[error("{}", messages(.0))]
    Problems(Vec<Problem>),
    /// What was asked for does not exist. REST answers 404.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// Kind in the singular, for people: `deployment`.
        kind: &'static str,
        /// Name within the kind.
        name: String,
    },
    /// The storage failed, or another writer was faster.
    #[error(transparent)]
    Persist(#[from] PersistError),
}

impl OperationError {
    /// One problem of the whole request, without a place in a text.
    pub(crate) fn problem(code: &'static str, message: impl Into<String>) -> Self {
        Self::Problems(vec![problem(code, "/", message)])
    }
}

/// All problems as text, one per line.
pub(crate) fn messages(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
