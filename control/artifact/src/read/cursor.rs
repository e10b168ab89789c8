//! The toolkit of the readers: a place in a tree that notes problems.

mod table;

use std::{borrow::Cow, cell::Cell, rc::Rc};

use indexmap::IndexMap;
use serde_json::Value;

pub(super) use self::table::Table;
use super::sink::Sink;
use crate::{
    Position, Problem, Severity,
    check::Issue,
    problem::shown,
    tree::{Data, Entry, Node, Scalar},
};

/// The way from the document to a node; rendered only for problems.
#[derive(Clone, Debug, Default)]
struct Path<'a>(Option<Rc<Segment<'a>>>);

#[derive(Debug)]
struct Segment<'a> {
    parent: Path<'a>,
    name: Cow<'a, str>,
}

impl<'a> Path<'a> {
    fn join(&self, name: impl Into<Cow<'a, str>>) -> Self {
        Self(Some(Rc::new(Segment {
            parent: self.clone(),
            name: name.into(),
        })))
    }

    fn render(&self) -> String {
        let mut names = Vec::new();
        let mut path = self;
        while let Some(segment) = &path.0 {
            names.push(shown(&segment.name));
            path = &segment.parent;
        }
        if names.is_empty() {
            return "/".to_owned();
        }
        names.reverse();
        names.join("/")
    }
}

/// A node and where it is.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    node: &'a Node,
    path: Path<'a>,
    sink: &'a Sink,
}

impl<'a> Cursor<'a> {
    pub(super) fn root(node: &'a Node, sink: &'a Sink) -> Self {
        Self {
            node,
            path: Path::default(),
            sink,
        }
    }

    /// The same node under a longer path: what a short form stands for.
    pub(super) fn under(&self, name: impl Into<Cow<'a, str>>) -> Self {
        Self {
            path: self.path.join(name),
            ..self.clone()
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.node.is_null()
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.data, Data::Map(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.data, Data::List(_))
    }

    pub(super) fn is_unchecked(&self) -> bool {
        !self.sink.checks()
    }

    /// The scalar, if it is one and not null.
    pub(super) fn scalar(&self) -> Option<&'a Scalar> {
        match &self.node.data {
            Data::Scalar(scalar) if !scalar.is_null() => Some(scalar),
            _ => None,
        }
    }

    /// Whether a map has the key with a value.
    pub(super) fn has(&self, key: &str) -> bool {
        match &self.node.data {
            Data::Map(entries) => entries.get(key).is_some_and(|entry| !entry.node.is_null()),
            _ => false,
        }
    }

    /// The value of a map's key; `None` if it is absent or null.
    pub(super) fn entry(&self, key: &str) -> Option<Self> {
        match &self.node.data {
            Data::Map(entries) => entries
                .get_key_value(key)
                .filter(|(_, entry)| !entry.node.is_null())
                .map(|(key, entry)| self.child(key, entry)),
            _ => None,
        }
    }

