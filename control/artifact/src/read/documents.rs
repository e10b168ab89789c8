//! The documents of a text, read in steps: parsed, completed by what they import, read.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    DeployRequest, Found, Import, Library, NODES_MAX, Purpose, Request, blueprint, common,
    cursor::Cursor,
    import, kind_of,
    library::{BROUGHT_MAX, identity},
    of_kind,
    sink::Sink,
};
use crate::{
    Artifact, Kind, Problem, Severity,
    tree::{self, Node},
};

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read<T> {
    /// It.
    pub value: T,
    /// What is allowed but hardly meant: conditions that never match, routes in each other's way. In the order
    /// of the text, all of [`Severity::Warning`].
    pub warnings: Vec<Problem>,
}

/// What is right and wrong with the documents of a text, whether or not they can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// How many documents there are.
    pub documents: usize,
    /// What is wrong, in the order of the text, but for imports that are not known.
    pub problems: Vec<Problem>,
    /// Imports that are not known. Of what imports them is not told what is missing, nor what does not fit together.
    pub unknown_imports: Vec<Problem>,
    /// As [`Read::warnings`].
    pub warnings: Vec<Problem>,
}

/// What a text is expected to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Any documents, each with its kind: [`Documents::requests`].
    Requests,
    /// [`Documents::deploy_request`].
    DeployRequest,
    /// [`Documents::one`].
    One(Kind),
}

/// The documents of a text. Documents that [import](Documents::imports) something are refused until they are
/// [completed](Documents::complete).
#[derive(Debug)]
pub struct Documents {
    nodes: Vec<Node>,
    /// Which of them lack something that they import.
    partial: Vec<bool>,
    /// What is wrong with what they import.
    faults: Vec<Problem>,
    /// Imports that were not found.
    unknown: Vec<Problem>,
    /// Lines of `import` still stand in them.
    is_open: bool,
}

/// What became of reading.
struct Outcome<T> {
    value: Option<T>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<T> Outcome<T> {
    fn of(value: Option<T>, sink: Sink) -> Self {
        let (problems, warnings) = sink.into_parts();
        Self {
            value,
            problems,
            warnings,
        }
    }

    fn told(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems, self.warnings)
    }
}

impl Documents {
    /// Parses a text; lists at the top level are flattened.
    ///
    /// # Errors
    /// The text is not YAML, or crosses a bound.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let nodes = tree::documents(text).map_err(|problem| vec![*problem])?;
        Ok(Self {
            partial: vec![false; nodes.len()],
            nodes,
            faults: Vec::new(),
            unknown: Vec::new(),
            is_open: true,
        })
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Everything that the documents import, in order, each once. What is written wrongly is told when they are read.
    pub fn imports(&self) -> Vec<Import> {
        let sink = Sink::default();
        let mut all: Vec<Import> = Vec::new();
        let mut seen = HashSet::new();
        for node in &self.nodes {
            for import in import::of(&Cursor::root(node, &sink)) {
                if seen.insert(import.clone()) {
                    all.push(import);
                }
            }
        }
        all
    }

    /// Merges in what the documents import: other documents of the same text, and what `find` gives, an artifact as
    /// [`crate::write::value`] prints it, or `None` if there is none.
    ///
    /// What cannot be imported is told with everything else when the documents are read: `EmptyImportError`,
    /// `ImportDefinitionError`, `ImportReferenceError`; `YamlParsingError` for imports that bring too much.
    #[must_use]
    pub fn complete<F: Into<Found>>(mut self, mut find: impl FnMut(&Import) -> F) -> Self {
        let sink = Sink::default();
        let many = self.nodes.len() > 1;
        let mut library = Library::default();
        if many {
            library.add(&self, None);
        }
        let mut nodes_left = NODES_MAX;
        let mut brought = 0_usize;
        for (index, place) in self.nodes.iter_mut().enumerate() {
            let node = std::mem::replace(place, Node::from_value(&Value::Null));
            let own = identity(&node, None);
            let mut beyond = |import: &Import| match own.as_ref() == Some(import) {
                // A newer version of what is there already.
                true => find(import).into(),
                false => library.find(import, &mut find),
            };
            let whole = import::resolve(node, many.then_some(index), &sink, &mut beyond);
            let nodes = import::nodes(&whole.node);
            let is_too_large = nodes > nodes_left;
            nodes_left = nodes_left.saturating_sub(nodes);
            brought = brought.saturating_add(whole.brought);
            let is_too_much = is_too_large || whole.is_too_much || brought > BROUGHT_MAX;
            let cursor = Cursor::root(&whole.node, &sink);
            if is_too_large {
                cursor.problem(
                    "YamlParsingError",
                    format!("more than {NODES_MAX} values (imports counted) are not accepted"),
                );
            } else if is_too_much && !whole.is_too_much {
                import::too_much(&cursor);
            }
            if let Some(partial) = self.partial.get_mut(index) {
                *partial = whole.is_partial || is_too_much;
            }
            self.unknown.extend(whole.unknown);
            *place = whole.node;
            if is_too_much {
                break;
            }
        }
        self.faults = sink.into_parts().0;
        self.is_open = false;
        self
    }

