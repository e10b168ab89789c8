//! Events that clients post.

use serde_json::Value;
use weir_artifact::Problem;
use weir_persist::EventDraft;

use super::date;
use crate::error::problem;

/// Most tags of an event or a query.
pub(crate) const TAGS_MAX: usize = 64;
/// Longest tag in bytes.
pub(crate) const TAG_BYTES_MAX: usize = 1024;
/// Type of an event that names none.
const DEFAULT_TYPE: &str = "event";

/// Reads an event (spec of the artifacts §14).
///
/// # Errors
/// Every problem of it.
pub(crate) fn read(tree: Value, now_ms: u64) -> Result<EventDraft, Vec<Problem>> {
    let Value::Object(mut fields) = tree else {
        return Err(vec![problem("UnexpectedTypeError", "/", "An event is a map.")]);
    };
    let mut problems = Vec::new();
    let tags = match tags(fields.remove("tags").or_else(|| fields.remove("tag"))) {
        Ok(tags) if tags.is_empty() => {
            problems.push(problem(
                "NoTagEventError",
                "tags",
                "Publishing an event without tags is not allowed.",
            ));
            tags
        }
        Ok(tags) => tags,
        Err(wrong) => {
            problems.push(wrong);
            Vec::new()
        }
    };
    let kind = match fields.remove("type") {
        None | Some(Value::Null) => DEFAULT_TYPE.to_owned(),
        Some(Value::String(kind)) if is_type(&kind) => kind,
        Some(other) => {
            problems.push(problem(
                "EventTypeError",
                "type",
                format!("An event's type has only letters, digits, `-` and `_`, which {other} is not."),
            ));
            String::new()
        }
    };
    let timestamp_ms = match fields.remove("timestamp") {
        None | Some(Value::Null) => now_ms,
        Some(Value::String(text)) if let Some(at_ms) = date::parse(&text, now_ms) => at_ms,
        Some(other) => {
            problems.push(problem(
                "EventTimestampError",
                "timestamp",
                format!("{other} is no ISO 8601 date and time with offset."),
            ));
            0
        }
    };
    let value = fields.remove("value").unwrap_or(Value::Null);
    // What a client gets from GET and sends back.
    for known in ["id", "digest", "version", "kind", "metadata"] {
        fields.remove(known);
    }
    for left in fields.keys() {
        problems.push(problem(
            "UnexpectedElement",
            left,
            format!("An event has no `{left}`."),
        ));
    }
    if problems.is_empty() {
        Ok(EventDraft {
            tags,
            value,
            timestamp_ms,
            kind,
        })
    } else {
        Err(problems)
    }
}

/// A string or a list of strings; other scalars are taken as text.
pub(super) fn tags(value: Option<Value>) -> Result<Vec<String>, Problem> {
    let items = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(one) => vec![one],
    };
    if items.len() > TAGS_MAX {
        return Err(problem(
            "UnexpectedTypeError",
            "tags",
            format!("There are {} tags; at most {TAGS_MAX} are accepted.", items.len()),
        ));
    }
    let text = |item: Value| match item {
        Value::String(tag) if !tag.is_empty() && tag.len() <= TAG_BYTES_MAX => Ok(tag),
        Value::Number(_) | Value::Bool(_) => Ok(item.to_string()),
        _ => Err(problem(
            "UnexpectedTypeError",
            "tags",
            format!("A tag is a text of 1 to {TAG_BYTES_MAX} bytes."),
        )),
    };
    items.into_iter().map(text).collect()
}

fn is_type(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= TAG_BYTES_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read;

    #[test]
    fn defaults_and_short_forms() {
        let draft = read(json!({"tags": "a:b", "value": {"x": 1}}), 7).unwrap();
        assert_eq!(draft.tags, ["a:b"]);
        assert_eq!((draft.timestamp_ms, draft.kind.as_str()), (7, "event"));
        assert_eq!(draft.value, json!({"x": 1}));
        let draft = read(
            json!({"tags": ["a", 1], "type": "metrics", "timestamp": "1970-01-01T00:00:01Z", "id": "5"}),
            7,
        )
        .unwrap();
        assert_eq!(draft.tags, ["a", "1"]);
        assert_eq!((draft.timestamp_ms, draft.kind.as_str()), (1000, "metrics"));
    }

    #[test]
    fn every_problem_is_told() {
        let problems = read(
            json!({"tags": [], "type": "a b", "timestamp": "then", "colour": "red"}),
            7,
        )
        .unwrap_err();
        let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(
            codes,
            [
                "NoTagEventError",
                "EventTypeError",
                "EventTimestampError",
                "UnexpectedElement"
            ]
        );
        assert_eq!(read(json!([1]), 7).unwrap_err()[0].code, "UnexpectedTypeError");
    }
}
