//! Maps whose keys are known.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::{super::suggest, Cursor};
use crate::{problem::shown, tree::Entry};

/// A map whose keys are known; what nobody took is a problem.
#[derive(Debug)]
pub(in crate::read) struct Table<'a> {
    pub(in crate::read) cursor: Cursor<'a>,
    entries: &'a IndexMap<String, Entry>,
    known: Vec<&'static str>,
    taken: Vec<bool>,
}

impl<'a> Table<'a> {
    pub(super) fn new(cursor: Cursor<'a>, entries: &'a IndexMap<String, Entry>) -> Self {
        Self {
            cursor,
            entries,
            known: Vec::new(),
            taken: vec![false; entries.len()],
        }
    }

    /// The value of a key; `None` if it is absent or null.
    pub(in crate::read) fn take(&mut self, key: &'static str) -> Option<Cursor<'a>> {
        self.known.push(key);
        self.consume(key)
    }

    /// The value of a key that nobody should be told of.
    pub(in crate::read) fn take_aside(&mut self, key: &str) -> Option<Cursor<'a>> {
        self.consume(key)
    }

    fn consume(&mut self, key: &str) -> Option<Cursor<'a>> {
        let (index, key, entry) = self.entries.get_full(key)?;
        if let Some(taken) = self.taken.get_mut(index) {
            *taken = true;
        }
        (!entry.node.is_null()).then(|| self.cursor.child(key, entry))
    }

    /// The value of the first of these keys that has one.
    pub(in crate::read) fn take_either(&mut self, keys: [&'static str; 2]) -> Option<Cursor<'a>> {
        let [name, _] = keys;
        let [first, second] = keys.map(|key| self.take(key));
        // One name for the path, whichever is written.
        let second = second.map(|cursor| Cursor {
            path: self.cursor.path.join(name),
            ..cursor
        });
        first.or(second)
    }

    /// The value of a key that must be there.
    pub(in crate::read) fn require(&mut self, key: &'static str) -> Option<Cursor<'a>> {
        let value = self.take(key);
        if value.is_none() {
            let cursor = &self.cursor;
            cursor.under(key).problem_at(
                "MissingPathValueError",
                format!("`{key}` is missing"),
                None,
                cursor.node.position,
            );
        }
        value
    }

    pub(in crate::read) fn has(&self, key: &str) -> bool {
        self.cursor.has(key)
    }

    /// Whether every key that has a value is taken.
    pub(in crate::read) fn is_exhausted(&self) -> bool {
        let mut entries = self.entries.values().zip(&self.taken);
        entries.all(|(entry, taken)| *taken || entry.node.is_null())
    }

    /// Accepts keys that do not matter; nobody is told to write them.
    pub(in crate::read) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.consume(key);
        }
    }

    /// Takes every key that nobody took: free content. Nulls are as good as absent.
    pub(in crate::read) fn rest(&mut self) -> Map<String, Value> {
        let entries = self.entries.iter().zip(&mut self.taken);
        entries
            .filter_map(|(entry, taken)| (!std::mem::replace(taken, true)).then_some(entry))
            .filter(|(_, entry)| !entry.node.is_null())
            .map(|(key, entry)| (key.clone(), entry.node.to_value()))
            .collect()
    }

    /// Moves the path on: the rest of the keys belongs to what a short form stands for.
    pub(in crate::read) fn descend(&mut self, name: &'static str) {
        self.cursor = self.cursor.under(name);
    }

    /// Every key that nobody took is a problem.
    pub(in crate::read) fn finish(self) {
        for ((key, entry), taken) in self.entries.iter().zip(&self.taken) {
            if *taken {
                continue;
            }
            if self.cursor.sink.is_full() {
                self.cursor.sink.skip();
                continue;
            }
            let rendered = Value::Object([(key.clone(), entry.node.to_value())].into_iter().collect());
            self.cursor.key_problem(
                key,
                "UnexpectedElement",
                format!("unexpected: {}", shown(&rendered.to_string())),
                suggest::hint(key, &self.known),
            );
        }
    }
}
