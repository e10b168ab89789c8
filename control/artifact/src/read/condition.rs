//! Conditions (spec of the artifacts, §6).

use weir_model::Condition;

use super::{
    common::{anonymous, kind, metadata, name, reference},
    cursor::{Cursor, Table},
};
use crate::{NamedCondition, OrReference, prove};

/// A condition that is stored on its own.
pub(super) fn named(mut table: Table<'_>) -> Option<NamedCondition> {
    kind(&mut table, "condition");
    let name = name(&mut table);
    let metadata = metadata(&mut table);
    let expression = table.require("condition");
    table.finish();
    let expression = expression?;
    let text = expression.text()?;
    if text.trim().is_empty() {
        expression.problem("ParserError", "the condition is empty");
    }
    let condition = parse(&expression, text)?;
    expression.warn(|steps| prove::condition(&condition, steps));
    Some(NamedCondition {
        name,
        metadata,
        condition,
    })
}

/// A route's condition: a text or a map in place, or a reference; `None` also for the empty text.
pub(super) fn or_reference(cursor: &Cursor<'_>) -> Option<OrReference<Condition>> {
    if let Some(scalar) = cursor.scalar() {
        return parse(cursor, &scalar.text).map(OrReference::Inline);
    }
    if let Some(name) = reference(cursor, "condition") {
        return Some(OrReference::Reference(name));
    }
    let mut table = cursor.table()?;
    anonymous(&mut table, "condition");
    let expression = table.require("condition");
    table.finish();
    let expression = expression?;
    parse(&expression, expression.text()?).map(OrReference::Inline)
}

fn parse(cursor: &Cursor<'_>, text: &str) -> Option<Condition> {
    if text.trim().is_empty() {
        return None;
    }
    match Condition::parse(text) {
        Ok(condition) => Some(condition),
        Err(error) => {
            match cursor.place_inside(error.position) {
                Some(position) => cursor.problem_at("ParserError", error.message, None, Some(position)),
                // The place inside is only in the words then.
                None => cursor.problem("ParserError", error.to_string()),
            }
            None
        }
    }
}
