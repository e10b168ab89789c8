//! Reading parts of JSON trees that may or may not be there.

use serde_json::Value;

/// The text at a JSON pointer; numbers and booleans are written out, absent and null are empty.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map(scalar).unwrap_or_default()
}

/// A scalar without quotes; trees as JSON.
pub(crate) fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The entries of an object at a JSON pointer; none if it is not one.
pub(crate) fn entries<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    value
        .pointer(pointer)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

/// The elements of an array at a JSON pointer; none if it is not one.
pub(crate) fn elements<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// The name of an artifact, a reference, or a plain text.
pub(crate) fn name(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => ["name", "reference", "ref"]
            .iter()
            .find_map(|key| map.get(*key))
            .map(scalar)
            .unwrap_or_default(),
        _ => String::new(),
    }
}

/// Parts per ten thousand of a text such as `80%` or `33.33%`.
pub(crate) fn parts(percent: &str) -> Option<u32> {
    let number = percent.trim();
    let number = number.strip_suffix('%').unwrap_or(number).trim();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || fraction.len() > 2 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let fraction: u32 = format!("{fraction:0<2}").parse().ok()?;
    let parts = whole * 100 + fraction;
    (parts <= 10_000).then_some(parts)
}

/// Parts per ten thousand as percent: `80%`, `33.33%`.
pub(crate) fn percent(parts: u32) -> String {
    match parts % 100 {
        0 => format!("{}%", parts / 100),
        rest if rest % 10 == 0 => format!("{}.{}%", parts / 100, rest / 10),
        rest => format!("{}.{rest:02}%", parts / 100),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{name, parts, percent, text};

    #[test]
    fn percentages_read_back() {
        for (written, number) in [
            ("80%", 8_000),
            ("33.33%", 3_333),
            ("0.5%", 50),
            ("100", 10_000),
            (" 5 % ", 500),
        ] {
            assert_eq!(parts(written), Some(number), "{written}");
        }
        for wrong in ["", "%", "101", "-1", "1.234", "x", ".5", "1e2"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
        assert_eq!(percent(8_000), "80%");
        assert_eq!(percent(3_330), "33.3%");
        assert_eq!(percent(5), "0.05%");
    }

    #[test]
    fn names_of_all_forms() {
        assert_eq!(name(&json!("a")), "a");
        assert_eq!(name(&json!({"reference": "b"})), "b");
        assert_eq!(name(&json!({"name": "c", "deployable": {}})), "c");
        assert_eq!(text(&json!({"a": {"b": 7}}), "/a/b"), "7");
        assert_eq!(text(&json!({"a": null}), "/a"), "");
    }
}
