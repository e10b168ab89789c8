//! Kinds in the plural (`kind: breeds`), as Vamp 0.9.6 and later print and expect them; by the setting
//! `vamp.model.plural-kinds`. Vamp 0.9.4 and this program otherwise print the singular; both are read.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use serde_json::Value;
use weir_artifact::Kind;

use super::{Api, answer::edited, path::BASE};

/// What is free to have a `kind` of its own.
const FREE: [&str; 4] = ["metadata", "dialects", "definition", "value"];

/// Answers of artifacts have their kinds in the plural, if that is wanted.
pub(super) async fn kinds(State(api): State<Api>, request: Request, next: Next) -> Response {
    let is_about_artifacts = request.uri().path().strip_prefix(BASE).is_some_and(|path| {
        let kind = path.trim_matches('/').split('/').next().unwrap_or_default();
        kind.is_empty() || Kind::ALL.iter().any(|known| known.plural() == kind)
    });
    let response = next.run(request).await;
    match is_about_artifacts && api.state.live().plural_kinds {
        true => edited(response, plural),
        false => response,
    }
}

/// As deep as answers nest, which documents bound.
fn plural(tree: &mut Value) {
    match tree {
        Value::Array(items) => items.iter_mut().for_each(plural),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(word) if key == "kind" => {
                        if let Some(kind) = Kind::from_word(word) {
                            kind.plural().clone_into(word);
                        }
                    }
                    value if !FREE.contains(&key.as_str()) => plural(value),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::plural;

    #[test]
    fn kinds_of_artifacts_alone() {
        let mut tree = json!([{"kind": "sla", "name": "kind", "metadata": {"kind": "breed"},
            "clusters": {"kind": {"services": [{"breed": {"kind": "breed"}}]}}}, {"kind": "other"}, "breed"]);
        plural(&mut tree);
        assert_eq!(
            tree,
            json!([{"kind": "slas", "name": "kind", "metadata": {"kind": "breed"},
                "clusters": {"kind": {"services": [{"breed": {"kind": "breeds"}}]}}}, {"kind": "other"}, "breed"])
        );
    }
}
