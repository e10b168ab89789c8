//! What somebody wants the dynamic layer to be.

use serde_json::Value;
use weir_artifact::{Problem, read::trees};

use super::{Flat, Live, PREFIX, keys};
use crate::{config::Config, error::problem};

/// Keys that a body may have.
const KEYS_MAX: usize = 1_000;
/// Keys that begin so are passed over, as in Vamp: whoever lost the API could not put them right.
const PASSED_OVER: &str = "vamp.http-api.";

/// Reads a tree, flat keys, or lines of `key = value`; nothing clears.
///
/// # Errors
/// `InvalidConfigurationError`: every problem.
pub(crate) fn read(config: &Config, text: &str) -> Result<Flat, Vec<Problem>> {
    if text.trim().is_empty() {
        return Ok(Flat::new());
    }
    let wrong = |path: &str, message: String| problem("InvalidConfigurationError", path, message);
    let mut flat = Flat::new();
    match trees(text) {
        Ok(trees) if !trees.is_empty() && trees.iter().all(Value::is_object) => {
            for tree in trees {
                flatten(String::new(), tree, &mut flat);
            }
        }
        _ => lines(text, &mut flat).map_err(|line| {
            vec![wrong(
                "/",
                format!("line {line} is neither part of a map nor `key = value`"),
            )]
        })?,
    }
    let mut problems = Vec::new();
    if flat.len() > KEYS_MAX {
        problems.push(wrong("/", format!("there are more than {KEYS_MAX} keys")));
    }
    flat.retain(|key, _| !key.starts_with(PASSED_OVER));
    let started = keys::of(config);
    for (key, value) in &flat {
        if !key.starts_with(PREFIX) || key.split('.').any(str::is_empty) {
            problems.push(wrong(key, format!("a key begins with `{PREFIX}`")));
        } else if let Some(now) = started.get(key)
            && !keys::LIVE.contains(&key.as_str())
            && now != value
        {
            problems.push(wrong(
                key,
                format!("it is {now} as long as control runs; set it at the start"),
            ));
        }
    }
    problems.extend(Live::of(config, &flat).1);
    // What is as it is anyway is not set.
    flat.retain(|key, value| keys::LIVE.contains(&key.as_str()) || started.get(key) != Some(value));
    match problems.is_empty() {
        true => Ok(flat),
        false => Err(problems),
    }
}

fn flatten(prefix: String, tree: Value, flat: &mut Flat) {
    match tree {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let key = match prefix.as_str() {
                    "" => key,
                    prefix => format!("{prefix}.{key}"),
                };
                flatten(key, value, flat);
            }
        }
        Value::Object(_) | Value::Null => {}
        value => {
            flat.insert(prefix, value);
        }
    }
}

/// `key = value` or `key: value`; the number of the line that is none.
fn lines(text: &str, flat: &mut Flat) -> Result<(), usize> {
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with("//") {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or(index + 1)?;
        let value = value.trim();
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        if key.trim().is_empty() || value.is_object() {
            return Err(index + 1);
        }
        flat.insert(key.trim().to_owned(), value);
    }
    Ok(())
}
