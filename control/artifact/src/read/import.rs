//! `import` (spec of the artifacts, §11): other artifacts' bodies, merged in before a document is read.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use serde_json::Value;

use super::{
    cursor::Cursor,
    library::{BROUGHT_MAX, Found},
    sink::Sink,
};
use crate::{
    Kind, Position, Problem, Severity,
    problem::shown,
    tree::{Data, Entry, Node},
};

/// Most imports of one document.
const IMPORTS_MAX: usize = 64;
/// The key.
const IMPORT: &str = "import";

/// What a document imports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Import {
    /// Of which kind it is: a template unless something else is written.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// What a document imports, in order.
pub(super) fn of(cursor: &Cursor<'_>) -> Vec<Import> {
    if !cursor.has(IMPORT) {
        return Vec::new();
    }
    let Some(cursor) = cursor.entry(IMPORT) else {
        return Vec::new();
    };
    let items = cursor.items_or_self();
    if items.is_empty() || cursor.scalar().is_some_and(|scalar| scalar.text.is_empty()) {
        cursor.problem_with("EmptyImportError", "nothing is imported", HINT);
        return Vec::new();
    }
    if items.len() > IMPORTS_MAX {
        cursor.problem(
            "ImportDefinitionError",
            format!("more than {IMPORTS_MAX} imports are not accepted"),
        );
        return Vec::new();
    }
    items.iter().filter_map(one).collect()
}

const HINT: &str = "write the name of a template, or a kind and a name such as `breeds/front:1`";

fn one(cursor: &Cursor<'_>) -> Option<Import> {
    let Some(scalar) = cursor.scalar() else {
        cursor.problem_with("ImportDefinitionError", "an import is a text", HINT);
        return None;
    };
    let (kind, name) = match scalar.text.split_once('/') {
        None => (Some(Kind::Template), scalar.text.as_str()),
        Some((kind, name)) => (Kind::from_plural(kind), name),
    };
    let (Some(kind), false) = (kind, name.is_empty()) else {
        let message = format!("`{}` names nothing that could be imported", shown(&scalar.text));
        cursor.problem_with("ImportReferenceError", message, HINT);
        return None;
    };
    Some(Import {
        kind,
        name: name.to_owned(),
    })
}

/// A document with what it imports.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) node: Node,
    /// Something that it imports is not known.
    pub(super) is_partial: bool,
    /// Imports that were not found, in order.
    pub(super) unknown: Vec<Problem>,
    /// How many values were merged, those that others took the place of included.
    pub(super) brought: usize,
    /// What it imports was refused for its size, which `sink` was told.
    pub(super) is_too_much: bool,
}

/// The document with what it imports; unchanged if it imports nothing. What is wrong with the imports themselves goes to
/// `sink`.
pub(super) fn resolve(
    node: Node,
    path: Option<usize>,
    sink: &Sink,
    find: &mut dyn FnMut(&Import) -> Found,
) -> Whole {
    let mut cursor = Cursor::root(&node, sink);
    if let Some(index) = path {
        cursor = cursor.under(index.to_string());
    }
    let Some(entry) = cursor.entry(IMPORT) else {
        return Whole {
            brought: nodes(&node),
            node,
            is_partial: false,
            unknown: Vec::new(),
            is_too_much: false,
        };
    };
    let mut whole = Node {
        data: Data::Map(Default::default()),
        position: node.position,
    };
    let mut unknown = Vec::new();
    let (mut brought, mut is_too_much) = (0, false);
    let before = sink.count();
    for import in of(&cursor) {
        match find(&import) {
            Found::Body(body) => {
                let body = placed(&body_of(&import, body), entry.position());
                brought += nodes(&body);
                merge(&mut whole, body);
            }
            Found::Nothing => unknown.push(not_found(&entry, &import)),
            Found::TooMuch => is_too_much = true,
        }
        is_too_much |= brought > BROUGHT_MAX;
        if is_too_much {
            too_much(&entry);
            break;
        }
    }
    let is_partial = sink.count() > before || !unknown.is_empty();
    let mut own = node.clone();
    if let Data::Map(entries) = &mut own.data {
        entries.shift_remove(IMPORT);
    }
    brought += nodes(&own);
    merge(&mut whole, own);
    Whole {
        node: whole,
        is_partial,
        unknown,
        brought,
        is_too_much,
    }
}

/// Tells that imports bring more than is accepted.
pub(super) fn too_much(cursor: &Cursor<'_>) {
    cursor.problem(
        "YamlParsingError",
        format!("imports that bring more than {BROUGHT_MAX} values in all are not accepted"),
    );
}

fn not_found(entry: &Cursor<'_>, import: &Import) -> Problem {
    let (kind, name) = (import.kind, shown(&import.name));
    // Of a list of imports the one that is meant.
    let place = entry.items_or_self().into_iter().find(|item| {
        item.scalar().is_some_and(|scalar| {
            scalar.text == import.name || scalar.text.ends_with(&format!("/{}", import.name))
        })
    });
    Problem {
        severity: Severity::Error,
        code: "ImportReferenceError",
        path: entry.path(),
        position: place.and_then(|place| place.position()).or(entry.position()),
        message: format!("there is no {kind} `{name}` that could be imported"),
        hint: Some(
            "what is imported is looked up where the document is sent to, and in what is sent with it"
                .to_owned(),
        ),
    }
}

/// What of a stored artifact is imported: of a template its definition, of others all but what they are.
fn body_of(import: &Import, mut body: Value) -> Value {
    let Value::Object(entries) = &mut body else {
        return body;
    };
    if import.kind == Kind::Template {
        return entries.remove("definition").unwrap_or(Value::Null);
    }
    for key in ["kind", "lookup_name"] {
        entries.remove(key);
    }
    body
}

/// The tree of a stored value, which stands where it was imported.
fn placed(value: &Value, position: Option<Position>) -> Node {
    fn place(node: &mut Node, position: Option<Position>) {
        node.position = position;
        match &mut node.data {
            Data::Scalar(_) => {}
            Data::List(items) => items.iter_mut().for_each(|item| place(item, position)),
            Data::Map(entries) => entries.values_mut().for_each(|entry| {
                entry.key_position = position;
                place(&mut entry.node, position);
            }),
        }
    }
    let mut node = Node::from_value(value);
    place(&mut node, position);
    node
}

/// What comes later wins; maps are merged, lists are put together as sets. As deep as documents nest.
fn merge(whole: &mut Node, later: Node) {
    if later.is_null() {
        return;
    }
    match (&mut whole.data, later.data) {
        (Data::Map(entries), Data::Map(later)) => {
            for (key, entry) in later {
                match entries.get_mut(&key) {
                    Some(known) => {
                        known.key_position = entry.key_position;
                        merge(&mut known.node, entry.node);
                    }
                    None => {
                        entries.insert(key, entry);
                    }
                }
            }
        }
        (Data::List(items), Data::List(later)) => {
            let shown = |node: &Node| node.to_value().to_string();
            let mut seen: HashSet<String> = items.iter().map(shown).collect();
            items.extend(later.into_iter().filter(|item| seen.insert(shown(item))));
        }
        (data, later) => *data = later,
    }
    whole.position = later.position;
}

/// How many values a tree has.
pub(super) fn nodes(node: &Node) -> usize {
    1 + match &node.data {
        Data::Scalar(_) => 0,
        Data::List(items) => items.iter().map(nodes).sum(),
        Data::Map(entries) => entries.values().map(|Entry { node, .. }| nodes(node)).sum(),
    }
}
