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
mod gateway;
mod route;
mod scale;
mod suggest;
#[cfg(test)]
mod tests;

use serde_json::Value;

use self::{
    blueprint::Purpose,
    cursor::{Cursor, Sink, Table},
};
use crate::{
    Artifact, Blueprint, Kind, OrReference, Problem, Scale,
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

/// Reads exactly one artifact of a known kind.
///
/// # Errors
/// Every problem of the document.
pub fn one(kind: Kind, text: &str) -> Result<Artifact, Vec<Problem>> {
    let node = single(text)?;
    read(&node, Sink::default(), |cursor| of_kind(kind, cursor.table()?))
}

/// Reads many documents or list items, each with its `kind`.
///
/// # Errors
/// Every problem of every document.
pub fn many(text: &str) -> Result<Vec<Artifact>, Vec<Problem>> {
    each(text, |kind, cursor| of_kind(kind, cursor.table()?))
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
    each(text, |kind, cursor| {
        let mut table = cursor.table()?;
        if kind != Kind::Deployment {
            return of_kind(kind, table).map(|artifact| Request::Artifact(Box::new(artifact)));
        }
        if cursor.keys() == 2 && cursor.has("name") {
            table.require("kind")?;
            let name = common::name(&mut table);
            return Some(Request::Deploy(name.clone(), DeployRequest::Reference(name)));
        }
        let blueprint = blueprint::blueprint(table, Purpose::Deploy);
        let name = blueprint.name.clone();
        Some(Request::Deploy(
            name,
            DeployRequest::Blueprint(Box::new(blueprint)),
        ))
    })
}

fn each<T>(text: &str, read: impl Fn(Kind, &Cursor<'_>) -> Option<T>) -> Result<Vec<T>, Vec<Problem>> {
    let nodes = tree::documents(text).map_err(|problem| vec![*problem])?;
    let sink = Sink::default();
    let mut all = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let mut cursor = Cursor::root(node, &sink);
        if nodes.len() > 1 {
            cursor = cursor.under(index.to_string());
        }
        let one = cursor.table().and_then(|mut table| {
            let kind = kind_of(&mut table)?;
            read(kind, &cursor)
        });
        all.extend(one);
    }
    match sink.into_problems() {
        problems if problems.is_empty() => Ok(all),
        problems => Err(problems),
    }
}

/// Reads the body of a deployment request.
///
/// # Errors
/// Every problem of the document.
pub fn deploy_request(text: &str) -> Result<DeployRequest, Vec<Problem>> {
    let node = single(text)?;
    read(&node, Sink::default(), |cursor| {
        if let Some(scalar) = cursor.scalar() {
            return Some(DeployRequest::Reference(scalar.text.clone()));
        }
        if let Some(name) = common::reference(&cursor, "blueprint") {
            return Some(DeployRequest::Reference(name));
        }
        let mut table = cursor.table()?;
        if cursor.keys() == 1 && cursor.has("name") {
            return Some(DeployRequest::Reference(common::name(&mut table)));
        }
        let blueprint = blueprint::blueprint(table, Purpose::Deploy);
        Some(DeployRequest::Blueprint(Box::new(blueprint)))
    })
}

/// Reads the body of a service's scale: in place or a reference.
///
/// # Errors
/// Every problem of the document.
pub fn scale(text: &str) -> Result<OrReference<Scale>, Vec<Problem>> {
    let node = single(text)?;
    read(&node, Sink::default(), |cursor| scale::or_reference(&cursor))
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
    read(node, Sink::unchecked(), |cursor| of_kind(kind, cursor.table()?))
}

/// The documents of a text as free trees (events, queries). Lists at the top level are flattened.
///
/// # Errors
/// The text is not YAML.
pub fn trees(text: &str) -> Result<Vec<Value>, Vec<Problem>> {
    let nodes = tree::documents(text).map_err(|problem| vec![*problem])?;
    Ok(nodes.iter().map(Node::to_value).collect())
}

fn read<T>(node: &Node, sink: Sink, read: impl FnOnce(Cursor<'_>) -> Option<T>) -> Result<T, Vec<Problem>> {
    let value = read(Cursor::root(node, &sink));
    let problems = sink.into_problems();
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(problems),
    }
}

/// The only document of a text.
fn single(text: &str) -> Result<Node, Vec<Problem>> {
    let mut nodes = tree::documents(text).map_err(|problem| vec![*problem])?;
    match (nodes.pop(), nodes.len()) {
        (Some(node), 0) => Ok(node),
        (last, more) => Err(vec![Problem {
            code: "UnexpectedTypeError",
            path: "/".to_owned(),
            // The second document is the one too many.
            position: nodes.get(1).or(last.as_ref()).and_then(|node| node.position),
            message: match more {
                0 => "expected one document, found nothing".to_owned(),
                more => format!("expected one document, found {}", more + 1),
            },
            hint: None,
        }]),
    }
}

fn of_kind(kind: Kind, table: Table<'_>) -> Option<Artifact> {
    Some(match kind {
        Kind::Breed => Artifact::Breed(breed::breed(table)),
        Kind::Blueprint => Artifact::Blueprint(blueprint::blueprint(table, Purpose::Store)),
        Kind::Scale => Artifact::Scale(scale::named(table)?),
        Kind::Condition => Artifact::Condition(condition::named(table)?),
        Kind::Gateway => Artifact::Gateway(gateway::gateway(table)),
        Kind::Deployment => Artifact::Deployment(deployment::deployment(table)),
    })
}

/// The kind that a document says it has.
fn kind_of(table: &mut Table<'_>) -> Option<Kind> {
    /// Kinds of the language that are not there yet, singular and plural.
    const LATER: [&str; 7] = [
        "sla",
        "escalation",
        "route",
        "rewrite",
        "workflow",
        "template",
        "release",
    ];
    let cursor = table.require("kind")?;
    let word = cursor.text()?;
    let kind = Kind::from_word(word);
    if kind.is_none() {
        let known = || Kind::ALL.map(Kind::singular).join(", ");
        match LATER.contains(&word.strip_suffix('s').unwrap_or(word)) {
            true => cursor.problem_with(
                "UnsupportedKind",
                format!("the kind `{word}` is not supported yet"),
                format!("supported: {}", known()),
            ),
            false => cursor.problem_with(
                "UnsupportedKind",
                format!("there is no kind `{}`", shown(word)),
                format!("known: {}", known()),
            ),
        }
    }
    kind
}