    /// Where it stands in the text.
    pub(super) fn position(&self) -> Option<Position> {
        self.node.position
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> String {
        self.path.render()
    }

    /// How many keys a map has.
    pub(super) fn keys(&self) -> usize {
        match &self.node.data {
            Data::Map(entries) => entries.len(),
            _ => 0,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        self.node.to_value()
    }

    pub(super) fn to_value_as_written(&self) -> Value {
        self.node.to_value_as_written()
    }

    // -- Problems --

    pub(super) fn problem(&self, code: &'static str, message: impl Into<String>) {
        self.problem_at(code, message, None, self.node.position);
    }

    pub(super) fn problem_with(
        &self,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problem_at(code, message, Some(hint.into()), self.node.position);
    }

    /// The place of a character of a scalar's text, if the text stands letter by letter in the document.
    pub(super) fn place_inside(&self, characters: usize) -> Option<Position> {
        let Data::Scalar(scalar) = &self.node.data else {
            return None;
        };
        let Position { line, column } = self.node.position?;
        Some(Position {
            line,
            column: column + scalar.offset? + characters,
        })
    }

    pub(super) fn problem_at(
        &self,
        code: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
        position: Option<Position>,
    ) {
        self.sink.push(Problem {
            severity: Severity::Error,
            code,
            path: self.path.render(),
            position,
            message: message.into(),
            hint,
        });
    }

    /// "Expected this, found that."
    pub(super) fn unexpected_type(&self, expected: &str) {
        let found = match &self.node.data {
            Data::Scalar(scalar) if !scalar.is_null() => format!("`{}`", shown(&scalar.text)),
            _ => self.node.what().to_owned(),
        };
        self.problem(
            "UnexpectedTypeError",
            format!("expected {expected}, found {found}"),
        );
    }

    /// Notes what checks across fields found, unless the same part could not be read in the first place.
    pub(super) fn check(&self, issues: impl FnOnce() -> Vec<Issue>) {
        if !self.sink.checks() {
            return;
        }
        for issue in issues() {
            if self.sink.is_full() {
                self.sink.skip();
                continue;
            }
            let mut path = self.path.clone();
            for name in issue.path {
                path = path.join(name);
            }
            let rendered = path.render();
            if self.sink.wrong_under(&rendered) {
                continue;
            }
            self.sink.push(Problem {
                severity: Severity::Error,
                code: issue.code,
                path: rendered,
                position: self.locate(&path),
                message: issue.message,
                hint: issue.hint,
            });
        }
    }

    /// Notes what is allowed but hardly meant.
    pub(super) fn warn(&self, issues: impl FnOnce(&Cell<u64>) -> Vec<Issue>) {
        if !self.sink.checks() {
            return;
        }
        for issue in issues(&self.sink.steps) {
            let path = issue
                .path
                .iter()
                .fold(self.path.clone(), |path, name| path.join(name.clone()));
            self.sink.warn(Problem {
                severity: Severity::Warning,
                code: issue.code,
                path: path.render(),
                position: self.locate(&path),
                message: issue.message,
                hint: issue.hint,
            });
        }
    }

    /// The place of the longest part of the path that the text has; short forms leave segments out.
    fn locate(&self, path: &Path<'_>) -> Option<Position> {
        let depth = |mut path: &Path<'_>| {
            let mut depth = 0;
            while let Some(segment) = &path.0 {
                depth += 1;
                path = &segment.parent;
            }
            depth
        };
        let mut names = Vec::new();
        let mut rest = path;
        for _ in depth(&self.path)..depth(path) {
            let Some(segment) = &rest.0 else { break };
            names.push(segment.name.as_ref());
            rest = &segment.parent;
        }
        let mut node = self.node;
        let mut position = node.position;
        for name in names.iter().rev() {
            match &node.data {
                Data::Map(entries) => {
                    if let Some(entry) = find(entries, name) {
                        node = &entry.node;
                        position = entry.key_position.or(position);
                    }
                }
                Data::List(items) => {
                    let item = match name.parse::<usize>() {
                        Ok(index) => items.get(index),
                        // A short form left `services` out: this is the list.
                        Err(_) if *name == "services" => None,
                        // A list of routes stands for a map of them.
                        Err(_) => items.iter().find(|item| match &item.data {
                            Data::Map(entries) => entries.contains_key(*name),
                            Data::Scalar(scalar) => scalar.text == **name,
                            Data::List(_) => false,
                        }),
                    };
                    if let Some(item) = item {
                        node = item;
                        position = item.position.or(position);
                        if let Data::Map(entries) = &item.data
                            && let Some(entry) = entries.get(*name)
                        {
                            node = &entry.node;
                        }
                    }
                }
                Data::Scalar(_) => {}
            }
        }
        position
    }

    // -- Values --

    /// Any scalar, as written.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.scalar() {
            Some(scalar) => Some(&scalar.text),
            None => {
                self.unexpected_type("a text");
                None
            }
        }
    }

    /// A text with a unit; `parse` says what is accepted.
    pub(super) fn unit<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        // What is not a text is told what is expected as well.
        let text = self.scalar().map_or("", |scalar| &scalar.text);
        match parse(text) {
            Ok(value) if self.scalar().is_some() => Some(value),
            Ok(_) => {
                self.unexpected_type("a text");
                None
            }
            Err(expected) => {
                self.unexpected_type(&expected);
                None
            }
        }
    }

    /// A whole number.
    pub(super) fn integer(&self) -> Option<i64> {
        let number = self.scalar().and_then(Scalar::integer);
        if number.is_none() {
            self.unexpected_type("a whole number");
        }
        number
    }

    /// A whole number within bounds.
    pub(super) fn count(&self) -> Option<u32> {
        let number = self.integer()?;
        let count = u32::try_from(number).ok();
        if count.is_none() {
            self.unexpected_type("a whole number from 0 to 4294967295");
        }
        count
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let boolean = self.scalar().and_then(Scalar::boolean);
        if boolean.is_none() {
            self.unexpected_type("true or false");
        }
        boolean
    }

    /// A number, possibly with a fraction.
    pub(super) fn number(&self) -> Option<f64> {
        let number = self.scalar().and_then(Scalar::number);
        if number.is_none() {
            self.unexpected_type("a number");
        }
        number
    }

    // -- Collections --

    /// A map whose keys are known.
    pub(super) fn table(&self) -> Option<Table<'a>> {
        match &self.node.data {
            Data::Map(entries) => Some(Table::new(self.clone(), entries)),
            _ => {
                self.unexpected_type("a map");
                None
            }
        }
    }

    /// A map whose keys are free. Entries without a value are there.
    pub(super) fn pairs(&self) -> Vec<(&'a str, Cursor<'a>)> {
        match &self.node.data {
            Data::Map(entries) => entries
                .iter()
                .map(|(key, entry)| (key.as_str(), self.child(key, entry)))
                .collect(),
            _ => {
                self.unexpected_type("a map");
                Vec::new()
            }
        }
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Vec<Cursor<'a>> {
        match &self.node.data {
            Data::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, node)| Cursor {
                    node,
                    path: self.path.join(index.to_string()),
                    sink: self.sink,
                })
                .collect(),
            _ => {
                self.unexpected_type("a list");
                Vec::new()
            }
        }
    }

    /// The items of a list, or the thing itself as the only one.
    pub(super) fn items_or_self(&self) -> Vec<Cursor<'a>> {
        if self.is_list() {
            self.items()
        } else {
            vec![self.under("0")]
        }
    }

    fn child(&self, key: &'a str, entry: &'a Entry) -> Self {
        Self {
            node: &entry.node,
            path: self.path.join(key),
            sink: self.sink,
        }
    }

    /// A problem about a key of this map.
    pub(super) fn key_problem(
        &self,
        key: &str,
        code: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let position = match &self.node.data {
            Data::Map(entries) => entries.get(key).and_then(|entry| entry.key_position),
            _ => None,
        };
        self.under(key.to_owned())
            .problem_at(code, message, hint, position.or(self.node.position));
    }
}

/// The entry that a segment of a checked path means: the key as written may be an alias, have the container's
/// name in brackets, or lack the protocol.
fn find<'a>(entries: &'a IndexMap<String, Entry>, name: &str) -> Option<&'a Entry> {
    let other = match name {
        "environment_variables" => "env",
        "dialects" => "dialect",
        name => name.strip_suffix("/http").unwrap_or(name),
    };
    entries.get(name).or_else(|| entries.get(other)).or_else(|| {
        entries
            .iter()
            .find(|(key, _)| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('[')))
            .map(|(_, entry)| entry)
    })
}
