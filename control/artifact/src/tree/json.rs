//! JSON that the YAML scanner cannot read.

use indexmap::IndexMap;
use serde_json::Value;

use super::{Data, Entry, Node, Scalar};
use crate::read::{DEPTH_MAX, NODES_MAX};

/// The text as JSON, without places; `None` if it is not JSON or crosses a bound.
pub(super) fn document(text: &str) -> Option<Node> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    node(value, 0, &mut 0)
}

fn node(value: Value, depth: usize, nodes: &mut usize) -> Option<Node> {
    *nodes += 1;
    if depth >= DEPTH_MAX || *nodes > NODES_MAX {
        return None;
    }
    let data = match value {
        Value::Null => scalar("null".to_owned(), true),
        Value::Bool(boolean) => scalar(boolean.to_string(), true),
        Value::Number(number) => scalar(number.to_string(), true),
        Value::String(text) => scalar(text, false),
        Value::Array(items) => Data::List(
            items
                .into_iter()
                .map(|item| node(item, depth + 1, nodes))
                .collect::<Option<_>>()?,
        ),
        Value::Object(entries) => Data::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    *nodes += 1;
                    let entry = Entry {
                        key_position: None,
                        node: node(value, depth + 1, nodes)?,
                    };
                    Some((key, entry))
                })
                .collect::<Option<IndexMap<_, _>>>()?,
        ),
    };
    Some(Node { data, position: None })
}

fn scalar(text: String, plain: bool) -> Data {
    Data::Scalar(Scalar {
        text,
        plain,
        offset: None,
    })
}

/// A value that this program keeps itself. As deep as it nests.
pub(super) fn trusted(value: &Value) -> Node {
    let data = match value {
        Value::Null => scalar("null".to_owned(), true),
        Value::Bool(boolean) => scalar(boolean.to_string(), true),
        Value::Number(number) => scalar(number.to_string(), true),
        Value::String(text) => scalar(text.clone(), false),
        Value::Array(items) => Data::List(items.iter().map(trusted).collect()),
        Value::Object(entries) => Data::Map(
            entries
                .iter()
                .map(|(key, value)| {
                    let entry = Entry {
                        key_position: None,
                        node: trusted(value),
                    };
                    (key.clone(), entry)
                })
                .collect(),
        ),
    };
    Node { data, position: None }
}
