//! Maps with known keys, places, and the list of problems: what every part of the reader needs.

use serde_json::{Map, Value};

use super::DocumentProblem;

/// Where in the document.
#[derive(Clone)]
pub(super) struct Place(pub(super) String);

impl Place {
    pub(super) fn key(&self, key: &str) -> Self {
        let between = if self.0.is_empty() { "" } else { "/" };
        if key.is_empty() || key.contains(['/', '"']) {
            Self(format!("{}{between}{key:?}", self.0))
        } else {
            Self(format!("{}{between}{key}", self.0))
        }
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.key(&index.to_string())
    }
}

/// What was found wrong, in order.
pub(super) struct Problems(pub(super) Vec<DocumentProblem>);

impl Problems {
    pub(super) fn add(&mut self, place: &Place, message: impl Into<String>) {
        let path = if place.0.is_empty() { "/" } else { &place.0 };
        self.0.push(DocumentProblem {
            path: path.to_owned(),
            message: message.into(),
        });
    }

    /// Notes an error.
    pub(super) fn keep<T, E: ToString>(&mut self, place: &Place, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(place, error.to_string())).ok()
    }
}

/// A map whose keys are all known. A null is as good as no key (Vamp's rule).
pub(super) struct Fields {
    pub(super) place: Place,
    map: Map<String, Value>,
}

impl Fields {
    pub(super) fn open(value: Value, place: Place, known: &[&str], problems: &mut Problems) -> Option<Self> {
        let Value::Object(map) = value else {
            problems.add(
                &place,
                format!("must be a map with the keys {}", known.join(", ")),
            );
            return None;
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let closest = known
                .iter()
                .map(|known| (distance(&key.to_lowercase(), known), known))
                .min()
                .filter(|(distance, known)| {
                    *distance <= 2 && *distance < known.len().min(key.chars().count())
                });
            let hint = match closest {
                Some((_, known)) => format!("did you mean `{known}`? "),
                None => String::new(),
            };
            problems.add(
                &place.key(key),
                format!("unknown key; {hint}known here are {}", known.join(", ")),
            );
        }
        Some(Self { place, map })
    }

    pub(super) fn take(&mut self, key: &str) -> Option<(Value, Place)> {
        let value = self.map.remove(key).filter(|value| !value.is_null())?;
        Some((value, self.place.key(key)))
    }

    /// Takes a text; any scalar is one.
    pub(super) fn take_text(&mut self, key: &str, problems: &mut Problems) -> Option<(String, Place)> {
        let (value, place) = self.take(key)?;
        let text = scalar(value).or_else(|| {
            problems.add(&place, "must be a text");
            None
        })?;
        Some((text, place))
    }
}

fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        _ => None,
    }
}

/// Edits of one character, or of two neighbours, between two words.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().take(40).collect(), to.chars().collect());
    let width = to.len() + 1;
    let mut table = vec![0; (from.len() + 1) * width];
    for row in 0..=from.len() {
        for column in 0..width {
            let at = |back_rows: usize, back_columns: usize| {
                table
                    .get((row - back_rows) * width + column - back_columns)
                    .copied()
                    .unwrap_or(0)
            };
            let best = match (row, column) {
                (0, column) => column,
                (row, 0) => row,
                (row, column) => {
                    let same = from.get(row - 1) == to.get(column - 1);
                    let mut best = (at(1, 0) + 1)
                        .min(at(0, 1) + 1)
                        .min(at(1, 1) + usize::from(!same));
                    let swapped = row > 1
                        && column > 1
                        && from.get(row - 1) == to.get(column - 2)
                        && from.get(row - 2) == to.get(column - 1);
                    if swapped {
                        best = best.min(at(2, 2) + 1);
                    }
                    best
                }
            };
            if let Some(cell) = table.get_mut(row * width + column) {
                *cell = best;
            }
        }
    }
    table.last().copied().unwrap_or(0)
}
