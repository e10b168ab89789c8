//! The documents of a text, read in steps: parsed, completed by what they import, read.

use serde_json::Value;

use super::{
    DeployRequest, Import, Purpose, Request, blueprint, common, cursor::Cursor, import, kind_of, of_kind,
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

/// The documents of a text. Documents that [import](Documents::imports) something are refused until they are
/// [completed](Documents::complete).
#[derive(Debug)]
pub struct Documents {
    nodes: Vec<Node>,
    /// Lines of `import` still stand in them.
    is_open: bool,
}

impl Documents {
    /// Parses a text; lists at the top level are flattened.
    ///
    /// # Errors
    /// The text is not YAML, or crosses a bound.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let nodes = tree::documents(text).map_err(|problem| vec![*problem])?;
        Ok(Self { nodes, is_open: true })
    }

    /// Everything that the documents import, in order, each once.
    ///
    /// # Errors
    /// `EmptyImportError`, `ImportDefinitionError`, `ImportReferenceError`: what is written cannot be imported.
    pub fn imports(&self) -> Result<Vec<Import>, Vec<Problem>> {
        let sink = Sink::default();
        let mut all: Vec<Import> = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for import in import::of(&self.cursor(index, node, &sink)) {
                if !all.contains(&import) {
                    all.push(import);
                }
            }
        }
        match sink.into_parts().0 {
            problems if problems.is_empty() => Ok(all),
            problems => Err(problems),
        }
    }

    /// Merges in what the documents import. `find` gives an artifact as [`crate::write::value`] prints it, or
    /// `None` if there is none.
    ///
    /// # Errors
    /// As [`Documents::imports`], and `ImportReferenceError` for what is not found.
    pub fn complete(mut self, mut find: impl FnMut(&Import) -> Option<Value>) -> Result<Self, Vec<Problem>> {
        let sink = Sink::default();
        let many = self.nodes.len() > 1;
        self.nodes = std::mem::take(&mut self.nodes)
            .into_iter()
            .enumerate()
            .map(|(index, node)| import::resolve(node, many.then_some(index), &sink, &mut find))
            .collect();
        self.is_open = false;
        match sink.into_parts().0 {
            problems if problems.is_empty() => Ok(self),
            problems => Err(problems),
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
        self.each(|kind, cursor| {
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

    /// Reads the body of a deployment request.
    ///
    /// # Errors
    /// Every problem of the document.
    pub fn deploy_request(self) -> Result<Read<DeployRequest>, Vec<Problem>> {
        self.alone(|cursor| {
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

    /// Reads the only document.
    pub(super) fn alone<T>(
        self,
        read: impl FnOnce(Cursor<'_>) -> Option<T>,
    ) -> Result<Read<T>, Vec<Problem>> {
        let documents = self.closed()?;
        let [node] = documents.nodes.as_slice() else {
            let nodes = &documents.nodes;
            return Err(vec![Problem {
                severity: Severity::Error,
                code: "UnexpectedTypeError",
                path: "/".to_owned(),
                // The second document is the one too many.
                position: nodes.get(1).and_then(|node| node.position),
                message: match nodes.len() {
                    0 => "expected one document, found nothing".to_owned(),
                    count => format!("expected one document, found {count}"),
                },
                hint: None,
            }]);
        };
        let sink = Sink::default();
        let value = read(Cursor::root(node, &sink));
        let (problems, warnings) = sink.into_parts();
        match value {
            Some(value) if problems.is_empty() => Ok(Read { value, warnings }),
            _ => Err(problems),
        }
    }

    fn each<T>(self, read: impl Fn(Kind, &Cursor<'_>) -> Option<T>) -> Result<Read<Vec<T>>, Vec<Problem>> {
        let documents = self.closed()?;
        let sink = Sink::default();
        let mut value = Vec::new();
        for (index, node) in documents.nodes.iter().enumerate() {
            let cursor = documents.cursor(index, node, &sink);
            let one = cursor.table().and_then(|mut table| {
                let kind = kind_of(&mut table)?;
                read(kind, &cursor)
            });
            value.extend(one);
        }
        let (problems, warnings) = sink.into_parts();
        match problems.is_empty() {
            true => Ok(Read { value, warnings }),
            false => Err(problems),
        }
    }

    /// Without anybody who could find it, what is imported is not there.
    fn closed(self) -> Result<Self, Vec<Problem>> {
        match self.is_open {
            true => self.complete(|_| None),
            false => Ok(self),
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
