//! Kinds in paths.

use weir_artifact::Kind;

use super::answer::ApiError;

/// What a kind's path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collection {
    /// Plain storage.
    Stored(Kind),
    /// Storage with rules: weights, ports, internal gateways.
    Gateways,
    /// Merge and slice.
    Deployments,
    /// Known to Vamp, not yet here: lists are empty, writing is refused.
    Later(&'static str),
}

/// Kinds of Vamp that are not here yet.
pub(super) const LATER: [&str; 6] = [
    "slas",
    "escalations",
    "routes",
    "rewrites",
    "workflows",
    "templates",
];

impl Collection {
    /// The kind of a path's segment.
    pub(super) fn of(segment: &str) -> Result<Self, ApiError> {
        Ok(match segment {
            "breeds" => Self::Stored(Kind::Breed),
            "blueprints" => Self::Stored(Kind::Blueprint),
            "scales" => Self::Stored(Kind::Scale),
            "conditions" => Self::Stored(Kind::Condition),
            "gateways" => Self::Gateways,
            "deployments" => Self::Deployments,
            other => match LATER.iter().find(|later| **later == other) {
                Some(later) => Self::Later(later),
                None => {
                    return Err(ApiError::problem(
                        "UnexpectedResource",
                        format!("Unexpected resource: '{other}'."),
                    ));
                }
            },
        })
    }

    /// The collection of a document's `kind`: singular or plural.
    pub(super) fn of_document(kind: &str) -> Result<Self, ApiError> {
        if kind.ends_with('s') {
            Self::of(kind)
        } else {
            Self::of(&format!("{kind}s"))
        }
    }
}

/// What writing to a kind that is not here yet answers.
pub(super) fn later(kind: &str) -> ApiError {
    ApiError::problem("UnsupportedKind", format!("Kind `{kind}` is not supported yet."))
}
