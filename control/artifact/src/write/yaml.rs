//! Trees to block style YAML.
//!
//! A text stands without quotes only if every YAML reader, of 1.1 or of 1.2, takes it for a text.

use std::fmt::Write;

use serde_json::Value;

/// Longest key that is written in the simple form; YAML allows 1024 characters.
const SIMPLE_KEY_BYTES_MAX: usize = 120;

/// A tree as block style YAML, with a line break at the end.
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(items) if !items.is_empty() => list(&mut out, items, 0),
        Value::Object(entries) if !entries.is_empty() => map(&mut out, entries, 0),
        scalar => {
            self::scalar(&mut out, scalar, 0);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, columns: usize) {
    out.extend(std::iter::repeat_n(' ', columns));
}

/// Writes from where the cursor stands (at `columns` already) to the end of the last line.
fn map(out: &mut String, entries: &serde_json::Map<String, Value>, columns: usize) {
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            indent(out, columns);
        }
        if key.len() > SIMPLE_KEY_BYTES_MAX {
            out.push_str("? ");
            quoted(out, key);
            out.push('\n');
            indent(out, columns);
        } else if is_plain(key) {
            out.push_str(key);
        } else {
            quoted(out, key);
        }
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                indent(out, columns + 2);
                map(out, inner, columns + 2);
            }
            // A list may stand in the column of its key.
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                indent(out, columns);
                list(out, items, columns);
            }
            value => {
                out.push(' ');
                scalar(out, value, columns + 2);
                out.push('\n');
            }
        }
    }
}

fn list(out: &mut String, items: &[Value], columns: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            indent(out, columns);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => map(out, inner, columns + 2),
            Value::Array(inner) if !inner.is_empty() => list(out, inner, columns + 2),
            value => {
                scalar(out, value, columns + 2);
                out.push('\n');
            }
        }
    }
}

/// Anything that is not a collection with something in it, without a line break at the end.
fn scalar(out: &mut String, value: &Value, columns: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(boolean) => out.push_str(if *boolean { "true" } else { "false" }),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        Value::String(text) if is_plain(text) => out.push_str(text),
        Value::String(text) if is_block(text) => block(out, text, columns),
        Value::String(text) => quoted(out, text),
    }
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xffff => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('"');
}

/// Characters that may stand as they are and are neither breaks nor marks.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
        || (u32::from(c) >= 0x1_0000 && u32::from(c) & 0xfffe != 0xfffe)
}

/// Several lines that can stand as they are.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
        && !text.starts_with(char::is_whitespace)
        && !text.ends_with("\n\n")
        && text
            .lines()
            .all(|line| line.is_empty() || !line.trim().is_empty())
}

fn block(out: &mut String, text: &str, columns: usize) {
    out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, columns);
            out.push_str(line);
        }
    }
}

/// Whether a text can stand without quotes.
fn is_plain(text: &str) -> bool {
    let inside = |c: char| {
        c.is_alphanumeric() && is_printable(c)
            || matches!(c, ' ' | '!' | '$' | '%' | '&' | '('..='+' | '-' | '.' | '/' | ':'..='@' | '\\' | '^' | '_' | '|' | '~')
    };
    let first = |c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '$' | '.' | '(');
    text.starts_with(first)
        && text.chars().all(inside)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.starts_with("...")
        && !is_ambiguous(text)
}

/// Whether some YAML reader takes the text for something else.
fn is_ambiguous(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".inf", ".nan", "nan",
    ];
    let lower = text.to_ascii_lowercase();
    // Numbers of any base, with underscores, by sixty, and dates.
    let like_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && lower
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || b" xo_.:+-tz".contains(&b));
    WORDS.contains(&lower.as_str()) || like_number
}
