//! Rewrites of paths: `NEW if CONDITION`, Vamp's form of HAProxy's `http-request set-path` (spec of the gateway agent, §3.5).
//!
//! `NEW` is text with samples: `%[fetch,converter...]` stands for what the request has there, `%%` for the sign itself.
//! The condition is one ACL, or groups in braces (`{ path_beg /a } !{ method POST }`).
//!
//! **Invariants.** Parsing ends and does not panic on any text; length, samples, converters and regular expressions are
//! bounded. What is not native is refused by name.
//!
//! **Absent.** Application: `weir-proxy` does that. HAProxy's log variables (`%ci`) and other converters.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::condition::{Condition, Expression, Fetch, groups};

/// Longest name in messages, in characters.
const SHOWN_MAX: usize = 40;

/// A rule that changes the path of a request before it is passed on.
#[derive(Clone, Debug)]
pub struct PathRewrite {
    source: String,
    pieces: Vec<Piece>,
    condition: Expression,
}

/// Rewrites are equal if they were written equally.
impl PartialEq for PathRewrite {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for PathRewrite {}

/// A part of the new path.
#[derive(Clone, Debug)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// What the request has.
    Sample(Sample),
}

/// Something of the request. What is not there is the empty text; of several values it is the last one, as in HAProxy.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What to look at.
    pub fetch: Fetch,
    /// What is done with it, in order.
    pub converters: Vec<Converter>,
}

/// What is done with a sample.
#[derive(Clone, Debug)]
pub enum Converter {
    /// ASCII letters in lower case.
    Lower,
    /// ASCII letters in upper case.
    Upper,
    /// `regsub(EXPRESSION,WITH[,FLAGS])`
    Substitute {
        /// What is replaced.
        expression: regex::bytes::Regex,
        /// By what, in the notation of the crate `regex`: `${1}` is the first group.
        with: String,
        /// Every occurrence (flag `g`), not only the first.
        all: bool,
    },
}

/// A text is not a rewrite.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message} (at character {})", .position + 1)]
pub struct RewriteError {
    /// Characters before the place of the fault.
    pub position: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A rewrite travels as it was written.
impl Serialize for PathRewrite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for PathRewrite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

struct Fault {
    at: usize,
    message: String,
}

impl PathRewrite {
    /// Longest rewrite in bytes.
    pub const LENGTH_MAX: usize = 8 * 1024;
    /// Most samples in one new path.
    pub const SAMPLES_MAX: usize = 16;
    /// Most converters of one sample.
    pub const CONVERTERS_MAX: usize = 8;

    /// The text as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The new path.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Which requests are changed.
    pub fn condition(&self) -> &Expression {
        &self.condition
    }

    /// Reads a rewrite.
    ///
    /// # Errors
    /// [`RewriteError`] with the place and what would be right there.
    pub fn parse(text: &str) -> Result<Self, RewriteError> {
        read(text).map_err(|Fault { at, message }| RewriteError {
            position: text.get(..at).unwrap_or(text).chars().count(),
            message,
        })
    }
}

fn read(text: &str) -> Result<PathRewrite, Fault> {
    const IF: &str = " if ";
    if text.len() > PathRewrite::LENGTH_MAX {
        return Err(fault(0, format!("longer than {} bytes", PathRewrite::LENGTH_MAX)));
    }
    // Same length in bytes, so places hold.
    let Some(split) = text.to_ascii_lowercase().rfind(IF) else {
        return Err(fault(text.len(), "expected `NEW-PATH if CONDITION`"));
    };
    let (new, condition) = (
        text.get(..split).unwrap_or_default(),
        text.get(split + IF.len()..).unwrap_or_default(),
    );
    let begin = new.len() - new.trim_start().len();
    let pieces = template(new.trim_end(), begin)?;
    if pieces.is_empty() {
        return Err(fault(begin, "the new path must not be empty"));
    }
    let condition =
        groups::parse(condition).map_err(|(at, message)| fault(split + IF.len() + at, message))?;
    Ok(PathRewrite {
        source: text.to_owned(),
        pieces,
        condition,
    })
}

fn template(text: &str, begin: usize) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let (mut samples, mut regexes) = (0, 0);
    let mut at = begin;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        if c != '%' {
            if c.is_whitespace() || c.is_control() {
                return Err(fault(at, "a path has no white space; write `%%20`"));
            }
            plain.push(c);
            at += c.len_utf8();
        } else if rest.starts_with("%%") {
            plain.push('%');
            at += 2;
        } else if let Some(inside) = rest.strip_prefix("%[") {
            let Some(length) = sample_end(inside) else {
                return Err(fault(at, "`%[` lacks its `]`"));
            };
            samples += 1;
            if samples > PathRewrite::SAMPLES_MAX {
                return Err(fault(
                    at,
                    format!("more than {} samples in one path", PathRewrite::SAMPLES_MAX),
                ));
            }
            let sample = sample(inside.get(..length).unwrap_or_default(), at + 2, &mut regexes)?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Sample(sample));
            at += 2 + length + 1;
        } else {
            let variable: String = rest
                .chars()
                .take_while(|c| !c.is_whitespace() && *c != '/')
                .take(SHOWN_MAX)
                .collect();
            return Err(fault(
                at,
                format!("`{variable}` is not supported; use %[...] for samples and %% for the sign itself"),
            ));
        }
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

