//! YAML to a JSON value, with bounds: an alias may repeat what it names, but not explode.

use std::collections::HashMap;

use saphyr::Scalar;
use saphyr_parser::{Event, Marker, Parser, ScanError};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// Most values in a document, what aliases repeat included.
const NODES_MAX: usize = 500_000;
/// Most levels of lists and mappings.
const DEPTH_MAX: usize = 64;

/// Why a text is not a document.
#[derive(Debug, Error)]
pub(super) enum YamlError {
    #[error("it is not YAML: {0}")]
    Scan(#[from] ScanError),
    #[error("line {line}, column {column}: {what}")]
    At {
        line: usize,
        column: usize,
        what: String,
    },
    #[error("it is empty")]
    Empty,
}

/// A list or a mapping that has begun.
enum Open {
    List(Vec<Value>),
    Mapping {
        map: Map<String, Value>,
        key: Option<String>,
    },
}

struct Node {
    open: Open,
    anchor: usize,
    /// Values inside, itself included.
    size: usize,
}

#[derive(Default)]
struct Builder {
    open: Vec<Node>,
    /// Anchored values with their sizes.
    anchored: HashMap<usize, (Value, usize)>,
    nodes: usize,
    document: Option<Value>,
}

/// Reads the one document of a text.
pub(super) fn read(text: &str) -> Result<Value, YamlError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        builder.event(event).map_err(|what| at(span.start, what))?;
    }
    builder.document.ok_or(YamlError::Empty)
}

fn at(place: Marker, what: String) -> YamlError {
    YamlError::At {
        line: place.line(),
        column: place.col() + 1,
        what,
    }
}

impl Builder {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::DocumentStart(_) if self.document.is_some() => {
                Err("a second document begins here; one is expected".to_owned())
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(anchor) => {
                let (value, size) = self
                    .anchored
                    .get(&anchor)
                    .ok_or("the alias names what has not ended yet")?;
                // Counted before it is copied.
                let size = *size;
                if self.nodes + size > NODES_MAX {
                    return Err(format!(
                        "with its aliases the document has more than {NODES_MAX} values"
                    ));
                }
                let value = value.clone();
                self.nodes += size;
                self.add(value, size, 0)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = Scalar::parse_from_cow_and_metadata(text, style, tag.as_ref())
                    .ok_or("the value does not fit its tag")?;
                self.count()?;
                self.add(json(scalar)?, 1, anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(Open::List(Vec::new()), anchor),
            Event::MappingStart(anchor, _) => {
                let map = Map::new();
                self.begin(Open::Mapping { map, key: None }, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = self.open.pop().ok_or("something ends that has not begun")?;
                let value = match node.open {
                    Open::List(list) => Value::Array(list),
                    Open::Mapping { map, .. } => Value::Object(map),
                };
                self.add(value, node.size, node.anchor)
            }
        }
    }

    fn count(&mut self) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("the document has more than {NODES_MAX} values"));
        }
        Ok(())
    }

    fn begin(&mut self, open: Open, anchor: usize) -> Result<(), String> {
        self.count()?;
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} levels"));
        }
        self.open.push(Node {
            open,
            anchor,
            size: 1,
        });
        Ok(())
    }

    fn add(&mut self, value: Value, size: usize, anchor: usize) -> Result<(), String> {
        if anchor != 0 {
            self.anchored.insert(anchor, (value.clone(), size));
        }
        let Some(node) = self.open.last_mut() else {
            self.document = Some(value);
            return Ok(());
        };
        node.size += size;
        match &mut node.open {
            Open::List(list) => list.push(value),
            Open::Mapping { map, key } => match key.take() {
                None => *key = Some(name(value)?),
                Some(key) if map.contains_key(&key) => return Err(format!("the key `{key}` is there twice")),
                Some(key) => {
                    map.insert(key, value);
                }
            },
        }
        Ok(())
    }
}

/// Keys are text: a port written as a number is one as well.
fn name(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err("a key must be text".to_owned()),
    }
}

fn json(scalar: Scalar<'_>) -> Result<Value, String> {
    Ok(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => Value::Bool(value),
        Scalar::Integer(value) => Value::from(value),
        Scalar::FloatingPoint(value) => Number::from_f64(value.into_inner())
            .map(Value::Number)
            .ok_or("infinity and not-a-number cannot be used")?,
        Scalar::String(text) => Value::String(text.into_owned()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read;

    #[test]
    fn the_usual_forms_are_read() {
        let value = read("a: &x [1, 1.5, true, ~, 'yes', \"1\"]\nb: *x\n80: {c: d}\n").unwrap();
        let list = json!([1, 1.5, true, null, "yes", "1"]);
        assert_eq!(value, json!({"a": list, "b": list, "80": {"c": "d"}}));
        assert_eq!(read("{\"a\": [1, \"b\"]}").unwrap(), json!({"a": [1, "b"]}));
    }

    #[test]
    fn faults_are_told_with_their_place() {
        for (text, expected) in [
            ("a: 1\na: 2\n", "line 2, column 4: the key `a` is there twice"),
            ("", "it is empty"),
            (
                "a: 1\n---\nb: 2\n",
                "line 2, column 1: a second document begins here; one is expected",
            ),
            (
                "a: .inf\n",
                "line 1, column 4: infinity and not-a-number cannot be used",
            ),
            ("? [a]\n: b\n", "a key must be text"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        assert!(
            read("a: [1, 2\n")
                .expect_err("open list")
                .to_string()
                .starts_with("it is not YAML")
        );
        assert!(read(&"[".repeat(100)).is_err());
    }

    #[test]
    fn aliases_cannot_explode() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        let error = read(&text).expect_err("a billion values").to_string();
        assert!(error.contains("with its aliases"), "{error}");
    }
}
