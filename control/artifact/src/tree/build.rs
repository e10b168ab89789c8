//! Parser events to nodes.

use std::collections::HashMap;

use indexmap::IndexMap;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::{Data, Entry, Node, Scalar, problem};
use crate::{
    Position, Problem,
    problem::shown,
    read::{BYTES_MAX, DEPTH_MAX, NODES_MAX},
};

/// Why there is no tree.
pub(super) enum Failure {
    /// The text is not YAML, or not the YAML that is accepted.
    Syntax(Box<Problem>),
    /// A bound is crossed.
    Bound(Box<Problem>),
}

/// Every document of the text.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, Failure> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let mark = error.marker();
            let position = Position {
                line: mark.line().max(1),
                column: mark.col() + 1,
            };
            Failure::Syntax(problem(
                Some(position),
                format!("not YAML: {}", shown(error.info())),
            ))
        })?;
        builder.event(event, span)?;
    }
    Ok(builder.documents)
}

/// What a node costs, for the bounds.
#[derive(Clone, Copy, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
    /// Levels below the node.
    height: usize,
}

/// A finished node.
#[derive(Clone)]
struct Done {
    node: Node,
    cost: Cost,
    /// Written as a list in brackets: as a key it is a text.
    flow_list: bool,
}

/// A list or a map under construction.
struct Open {
    anchor: usize,
    position: Position,
    flow: bool,
    cost: Cost,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map {
        entries: IndexMap<String, Entry>,
        /// Key that waits for its value; `None` in front of a key.
        key: Option<(Key, Position)>,
        /// Maps that `<<` brings in, the first one wins.
        merged: Vec<IndexMap<String, Entry>>,
    },
}

enum Key {
    Text(String),
    Merge,
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Done>,
    nodes: usize,
    bytes: usize,
}