/// Bytes up to the `]` that ends a sample: outside of parentheses and quotes.
fn sample_end(text: &str) -> Option<usize> {
    scan(text, |c, depth| c == ']' && depth == 0)
}

/// The first character outside of quotes and escapes for which `is_end` holds, given the parentheses open there.
fn scan(text: &str, mut is_end: impl FnMut(char, usize) -> bool) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0_usize;
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                characters.next();
            }
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            (c, None) if is_end(c, depth) => return Some(at),
            ('\'' | '"', None) => quote = Some(c),
            ('(', None) => depth += 1,
            (')', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// The parts between commas outside of parentheses and quotes, with their places.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let end = scan(rest, |c, depth| c == ',' && depth == 0).unwrap_or(rest.len());
        parts.push((at, rest.get(..end).unwrap_or_default()));
        at += end + 1;
        if at > text.len() {
            return parts;
        }
    }
}

fn sample(text: &str, begin: usize, regexes: &mut usize) -> Result<Sample, Fault> {
    let mut parts = parts(text).into_iter();
    let (_, fetch) = parts.next().unwrap_or_default();
    let fetch = groups::sample(fetch).map_err(|message| fault(begin, message))?;
    let mut converters = Vec::new();
    for (at, part) in parts {
        if converters.len() == PathRewrite::CONVERTERS_MAX {
            return Err(fault(
                begin + at,
                format!(
                    "more than {} converters of one sample",
                    PathRewrite::CONVERTERS_MAX
                ),
            ));
        }
        converters.push(converter(part, begin + at, regexes)?);
    }
    Ok(Sample { fetch, converters })
}

fn converter(text: &str, at: usize, regexes: &mut usize) -> Result<Converter, Fault> {
    match text.trim() {
        "lower" => return Ok(Converter::Lower),
        "upper" => return Ok(Converter::Upper),
        _ => {}
    }
    let Some(arguments) = text
        .trim()
        .strip_prefix("regsub(")
        .and_then(|rest| rest.strip_suffix(')'))
    else {
        let shown: String = text.trim().chars().take(SHOWN_MAX).collect();
        return Err(fault(
            at,
            format!(
                "the converter `{shown}` is not supported; use lower, upper or regsub(EXPRESSION,WITH[,gi])"
            ),
        ));
    };
    let arguments: Vec<String> = parts(arguments)
        .into_iter()
        .map(|(_, part)| unquoted(part))
        .collect();
    let (expression, with, flags) = match arguments.as_slice() {
        [expression, with] => (expression, with, ""),
        [expression, with, flags] => (expression, with, flags.as_str()),
        _ => {
            return Err(fault(
                at,
                "regsub takes an expression, what to put in its place, and perhaps the flags g and i",
            ));
        }
    };
    if let Some(flag) = flags.chars().find(|flag| !matches!(flag, 'g' | 'i')) {
        return Err(fault(at, format!("regsub knows the flags g and i, not `{flag}`")));
    }
    *regexes += 1;
    if *regexes > Condition::REGEXES_MAX {
        return Err(fault(
            at,
            format!(
                "more than {} regular expressions in one path",
                Condition::REGEXES_MAX
            ),
        ));
    }
    let expression = regex::bytes::RegexBuilder::new(expression)
        .unicode(false)
        .case_insensitive(flags.contains('i'))
        .size_limit(Condition::REGEX_SIZE_MAX)
        .dfa_size_limit(Condition::REGEX_SIZE_MAX)
        .build()
        .map_err(|_| {
            fault(
                at,
                "the first argument of regsub is not a regular expression that can be used",
            )
        })?;
    Ok(Converter::Substitute {
        expression,
        with: substitution(with),
        all: flags.contains('g'),
    })
}

/// A text without its quotes.
fn unquoted(text: &str) -> String {
    for quote in ['\'', '"'] {
        if let Some(inside) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return inside.to_owned();
        }
    }
    text.replace("\\,", ",")
}

/// `\1` as `${1}`.
fn substitution(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match characters.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    out.push_str("${");
                    out.push(digit);
                    out.push('}');
                }
                Some('$') => out.push_str("$$"),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

fn fault(at: usize, message: impl Into<String>) -> Fault {
    Fault {
        at,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
