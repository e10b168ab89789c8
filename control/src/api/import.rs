//! `import`: what documents take over from templates and other artifacts (spec of the artifacts §11).

use std::collections::HashMap;

use serde_json::Value;
use weir_artifact::read::{Documents, Import};

use super::answer::ApiError;
use crate::state::Shelf;

/// Imports of all documents of a body.
const IMPORTS_MAX: usize = 256;

/// The documents of a body with everything that they import: of each other, or of what is stored. What cannot be imported
/// is told with everything else when they are read.
///
/// # Errors
/// Not YAML; too many imports.
pub(super) async fn documents(shelf: &Shelf, text: &str) -> Result<Documents, ApiError> {
    let documents = Documents::parse(text)?;
    let imports = documents.imports();
    if imports.len() > IMPORTS_MAX {
        return Err(ApiError::problem(
            "ImportDefinitionError",
            format!(
                "There are {} imports; at most {IMPORTS_MAX} are accepted.",
                imports.len()
            ),
        ));
    }
    let mut found: HashMap<Import, Value> = HashMap::with_capacity(imports.len());
    for import in imports {
        if let Some(stored) = shelf.stored(import.kind.plural(), &import.name).await? {
            found.insert(import, stored.body);
        }
    }
    Ok(documents.complete(|import| found.get(import).cloned()))
}