    /// What is right and wrong with them.
    pub fn check(self, expected: Expected) -> Checked {
        let documents = self.closed();
        let count = documents.nodes.len();
        let (mut problems, warnings) = match expected {
            Expected::Requests => documents.read_each(request).told(),
            Expected::DeployRequest => documents.read_alone(deploy_request).told(),
            Expected::One(kind) => documents
                .read_alone(|cursor| of_kind(kind, cursor.table()?))
                .told(),
        };
        problems.extend(documents.faults);
        problems.sort_by_key(|problem| problem.position);
        Checked {
            documents: count,
            problems,
            unknown_imports: documents.unknown,
            warnings,
        }
    }

    /// Reads exactly one artifact of a known kind.
    ///
    /// # Errors
    /// Every problem of the document.
    pub fn one(self, kind: Kind) -> Result<Read<Artifact>, Vec<Problem>> {
        self.alone(|cursor| of_kind(kind, cursor.table()?))
    }

    /// Reads every document, each with its `kind`.
    ///
    /// # Errors
    /// Every problem of every document.
    pub fn many(self) -> Result<Read<Vec<Artifact>>, Vec<Problem>> {
        self.each(|kind, cursor| of_kind(kind, cursor.table()?))
    }

    /// As [`Documents::many`], but deployments as what is asked of them ([`super::requests`]).
    ///
    /// # Errors
    /// Every problem of every document.
    pub fn requests(self) -> Result<Read<Vec<Request>>, Vec<Problem>> {
        self.each(request)
    }

    /// Reads the body of a deployment request.
    ///
    /// # Errors
    /// Every problem of the document.
    pub fn deploy_request(self) -> Result<Read<DeployRequest>, Vec<Problem>> {
        self.alone(deploy_request)
    }

    /// Reads the only document.
    pub(super) fn alone<T>(
        self,
        read: impl FnOnce(Cursor<'_>) -> Option<T>,
    ) -> Result<Read<T>, Vec<Problem>> {
        let documents = self.closed();
        let outcome = documents.read_alone(read);
        documents.judge(outcome)
    }

    fn each<T>(self, read: impl Fn(Kind, &Cursor<'_>) -> Option<T>) -> Result<Read<Vec<T>>, Vec<Problem>> {
        let documents = self.closed();
        let outcome = documents.read_each(read);
        documents.judge(outcome)
    }

    /// All problems together, if there are any.
    fn judge<T>(self, outcome: Outcome<T>) -> Result<Read<T>, Vec<Problem>> {
        let mut problems = outcome.problems;
        problems.extend(self.faults);
        problems.extend(self.unknown);
        problems.sort_by_key(|problem| problem.position);
        match outcome.value {
            Some(value) if problems.is_empty() => Ok(Read {
                value,
                warnings: outcome.warnings,
            }),
            _ => Err(problems),
        }
    }

    fn read_alone<T>(&self, read: impl FnOnce(Cursor<'_>) -> Option<T>) -> Outcome<T> {
        let sink = Sink::default();
        let [node] = self.nodes.as_slice() else {
            sink.push(Problem {
                severity: Severity::Error,
                code: "UnexpectedTypeError",
                path: "/".to_owned(),
                // The second document is the one too many.
                position: self.nodes.get(1).and_then(|node| node.position),
                message: match self.nodes.len() {
                    0 => "expected one document, found nothing".to_owned(),
                    count => format!("expected one document, found {count}"),
                },
                hint: None,
            });
            return Outcome::of(None, sink);
        };
        sink.set_partial(self.partial.first().is_some_and(|partial| *partial));
        let value = read(Cursor::root(node, &sink));
        Outcome::of(value, sink)
    }

    fn read_each<T>(&self, read: impl Fn(Kind, &Cursor<'_>) -> Option<T>) -> Outcome<Vec<T>> {
        let sink = Sink::default();
        let mut value = Vec::new();
        for (index, (node, partial)) in self.nodes.iter().zip(&self.partial).enumerate() {
            sink.set_partial(*partial);
            let cursor = self.cursor(index, node, &sink);
            let one = cursor.table().and_then(|mut table| {
                let kind = kind_of(&mut table)?;
                read(kind, &cursor)
            });
            value.extend(one);
        }
        Outcome::of(Some(value), sink)
    }

    /// Without anybody who could find it, what is imported is not there.
    fn closed(self) -> Self {
        match self.is_open {
            true => self.complete(|_| Found::Nothing),
            false => self,
        }
    }

    fn cursor<'a>(&self, index: usize, node: &'a Node, sink: &'a Sink) -> Cursor<'a> {
        let cursor = Cursor::root(node, sink);
        match self.nodes.len() {
            0 | 1 => cursor,
            _ => cursor.under(index.to_string()),
        }
    }
}

/// A document of many.
fn request(kind: Kind, cursor: &Cursor<'_>) -> Option<Request> {
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
}

fn deploy_request(cursor: Cursor<'_>) -> Option<DeployRequest> {
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
}
