//! What every artifact has: name, kind, metadata, references.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::cursor::{Cursor, Table};
use crate::{HealthCheck, Kind, Metadata, problem::shown, units};

/// Reads `kind`, which is optional and must be right, and forgets what only output has.
pub(super) fn kind(table: &mut Table<'_>, singular: &str) {
    table.ignore(&["lookup_name"]);
    let Some(cursor) = table.take("kind") else { return };
    let Some(word) = cursor.text() else { return };
    let is_right = match Kind::from_word(singular) {
        Some(kind) => Kind::from_word(word) == Some(kind),
        None => word.strip_suffix('s').unwrap_or(word) == singular,
    };
    if !is_right {
        cursor.problem(
            "InconsistentArtifactKind",
            format!("the kind is `{}`, expected `{singular}`", shown(word)),
        );
    }
}

/// Reads `metadata`.
pub(super) fn metadata(table: &mut Table<'_>) -> Metadata {
    let Some(cursor) = table.take("metadata") else {
        return Map::new();
    };
    match cursor.to_value() {
        Value::Object(metadata) => metadata,
        _ => {
            cursor.problem("UnsupportedMetadata", "metadata must be a map");
            Map::new()
        }
    }
}

/// Whether a text is a name: not empty, without white space and `/ [ ]`.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '[' | ']'))
}

/// Reads a name that must be there; empty if it is not.
pub(super) fn name(table: &mut Table<'_>) -> String {
    let Some(cursor) = table.require("name") else {
        return String::new();
    };
    let Some(text) = cursor.text() else {
        return String::new();
    };
    if !is_name(text) {
        cursor.problem_with("IllegalName", format!("`{}` is not a name", shown(text)), NAME);
    }
    text.to_owned()
}

const NAME: &str = "a name has no white space and none of / [ ]";
const STRICT_NAME: &str = "a name here has no white space and none of . / [ ]";

/// Checks a key that is a name.
pub(super) fn key_name(map: &Cursor<'_>, key: &str) {
    if !is_name(key) {
        let message = format!("`{}` is not a name", shown(key));
        map.key_problem(key, "IllegalName", message, Some(NAME.to_owned()));
    }
}

/// Checks a key that is the name of a trait; `name` is the part of the key that counts.
pub(super) fn strict_key_name(map: &Cursor<'_>, key: &str, name: &str) {
    if !is_name(name) || name.contains('.') {
        let message = format!("`{}` is not a name of a port, variable or constant", shown(key));
        map.key_problem(key, "IllegalStrictName", message, Some(STRICT_NAME.to_owned()));
    }
}

/// The name that a map refers to, by `reference` or `ref`; the rest of the map must be empty then.
pub(super) fn reference(cursor: &Cursor<'_>, singular: &str) -> Option<String> {
    if !cursor.has("reference") && !cursor.has("ref") {
        return None;
    }
    let mut table = cursor.table()?;
    let name = table
        .take_either(["reference", "ref"])?
        .text()
        .unwrap_or_default()
        .to_owned();
    kind(&mut table, singular);
    table.ignore(&["metadata"]);
    table.finish();
    Some(name)
}

/// Refuses a name where only an anonymous thing or a reference can be, and forgets the rest of what
/// artifacts have.
pub(super) fn anonymous(table: &mut Table<'_>, singular: &str) {
    kind(table, singular);
    table.ignore(&["metadata"]);
    let Some(cursor) = table.take("name") else { return };
    // Printed forms of other versions have an empty name.
    if cursor.scalar().is_some_and(|scalar| scalar.text.is_empty()) {
        return;
    }
    cursor.problem_with(
        "EitherReferenceOrAnonymous",
        match singular {
            "sla" | "escalation" => format!("an {singular} in place cannot have a name"),
            _ => format!("a {singular} in place cannot have a name"),
        },
        "leave the name out, or write `reference: NAME` alone",
    );
}

/// A trait's value: a scalar.
pub(super) fn trait_text<'a>(cursor: &Cursor<'a>) -> Option<&'a str> {
    if cursor.is_map() || cursor.is_list() {
        cursor.problem("MalformedTraitError", "the value must be a text or a number");
        return None;
    }
    cursor.text()
}

