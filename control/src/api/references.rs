//! `expand_references` and `only_references`.
//!
//! Works on printed trees: what may be a reference is known by its place, whatever kind the whole is of.

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use weir_artifact::Kind;

use super::{answer::ApiError, request::Parameters};
use crate::state::Shelf;

/// References within what references lead to; more is taken for a circle.
const DEPTH_MAX: usize = 16;
/// Artifacts put in for references in one answer: one can be reached on many ways.
const EXPANDED_MAX: usize = 1_000;

/// How references in an answer are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum References {
    /// As they were given.
    Kept,
    /// Replaced by what they refer to.
    Expanded,
    /// What has a name replaced by a reference.
    Only,
}

impl References {
    pub(super) fn asked(parameters: &Parameters) -> Result<Self, ApiError> {
        let only = parameters.flag("only_references")?;
        let expanded = parameters.flag("expand_references")?;
        Ok(match (only, expanded) {
            (true, _) => Self::Only,
            (false, true) => Self::Expanded,
            (false, false) => Self::Kept,
        })
    }

    /// Changes a printed artifact as asked.
    ///
    /// # Errors
    /// A reference that leads nowhere, when they are to be expanded.
    pub(super) async fn apply(self, shelf: &Shelf, kind: Kind, mut tree: Value) -> Result<Value, ApiError> {
        if self != Self::Kept {
            let mut walk = Walk {
                shelf,
                expands: self == Self::Expanded,
                left: EXPANDED_MAX,
            };
            walk.artifact(kind, &mut tree, DEPTH_MAX).await?;
        }
        Ok(tree)
    }
}

/// How a reference is written in a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `{reference: x}`
    Map,
    /// `x` (a text is a reference, too)
    Text,
}

struct Walk<'a> {
    shelf: &'a Shelf,
    expands: bool,
    left: usize,
}

impl Walk<'_> {
    /// Boxed, as artifacts hold artifacts.
    fn artifact<'a>(
        &'a mut self,
        kind: Kind,
        tree: &'a mut Value,
        depth: usize,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(async move {
            match kind {
                Kind::Breed => {
                    for dependency in values(tree, "dependencies") {
                        self.place(Kind::Breed, Form::Text, dependency, depth).await?;
                    }
                }
                Kind::Blueprint | Kind::Deployment => {
                    for gateway in values(tree, "gateways") {
                        self.artifact(Kind::Gateway, gateway, depth).await?;
                    }
                    for cluster in values(tree, "clusters") {
                        self.cluster(cluster, depth).await?;
                    }
                }
                Kind::Gateway => {
                    for route in values(tree, "routes") {
                        self.place(Kind::Route, Form::Map, route, depth).await?;
                    }
                }
                Kind::Route => {
                    if let Some(condition) = tree.get_mut("condition") {
                        self.place(Kind::Condition, Form::Map, condition, depth).await?;
                    }
                    for rewrite in values(tree, "rewrites") {
                        self.place(Kind::Rewrite, Form::Map, rewrite, depth).await?;
                    }
                }
                Kind::Sla | Kind::Escalation => {
                    for list in ["escalations", "to_all", "to_one"] {
                        for escalation in values(tree, list) {
                            self.place(Kind::Escalation, Form::Text, escalation, depth)
                                .await?;
                        }
                    }
                }
                Kind::Workflow => self.running(tree, depth).await?,
                Kind::Scale | Kind::Condition | Kind::Rewrite | Kind::Template => {}
            }
            Ok(())
        })
    }

    async fn cluster(&mut self, cluster: &mut Value, depth: usize) -> Result<(), ApiError> {
        if cluster.pointer("/gateways/routes").is_some() {
            if let Some(gateway) = cluster.get_mut("gateways") {
                self.artifact(Kind::Gateway, gateway, depth).await?;
            }
        } else {
            for gateway in values(cluster, "gateways") {
                self.artifact(Kind::Gateway, gateway, depth).await?;
            }
        }
        for service in values(cluster, "services") {
            self.running(service, depth).await?;
        }
        if let Some(sla) = cluster.get_mut("sla") {
            self.place(Kind::Sla, Form::Map, sla, depth).await?;
        }
        Ok(())
    }

    /// A service or a workflow.
    async fn running(&mut self, tree: &mut Value, depth: usize) -> Result<(), ApiError> {
        if let Some(breed) = tree.get_mut("breed") {
            self.place(Kind::Breed, Form::Map, breed, depth).await?;
        }
        if let Some(scale) = tree.get_mut("scale") {
            self.place(Kind::Scale, Form::Map, scale, depth).await?;
        }
        Ok(())
    }

    /// Something that is either a reference or in place.
    async fn place(
        &mut self,
        kind: Kind,
        form: Form,
        tree: &mut Value,
        depth: usize,
    ) -> Result<(), ApiError> {
        let Some(name) = referred(tree, form).map(str::to_owned) else {
            return match tree.get("name").and_then(Value::as_str) {
                Some(name) if !self.expands && !name.is_empty() => {
                    let name = name.to_owned();
                    *tree = match form {
                        Form::Map => json!({ "reference": name }),
                        Form::Text => Value::String(name),
                    };
                    Ok(())
                }
                _ => self.artifact(kind, tree, depth.saturating_sub(1)).await,
            };
        };
        // What matches a prefix is known only when it is deployed.
        if !self.expands || name.ends_with('*') {
            return Ok(());
        }
        if depth == 0 {
            return Err(ApiError::problem(
                "RecursiveDependenciesError",
                format!("The {kind} `{name}` refers to itself, by way of others."),
            ));
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            ApiError::bad_request(format!(
                "More than {EXPANDED_MAX} artifacts would be in the answer; ask without `expand_references`."
            ))
        })?;
        let found = self.shelf.stored(kind.plural(), &name).await?.ok_or_else(|| {
            ApiError::problem(
                "ArtifactNotFound",
                format!("`{name}` is referred to, but there is none in {}.", kind.plural()),
            )
        })?;
        let given = std::mem::replace(tree, in_place(kind, found.body));
        // A reference may say some things itself: the escalations of an sla.
        if let (Value::Object(given), Value::Object(fields)) = (given, &mut *tree) {
            let own = given
                .into_iter()
                .filter(|(key, _)| !matches!(key.as_str(), "reference" | "ref" | "kind" | "metadata"));
            fields.extend(own);
        }
        self.artifact(kind, tree, depth - 1).await
    }
}

/// The name that a place refers to.
fn referred(tree: &Value, form: Form) -> Option<&str> {
    match tree {
        Value::String(name) if form == Form::Text => Some(name),
        Value::Object(fields) => fields.get("reference").or_else(|| fields.get("ref"))?.as_str(),
        _ => None,
    }
}

/// A stored artifact as it stands inside another one: breeds have a name there, all else has none.
fn in_place(kind: Kind, body: Value) -> Value {
    match body {
        Value::Object(mut fields) if kind != Kind::Breed => {
            for own in ["name", "kind", "metadata"] {
                fields.shift_remove(own);
            }
            Value::Object(fields)
        }
        body => body,
    }
}

/// The items of a list or map below a key.
fn values<'a>(tree: &'a mut Value, key: &str) -> Box<dyn Iterator<Item = &'a mut Value> + Send + 'a> {
    match tree.get_mut(key) {
        Some(Value::Array(items)) => Box::new(items.iter_mut()),
        Some(Value::Object(fields)) => Box::new(Map::iter_mut(fields).map(|(_, value)| value)),
        _ => Box::new(std::iter::empty()),
    }
}