fn place(span: Span) -> Position {
    Position {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

fn syntax(position: Position, message: impl Into<String>) -> Failure {
    Failure::Syntax(problem(Some(position), message.into()))
}

fn bound(position: Position, message: String) -> Failure {
    Failure::Bound(problem(Some(position), message))
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Failure> {
        let position = place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = accepted(tag.as_deref(), position)?;
                let scalar = scalar(text.into_owned(), style, tag, span);
                let cost = Cost {
                    nodes: 1,
                    bytes: scalar.text.len(),
                    height: 0,
                };
                self.count(cost, position)?;
                let node = Node {
                    data: Data::Scalar(scalar),
                    position: Some(position),
                };
                self.finish(
                    Done {
                        node,
                        cost,
                        flow_list: false,
                    },
                    anchor,
                    position,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                accepted(tag.as_deref(), position)?;
                self.start(anchor, span, Inside::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                accepted(tag.as_deref(), position)?;
                let inside = Inside::Map {
                    entries: IndexMap::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.start(anchor, span, inside)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop().expect("the parser balances its events");
                let (anchor, position) = (open.anchor, open.position);
                self.finish(close(open), anchor, position)
            }
            Event::Alias(anchor) => {
                let Some(cost) = self.anchors.get(&anchor).map(|done| done.cost) else {
                    return Err(syntax(position, "an alias to something that contains it"));
                };
                self.count(cost, position)?;
                if self.open.len() + cost.height > DEPTH_MAX {
                    return Err(too_deep(position));
                }
                let mut done = self.anchors.get(&anchor).expect("looked up above").clone();
                // Problems inside are where the anchor is; the alias itself is here.
                done.node.position = Some(position);
                if let Data::Scalar(scalar) = &mut done.node.data {
                    scalar.offset = None;
                }
                self.finish(done, 0, position)
            }
            Event::DocumentEnd => {
                // Aliases do not cross documents.
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
        }
    }

    fn start(&mut self, anchor: usize, span: Span, inside: Inside) -> Result<(), Failure> {
        let position = place(span);
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(position));
        }
        let cost = Cost {
            nodes: 1,
            bytes: 0,
            height: 1,
        };
        self.count(cost, position)?;
        self.open.push(Open {
            anchor,
            position,
            // A block collection starts without a character of its own.
            flow: span.end.index() > span.start.index(),
            cost,
            inside,
        });
        Ok(())
    }

    fn count(&mut self, cost: Cost, position: Position) -> Result<(), Failure> {
        self.nodes = self.nodes.saturating_add(cost.nodes);
        self.bytes = self.bytes.saturating_add(cost.bytes);
        if self.nodes > NODES_MAX {
            return Err(bound(
                position,
                format!("more than {NODES_MAX} values (aliases counted) are not accepted"),
            ));
        }
        if self.bytes > BYTES_MAX {
            return Err(bound(
                position,
                format!("more than {BYTES_MAX} bytes of text (aliases counted) are not accepted"),
            ));
        }
        Ok(())
    }

    fn finish(&mut self, done: Done, anchor: usize, position: Position) -> Result<(), Failure> {
        if anchor != 0 {
            // The copy is kept until the document ends, so it counts.
            self.count(done.cost, position)?;
            self.anchors.insert(anchor, done.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(done.node);
            return Ok(());
        };
        open.cost.nodes += done.cost.nodes;
        open.cost.bytes += done.cost.bytes;
        open.cost.height = open.cost.height.max(done.cost.height + 1);
        match &mut open.inside {
            Inside::List(items) => items.push(done.node),
            Inside::Map { entries, key, merged } => match key.take() {
                None => *key = Some((as_key(done, position)?, position)),
                Some((Key::Merge, _)) => merge(done.node, merged, position)?,
                Some((Key::Text(text), key_position)) => {
                    let entry = Entry {
                        key_position: Some(key_position),
                        node: done.node,
                    };
                    entries.insert(text, entry);
                }
            },
        }
        Ok(())
    }
}

fn too_deep(position: Position) -> Failure {
    bound(position, format!("more than {DEPTH_MAX} levels are not accepted"))
}

fn close(open: Open) -> Done {
    let (data, flow_list) = match open.inside {
        Inside::List(items) => (Data::List(items), open.flow),
        Inside::Map {
            mut entries, merged, ..
        } => {
            for (key, entry) in merged.into_iter().flatten() {
                entries.entry(key).or_insert(entry);
            }
            (Data::Map(entries), false)
        }
    };
    Done {
        node: Node {
            data,
            position: Some(open.position),
        },
        cost: open.cost,
        flow_list,
    }
}

/// Keys are texts; a list in brackets is Vamp's way to write an outside target.
fn as_key(done: Done, position: Position) -> Result<Key, Failure> {
    match done.node.data {
        Data::Scalar(scalar) if scalar.plain && scalar.text == "<<" => Ok(Key::Merge),
        Data::Scalar(scalar) if scalar.plain && scalar.text.is_empty() => {
            Err(syntax(position, "a key is missing"))
        }
        Data::Scalar(scalar) => Ok(Key::Text(scalar.text)),
        Data::List(items) if done.flow_list => {
            let mut parts = Vec::with_capacity(items.len());
            for item in items {
                match item.data {
                    Data::Scalar(scalar) => parts.push(scalar.text),
                    _ => return Err(syntax(position, "a key must be a text")),
                }
            }
            Ok(Key::Text(format!("[{}]", parts.join(", "))))
        }
        _ => Err(syntax(position, "a key must be a text")),
    }
}

fn merge(node: Node, merged: &mut Vec<IndexMap<String, Entry>>, position: Position) -> Result<(), Failure> {
    match node.data {
        Data::Map(entries) => merged.push(entries),
        Data::List(items) => {
            for item in items {
                match item.data {
                    Data::Map(entries) => merged.push(entries),
                    _ => return Err(syntax(position, "`<<` takes a map or a list of maps")),
                }
            }
        }
        Data::Scalar(scalar) if scalar.is_null() => {}
        Data::Scalar(_) => return Err(syntax(position, "`<<` takes a map or a list of maps")),
    }
    Ok(())
}

/// Whether the tag asks for a text.
fn accepted(tag: Option<&Tag>, position: Position) -> Result<bool, Failure> {
    let Some(tag) = tag else { return Ok(false) };
    match (tag.is_yaml_core_schema(), tag.suffix.as_str()) {
        (true, "str") => Ok(true),
        (true, "int" | "float" | "bool" | "null" | "map" | "seq") => Ok(false),
        // The tag `!` alone: "not what it looks like, but a text".
        (false, "!" | "") if tag.handle.is_empty() || tag.handle == "!" => Ok(true),
        _ => Err(syntax(
            position,
            format!("the tag `{}` is not accepted", shown(&tag.to_string())),
        )),
    }
}

fn scalar(text: String, style: ScalarStyle, is_text: bool, span: Span) -> Scalar {
    let length = span.end.index().saturating_sub(span.start.index());
    let characters = text.chars().count();
    let one_line = span.start.line() == span.end.line();
    let offset = match style {
        ScalarStyle::Plain if one_line && length == characters => Some(0),
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted if one_line && length == characters + 2 => {
            Some(1)
        }
        _ => None,
    };
    Scalar {
        text,
        plain: style == ScalarStyle::Plain && !is_text,
        offset,
    }
}
