//! Text to trees.
//!
//! **Job.** YAML (and JSON, which is read by the same parser) to [`Node`]s that know their place in the text.
//!
//! **Invariants.** A scalar keeps its text as written: what it means is decided where it is used, so
//! `version: 1.0` stays `1.0` where a string is expected. Bounded: bytes, depth, and nodes and text *after*
//! aliases are expanded, counted before anything is copied. Duplicate keys: the last one wins.
//!
//! **Absent.** No application tags: they are refused.

mod build;
mod json;
mod scalar;
#[cfg(test)]
mod tests;

use indexmap::IndexMap;
use serde_json::Value;

pub(crate) use self::scalar::{Scalar, boolean_word};
use crate::{Position, Problem, Severity, read::BYTES_MAX};

/// One value of a document.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) data: Data,
    /// `None` when the text was read by the JSON fallback.
    pub(crate) position: Option<Position>,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(IndexMap<String, Entry>),
}

/// A map's value with the place of its key.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key_position: Option<Position>,
    pub(crate) node: Node,
}

impl Node {
    /// The tree of a value that is trusted to be within bounds.
    pub(crate) fn from_value(value: &Value) -> Self {
        json::trusted(value)
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar(scalar) if scalar.is_null())
    }

    /// What it is, for messages.
    pub(crate) fn what(&self) -> &'static str {
        match &self.data {
            Data::Scalar(scalar) if scalar.is_null() => "nothing",
            Data::Scalar(_) => "a value",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }

    /// As [`Node::to_value`], but a number that would be printed otherwise than it is written (`1.10`) stays a text.
    pub(crate) fn to_value_as_written(&self) -> Value {
        match &self.data {
            Data::Scalar(scalar) => match scalar.to_value() {
                Value::Number(number) if number.to_string() != scalar.text => {
                    Value::String(scalar.text.clone())
                }
                value => value,
            },
            Data::List(items) => items.iter().map(Self::to_value_as_written).collect(),
            Data::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, entry)| (key.clone(), entry.node.to_value_as_written()))
                    .collect(),
            ),
        }
    }

    /// As free content: plain scalars become null, booleans and numbers where YAML 1.2's core schema says so.
    pub(crate) fn to_value(&self) -> Value {
        match &self.data {
            Data::Scalar(scalar) => scalar.to_value(),
            Data::List(items) => items.iter().map(Self::to_value).collect(),
            Data::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, entry)| (key.clone(), entry.node.to_value()))
                    .collect(),
            ),
        }
    }
}

/// Every document of a text; lists at the top level are flattened, empty documents left out.
///
/// # Errors
/// `YamlParsingError` with its place.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, Box<Problem>> {
    if text.len() > BYTES_MAX {
        return Err(problem(
            None,
            format!(
                "the document has {} bytes, more than {BYTES_MAX} are not accepted",
                text.len()
            ),
        ));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let documents = build::documents(text).or_else(|failure| match failure {
        build::Failure::Bound(problem) => Err(problem),
        // JSON is YAML but for the scanner's limits (keys over 1024 characters, surrogate pairs): what is
        // JSON by the book is read, though without places.
        build::Failure::Syntax(problem) => json::document(text).map(|node| vec![node]).ok_or(problem),
    })?;
    let mut flat = Vec::new();
    for document in documents {
        flatten(document, &mut flat);
    }
    Ok(flat)
}

fn flatten(node: Node, flat: &mut Vec<Node>) {
    if node.is_null() {
        return;
    }
    match node.data {
        Data::List(items) => items.into_iter().for_each(|item| flatten(item, flat)),
        _ => flat.push(node),
    }
}

fn problem(position: Option<Position>, message: String) -> Box<Problem> {
    Box::new(Problem {
        severity: Severity::Error,
        code: "YamlParsingError",
        path: "/".to_owned(),
        position,
        message,
        hint: None,
    })
}