/// Variables of a service, a blueprint or a deployment: name to value, which may be absent.
pub(super) fn variables(
    table: &mut Table<'_>,
    mut name: impl FnMut(&Cursor<'_>, &str) -> String,
) -> IndexMap<String, Option<String>> {
    let Some(cursor) = table.take_either(["environment_variables", "env"]) else {
        return IndexMap::new();
    };
    cursor
        .pairs()
        .into_iter()
        .map(|(key, value)| {
            let text = match value.is_null() {
                true => None,
                // What cannot be read is there all the same: its absence is not a second problem.
                false => Some(trait_text(&value).unwrap_or_default().to_owned()),
            };
            (name(&cursor, key), text)
        })
        .collect()
}

/// Driver, in lower case, to anything.
pub(super) fn dialects(table: &mut Table<'_>) -> Map<String, Value> {
    let Some(cursor) = table.take_either(["dialects", "dialect"]) else {
        return Map::new();
    };
    match cursor.to_value() {
        Value::Object(dialects) => dialects
            .into_iter()
            .map(|(driver, content)| (driver.to_ascii_lowercase(), content))
            .collect(),
        _ => {
            cursor.unexpected_type("a map of drivers");
            Map::new()
        }
    }
}

/// An optional text.
pub(super) fn text(table: &mut Table<'_>, key: &'static str) -> Option<String> {
    Some(table.take(key)?.text()?.to_owned())
}

/// Driver arguments: a map, or a list of maps with one key each.
pub(super) fn arguments(table: &mut Table<'_>) -> Vec<(String, String)> {
    let Some(cursor) = table.take("arguments") else {
        return Vec::new();
    };
    let mut arguments = Vec::new();
    if cursor.is_list() {
        for item in cursor.items() {
            match item.keys() {
                1 => arguments.extend(item.pairs().into_iter().filter_map(argument)),
                _ => item.problem("InvalidArgumentError", "an argument is a map with one key"),
            }
        }
    } else if cursor.is_map() {
        arguments.extend(cursor.pairs().into_iter().filter_map(argument));
    } else {
        cursor.problem(
            "InvalidArgumentError",
            "arguments are a list of maps with one key each",
        );
    }
    arguments
}

fn argument((key, cursor): (&str, Cursor<'_>)) -> Option<(String, String)> {
    let Some(scalar) = cursor.scalar() else {
        cursor.problem(
            "InvalidArgumentError",
            "the value of an argument must be a text or a number",
        );
        return None;
    };
    let mut text = scalar.text.clone();
    if key == "privileged" {
        let Some(boolean) = crate::tree::boolean_word(&text) else {
            cursor.problem("InvalidArgumentValueError", "`privileged` must be true or false");
            return None;
        };
        text = boolean.to_string();
    }
    Some((key.to_owned(), text))
}

/// One or many health checks; `None` if they are not given.
pub(super) fn health_checks(table: &mut Table<'_>) -> Option<Vec<HealthCheck>> {
    let cursor = table.take("health_checks")?;
    Some(cursor.items_or_self().iter().filter_map(health_check).collect())
}

fn health_check(cursor: &Cursor<'_>) -> Option<HealthCheck> {
    let mut table = cursor.table()?;
    let path = text(&mut table, "path").unwrap_or_else(|| "/".to_owned());
    let port = table
        .require("port")
        .and_then(|cursor| cursor.text().map(str::to_owned));
    let mut time = |key| table.require(key).and_then(|cursor| cursor.unit(units::seconds));
    let (initial_delay_s, timeout_s, interval_s) = (time("initial_delay"), time("timeout"), time("interval"));
    let failures = table.require("failures").and_then(|cursor| {
        let number = cursor.integer()?;
        if number < 0 {
            cursor.problem(
                "NegativeFailuresNumberError",
                format!("the number of failures is {number}, less than 0"),
            );
            return None;
        }
        cursor.count()
    });
    let protocol = text(&mut table, "protocol").unwrap_or_else(|| "HTTP".to_owned());
    table.finish();
    Some(HealthCheck {
        path,
        port: port?,
        initial_delay_s: initial_delay_s?,
        timeout_s: timeout_s?,
        interval_s: interval_s?,
        failures: failures?,
        protocol,
    })
}
