//! Kinds in paths.

use weir_artifact::Kind;

use super::answer::ApiError;

/// The kind of a path's segment.
pub(super) fn of(segment: &str) -> Result<Kind, ApiError> {
    Kind::from_plural(segment)
        .ok_or_else(|| ApiError::problem("UnexpectedResource", format!("Unexpected resource: '{segment}'.")))
}

/// The kind of a document's `kind`: singular or plural.
pub(super) fn of_document(word: &str) -> Result<Kind, ApiError> {
    match Kind::from_word(word) {
        Some(kind) => Ok(kind),
        // In Vamp's words.
        None => of(word),
    }
}
