//! Text to artifacts.
//!
//! Every function gives *all* problems of a document, in the order of the text. A document that is not YAML
//! at all has one.

mod blueprint;
mod breed;
mod common;
mod condition;
mod cursor;
mod deployment;
mod documents;
mod gateway;
mod import;
mod library;
mod options;
mod route;
mod scale;
mod sink;
mod sla;
mod suggest;
mod template;
#[cfg(test)]
mod tests;
mod workflow;

use serde_json::Value;

use self::{
    blueprint::Purpose,
    cursor::{Cursor, Table},
    sink::Sink,
};
pub use self::{
    documents::{Checked, Documents, Expected, Read},
    import::Import,
    library::{Found, Library},
};
use crate::{
    Artifact, Blueprint, ClusterSla, Kind, OrReference, Problem, Scale, WorkflowStatus,
    problem::shown,
    tree::{self, Node},
};

/// Longest document in bytes.
pub const BYTES_MAX: usize = 2 * 1024 * 1024;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 64;
/// Most nodes after aliases are expanded.
pub const NODES_MAX: usize = 200_000;

/// What a deployment request may carry.
#[derive(Clone, Debug, PartialEq)]
pub enum DeployRequest {
    /// A stored blueprint, by name.
    Reference(String),
    /// A blueprint (or a printed deployment, read as one).
    Blueprint(Box<Blueprint>),
}

/// Reads exactly one artifact of a known kind. For documents that import something, and for warnings, see
/// [`Documents`].
///
/// # Errors
/// Every problem of the document.
pub fn one(kind: Kind, text: &str) -> Result<Artifact, Vec<Problem>> {
    Ok(Documents::parse(text)?.one(kind)?.value)
}

/// Reads many documents or list items, each with its `kind`.
///
/// # Errors
/// Every problem of every document.
pub fn many(text: &str) -> Result<Vec<Artifact>, Vec<Problem>> {
    Ok(Documents::parse(text)?.many()?.value)
}

/// What one document of many asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// To be stored.
    Artifact(Box<Artifact>),
    /// To be merged into the deployment of this name.
    Deploy(String, DeployRequest),
}

/// Reads many documents or list items, each with its `kind`, as [`many`] does, but deployments as what is
/// asked of them: `kind: deployment` may have all that a blueprint has; with a `name` alone it is the stored
/// blueprint of that name.
///
/// # Errors
/// Every problem of every document.
pub fn requests(text: &str) -> Result<Vec<Request>, Vec<Problem>> {
    Ok(Documents::parse(text)?.requests()?.value)
}

/// Reads the body of a deployment request.
///
/// # Errors
/// Every problem of the document.
pub fn deploy_request(text: &str) -> Result<DeployRequest, Vec<Problem>> {
    Ok(Documents::parse(text)?.deploy_request()?.value)
}

/// Reads the body of a service's scale: in place or a reference.
///
/// # Errors
/// Every problem of the document.
pub fn scale(text: &str) -> Result<OrReference<Scale>, Vec<Problem>> {
    alone(text, |cursor| scale::or_reference(&cursor))
}

/// Reads the body of a cluster's sla: in place or a reference, which may have escalations of its own.
///
/// # Errors
/// Every problem of the document.
pub fn sla(text: &str) -> Result<ClusterSla, Vec<Problem>> {
    alone(text, |cursor| sla::of_cluster(&cursor))
}

/// Reads a workflow's status alone, in any letter case.
///
/// # Errors
/// Every problem of the document.
pub fn workflow_status(text: &str) -> Result<WorkflowStatus, Vec<Problem>> {
    alone(text, |cursor| workflow::status(&cursor))
}

fn alone<T>(text: &str, read: impl FnOnce(Cursor<'_>) -> Option<T>) -> Result<T, Vec<Problem>> {
    Ok(Documents::parse(text)?.alone(read)?.value)
}

/// Reads what [`crate::write::value`] has written and something has kept: forms are checked, what holds
/// across fields is taken to be as it was.
///
/// # Errors
/// Every problem of the document.
pub fn stored(kind: Kind, value: &Value) -> Result<Artifact, Vec<Problem>> {
    unchecked(kind, &Node::from_value(value))
}

pub(crate) fn unchecked(kind: Kind, node: &Node) -> Result<Artifact, Vec<Problem>> {
    let sink = Sink::unchecked();
    let value = Cursor::root(node, &sink)
        .table()
        .and_then(|table| of_kind(kind, table));
    let (problems, _) = sink.into_parts();
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(problems),
    }
}

/// The documents of a text as free trees (events, queries). Lists at the top level are flattened.
///
/// # Errors
/// The text is not YAML.
pub fn trees(text: &str) -> Result<Vec<Value>, Vec<Problem>> {
    let nodes = tree::documents(text).map_err(|problem| vec![*problem])?;
    Ok(nodes.iter().map(Node::to_value).collect())
}

fn of_kind(kind: Kind, table: Table<'_>) -> Option<Artifact> {
    Some(match kind {
        Kind::Breed => Artifact::Breed(breed::breed(table)),
        Kind::Blueprint => Artifact::Blueprint(blueprint::blueprint(table, Purpose::Store)),
        Kind::Sla => Artifact::Sla(sla::named(table)?),
        Kind::Scale => Artifact::Scale(scale::named(table)?),
        Kind::Escalation => Artifact::Escalation(sla::named_escalation(table)?),
        Kind::Route => Artifact::Route(route::named(table)),
        Kind::Condition => Artifact::Condition(condition::named(table)?),
        Kind::Rewrite => Artifact::Rewrite(route::named_rewrite(table)?),
        Kind::Workflow => Artifact::Workflow(workflow::workflow(table)?),
        Kind::Gateway => Artifact::Gateway(gateway::gateway(table)),
        Kind::Deployment => Artifact::Deployment(deployment::deployment(table)),
        Kind::Template => Artifact::Template(template::template(table)),
    })
}

/// The kind that a document says it has.
fn kind_of(table: &mut Table<'_>) -> Option<Kind> {
    let cursor = table.require("kind")?;
    let word = cursor.text()?;
    let kind = Kind::from_word(word);
    if kind.is_none() {
        cursor.problem_with(
            "UnsupportedKind",
            format!("there is no kind `{}`", shown(word)),
            format!("known: {}", Kind::ALL.map(Kind::singular).join(", ")),
        );
    }
    kind
}
