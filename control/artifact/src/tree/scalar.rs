//! Scalars: the text as written, and what it can mean.

use serde_json::{Number, Value};

/// A value that is neither a list nor a map.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    /// As written, after escapes.
    pub(crate) text: String,
    /// Written without quotes, so that it may be a number, a boolean or nothing.
    pub(crate) plain: bool,
    /// Columns from the node's place to the first character of the text, if the text stands in the document
    /// letter by letter on one line.
    pub(crate) offset: Option<usize>,
}

impl Scalar {
    pub(crate) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// A boolean, with YAML 1.1's words. Only asked where a boolean is expected.
    pub(crate) fn boolean(&self) -> Option<bool> {
        if !self.plain {
            return None;
        }
        boolean_word(&self.text)
    }

    /// A whole number that is not quoted.
    pub(crate) fn integer(&self) -> Option<i64> {
        if !self.plain {
            return None;
        }
        let digits = self.text.strip_prefix('+').unwrap_or(&self.text);
        // Rust would take a second sign.
        (!digits.starts_with('+')).then(|| digits.parse().ok())?
    }

    /// A number that is not quoted.
    pub(crate) fn number(&self) -> Option<f64> {
        if !self.plain {
            return None;
        }
        let number = number(&self.text)?.as_f64()?;
        // No negative zero: it prints differently and means the same.
        number.is_finite().then_some(number + 0.0)
    }

    /// As free content.
    pub(crate) fn to_value(&self) -> Value {
        if !self.plain {
            return Value::String(self.text.clone());
        }
        if self.is_null() {
            return Value::Null;
        }
        match self.text.as_str() {
            "true" | "True" | "TRUE" => return Value::Bool(true),
            "false" | "False" | "FALSE" => return Value::Bool(false),
            _ => {}
        }
        match number(&self.text) {
            Some(number) => Value::Number(number),
            None => Value::String(self.text.clone()),
        }
    }
}

/// `true`, `yes`, `on` and their opposites, in the three cases that YAML 1.1 knows.
pub(crate) fn boolean_word(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A number by YAML 1.2's core schema. A number with leading zeros is a text: it would lose them.
pub(crate) fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned
        .bytes()
        .next()
        .is_none_or(|b| !b.is_ascii_digit() && b != b'.')
    {
        return None;
    }
    if !unsigned
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'))
    {
        return None;
    }
    let mut bytes = unsigned.bytes();
    if bytes.next() == Some(b'0') && bytes.next().is_some_and(|b| b.is_ascii_digit()) {
        return None;
    }
    let signed = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = signed.parse::<i64>()
        && signed != "-0"
    {
        return Some(number.into());
    }
    if let Ok(number) = signed.parse::<u64>() {
        return Some(number.into());
    }
    signed.parse::<f64>().ok().and_then(Number::from_f64)
}
