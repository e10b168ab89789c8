//! What somebody wanted of an artifact, without what control adds to it.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use weir_artifact::{Artifact, Kind};
use weir_persist::PersistError;

use super::Shelf;
use crate::reconcile::operations::blueprint_of;

/// Digits of a digest: enough to tell versions of one artifact apart.
const DIGITS: usize = 16;

/// What is wanted of an artifact, as a tree that changes only when somebody changes it: of a deployment the
/// blueprint that would make it, of a gateway what clients set. `None` if it is not there.
pub(crate) async fn intent(shelf: &Shelf, kind: Kind, name: &str) -> Result<Option<Value>, PersistError> {
    if kind == Kind::Deployment {
        let blueprint = blueprint_of(shelf, name).await?;
        return Ok(blueprint.map(|blueprint| weir_artifact::write::value(&Artifact::Blueprint(blueprint))));
    }
    let stored = shelf.stored(kind.plural(), name).await?;
    Ok(stored.map(|stored| of_body(kind, stored.body)))
}

/// The same for a stored body of any kind but deployments.
pub(super) fn of_body(kind: Kind, mut body: Value) -> Value {
    if kind == Kind::Gateway
        && let Value::Object(fields) = &mut body
    {
        for set_by_control in ["service", "deployed"] {
            fields.remove(set_by_control);
        }
    }
    body
}

/// Names a version: equal for equal trees. SHA-256, [`DIGITS`] hexadecimal digits.
pub(crate) fn digest(tree: &Value) -> String {
    let mut digest = hex::encode(Sha256::digest(tree.to_string().as_bytes()));
    digest.truncate(DIGITS);
    digest
}
