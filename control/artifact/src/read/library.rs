//! Documents that others import, before anything is stored.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use serde_json::Value;

use super::{Documents, Import, NODES_MAX, import, sink::Sink, unchecked};
use crate::{
    Kind,
    tree::{Data, Node},
    write,
};

/// Longest chain of documents that import each other.
const CHAIN_MAX: usize = 8;
/// Most values that the documents of a text bring into each other.
pub(super) const BROUGHT_MAX: usize = 4 * NODES_MAX;
/// Texts whose bounds add up.
const TEXTS_MAX: usize = 8;

/// What became of looking for an import.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Found {
    /// The artifact as [`crate::write::value`] prints it.
    Body(Value),
    /// There is none.
    Nothing,
    /// It brings too many values with it.
    TooMuch,
}

impl From<Option<Value>> for Found {
    fn from(body: Option<Value>) -> Self {
        body.map_or(Self::Nothing, Self::Body)
    }
}

/// Documents of one or several texts, by kind and name.
#[derive(Debug, Default)]
pub struct Library {
    nodes: HashMap<Import, Node>,
    /// As they were found already.
    found: RefCell<HashMap<Import, Value>>,
    /// How many values went into those.
    spent: Cell<usize>,
    texts: usize,
}

impl Library {
    /// Adds the documents of a text that say their kind and name; `kind`: that of those which do not. Deployments are
    /// left out: what is asked of them is not what they are. A later document of the same kind and name takes the place
    /// of an earlier one.
    pub fn add(&mut self, documents: &Documents, kind: Option<Kind>) {
        self.texts += 1;
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
    /// written. What is not here, or imports itself, is asked of `beyond`. Of documents that multiply each other no more is
    /// put together than a bound that grows with the texts.
    pub fn find<F: Into<Found>>(&self, import: &Import, mut beyond: impl FnMut(&Import) -> F) -> Found {
        self.look(import, &mut Vec::new(), &mut |import| beyond(import).into())
    }

    fn is_spent(&self) -> bool {
        self.spent.get() > BROUGHT_MAX * self.texts.min(TEXTS_MAX)
    }

    fn look(
        &self,
        import: &Import,
        asked: &mut Vec<Import>,
        beyond: &mut dyn FnMut(&Import) -> Found,
    ) -> Found {
        if let Some(found) = self.found.borrow().get(import) {
            return Found::Body(found.clone());
        }
        let is_here = !asked.contains(import) && asked.len() < CHAIN_MAX;
        let Some(node) = self.nodes.get(import).filter(|_| is_here) else {
            return beyond(import);
        };
        if self.is_spent() {
            return Found::TooMuch;
        }
        asked.push(import.clone());
        // Its own problems are told where it stands.
        let sink = Sink::default();
        let whole = import::resolve(node.clone(), None, &sink, &mut |import| {
            self.look(import, asked, beyond)
        });
        asked.pop();
        self.spent.set(self.spent.get().saturating_add(whole.brought));
        if whole.is_too_much || self.is_spent() {
            return Found::TooMuch;
        }
        let body = match unchecked(import.kind, &whole.node) {
            Ok(artifact) => write::value(&artifact),
            Err(_) => whole.node.to_value_as_written(),
        };
        self.found.borrow_mut().insert(import.clone(), body.clone());
        Found::Body(body)
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
