//! Documents that others import, before anything is stored.

use std::{cell::RefCell, collections::HashMap};

use serde_json::Value;

use super::{Documents, Import, import, sink::Sink, unchecked};
use crate::{
    Kind,
    tree::{Data, Node},
    write,
};

/// Longest chain of documents that import each other.
const CHAIN_MAX: usize = 8;

/// Documents of one or several texts, by kind and name.
#[derive(Debug, Default)]
pub struct Library {
    nodes: HashMap<Import, Node>,
    /// As they were found already.
    found: RefCell<HashMap<Import, Value>>,
}

impl Library {
    /// Adds the documents of a text that say their kind and name; `kind`: that of those which do not. Deployments are
    /// left out: what is asked of them is not what they are. A later document of the same kind and name takes the place
    /// of an earlier one.
    pub fn add(&mut self, documents: &Documents, kind: Option<Kind>) {
        for node in documents.nodes() {
            if let Some(import) = identity(node, kind) {
                self.nodes.insert(import, node.clone());
            }
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The artifact as [`crate::write::value`] prints it, with what it imports itself; one with problems as it is
    /// written. What is not here, or imports itself, is asked of `beyond`.
    pub fn find(&self, import: &Import, mut beyond: impl FnMut(&Import) -> Option<Value>) -> Option<Value> {
        self.look(import, &mut Vec::new(), &mut beyond)
    }

    fn look(
        &self,
        import: &Import,
        asked: &mut Vec<Import>,
        beyond: &mut dyn FnMut(&Import) -> Option<Value>,
    ) -> Option<Value> {
        if let Some(found) = self.found.borrow().get(import) {
            return Some(found.clone());
        }
        let is_here = !asked.contains(import) && asked.len() < CHAIN_MAX;
        let Some(node) = self.nodes.get(import).filter(|_| is_here) else {
            return beyond(import);
        };
        asked.push(import.clone());
        // Its own problems are told where it stands.
        let sink = Sink::default();
        let whole = import::resolve(node.clone(), None, &sink, &mut |import| {
            self.look(import, asked, beyond)
        });
        asked.pop();
        let body = match unchecked(import.kind, &whole.node) {
            Ok(artifact) => write::value(&artifact),
            Err(_) => whole.node.to_value_as_written(),
        };
        self.found.borrow_mut().insert(import.clone(), body.clone());
        Some(body)
    }
}

/// By what a document can be imported; `kind` if it does not say its own.
pub(super) fn identity(node: &Node, kind: Option<Kind>) -> Option<Import> {
    let kind = text(node, "kind").map_or(kind, Kind::from_word)?;
    let name = text(node, "name")?.to_owned();
    (kind != Kind::Deployment).then_some(Import { kind, name })
}

/// The text of a map's key.
fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    let Data::Map(entries) = &node.data else {
        return None;
    };
    match &entries.get(key)?.node.data {
        Data::Scalar(scalar) if !scalar.is_null() => Some(&scalar.text),
        _ => None,
    }
}
