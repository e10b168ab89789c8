//! Conditions: Vamp's language for choosing requests, and the HAProxy ACLs that it may contain.
//!
//! A [`Condition`] is the text as written and the tree that it means. Every leaf is a [`Test`]: a fetch
//! (what to look at) and a matcher (what it must be). Vamp's short codes (`User-Agent == Firefox`, `has
//! cookie vamp`) are lowered to the same leaves as the native ACLs between `<` and `>`, so there is one
//! evaluation (in `weir-proxy`).
//!
//! Grammar: spec of Vamp's artifacts, §6; ACL subset: spec of the gateway agent, §3.2.
//!
//! **Invariants.** Parsing ends and neither panics nor overflows the stack on any text: length, nesting,
//! tests and regular expressions are bounded. Patterns that are compared without regard to case are in lower
//! case; names of headers are in lower case.
//!
//! **Absent.** Minimisation to a disjunction (Vamp's, 2^n in operands): the tree is evaluated as it stands.

mod acl;
mod display;
pub(crate) mod groups;
mod parse;
pub mod prove;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use thiserror::Error;

/// Which requests a route wants.
#[derive(Clone, Debug)]
pub struct Condition {
    source: String,
    expression: Expression,
}

/// Conditions are equal if they were written equally.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// A text is not a condition.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message} (at character {})", .position + 1)]
pub struct ConditionError {
    /// Characters before the place of the fault.
    pub position: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A tree of tests.
#[derive(Clone, Debug)]
pub enum Expression {
    /// Every one; empty is true.
    All(Vec<Expression>),
    /// At least one; empty is false.
    Any(Vec<Expression>),
    /// Not this.
    Not(Box<Expression>),
    /// A leaf.
    Test(Test),
}

/// What to look at, and what it must be.
#[derive(Clone, Debug)]
pub struct Test {
    /// What to look at. A fetch may give several values (a header sent twice): one that matches suffices.
    pub fetch: Fetch,
    /// What it must be.
    pub matcher: Matcher,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The request's method.
    Method,
    /// The path of the request target, without the query.
    Path,
    /// The request target as sent.
    Url,
    /// The query of the request target, without the `?`.
    Query,
    /// One parameter of the query, by name.
    UrlParameter(String),
    /// Every value of a header, each split at commas (HAProxy's `hdr`); the name is in lower case.
    Header(String),
    /// Every line of a header as a whole (HAProxy's `fhdr`); the name is in lower case.
    FullHeader(String),
    /// How many values a header has; the name is in lower case.
    HeaderCount(String),
    /// How many lines a header has; the name is in lower case.
    FullHeaderCount(String),
    /// The value of a cookie, by name.
    Cookie(String),
    /// How many cookies of that name there are.
    CookieCount(String),
    /// The client's address.
    Source,
    /// The address at which the request arrived.
    Destination,
    /// The port on which the request arrived.
    DestinationPort,
}

/// What a fetched value must be. Several patterns: one that matches suffices.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// There is a value.
    Found,
    /// Text compared with patterns.
    Text {
        /// How.
        how: TextMatch,
        /// Without regard to (ASCII) case; the patterns are in lower case then.
        ignore_case: bool,
        /// With what.
        patterns: Vec<String>,
    },
    /// Text matched by regular expressions.
    Regex(Vec<regex::bytes::Regex>),
    /// A number (or a text that is one) within one of the inclusive ranges.
    Integer(Vec<(i64, i64)>),
    /// Text whose length in bytes is within one of the inclusive ranges.
    Length(Vec<(i64, i64)>),
    /// An address within one of the networks: address and length of the prefix in bits.
    Network(Vec<(IpAddr, u8)>),
}

/// How a text is compared with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextMatch {
    /// Equal.
    Exact,
    /// Begins with it.
    Prefix,
    /// Ends with it.
    Suffix,
    /// Contains it.
    Substring,
    /// Contains it between slashes (HAProxy's `dir`).
    Directory,
    /// Contains it between dots (HAProxy's `dom`).
    Domain,
}

impl Condition {
    /// Longest condition in bytes.
    pub const LENGTH_MAX: usize = 8 * 1024;
    /// Deepest nesting of parentheses.
    pub const DEPTH_MAX: usize = 64;
    /// Most tests in one condition.
    pub const TESTS_MAX: usize = 256;
    /// Most regular expressions in one condition.
    pub const REGEXES_MAX: usize = 32;
    /// Largest compiled regular expression in bytes.
    pub const REGEX_SIZE_MAX: usize = 256 * 1024;

    /// The text as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it means.
    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    /// Reads a condition. The empty text is not one: the caller treats it as "no condition".
    ///
    /// A text that is not of Vamp's language as a whole is read as one native ACL, as Vamp did. If it is
    /// neither, the error is that of the reading which came further.
    ///
    /// # Errors
    /// [`ConditionError`] with the place and what would be right there.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        match expression(text) {
            Ok(expression) => Ok(Self {
                source: text.to_owned(),
                expression,
            }),
            Err(Fault { at, message }) => Err(ConditionError {
                position: text.get(..at).unwrap_or(text).chars().count(),
                message,
            }),
        }
    }
}

/// Why a text, or a part of it, cannot be read.
#[derive(Debug)]
struct Fault {
    /// Byte of the text at which the fault is.
    at: usize,
    message: String,
}

/// What one condition may still use.
#[derive(Debug)]
struct Budget {
    tests: usize,
    regexes: usize,
}

impl Budget {
    fn full() -> Self {
        Self {
            tests: Condition::TESTS_MAX,
            regexes: Condition::REGEXES_MAX,
        }
    }

    /// Takes one test at byte `at`.
    fn take_test(&mut self, at: usize) -> Result<(), Fault> {
        self.tests = self.tests.checked_sub(1).ok_or_else(|| Fault {
            at,
            message: format!("more than {} tests in one condition", Condition::TESTS_MAX),
        })?;
        Ok(())
    }

    /// Takes one regular expression at byte `at`.
    fn take_regex(&mut self, at: usize) -> Result<(), Fault> {
        self.regexes = self.regexes.checked_sub(1).ok_or_else(|| Fault {
            at,
            message: format!(
                "more than {} regular expressions in one condition",
                Condition::REGEXES_MAX
            ),
        })?;
        Ok(())
    }
}

fn expression(text: &str) -> Result<Expression, Fault> {
    let begin = text.len() - text.trim_start().len();
    if text.len() > Condition::LENGTH_MAX {
        return Err(Fault {
            at: 0,
            message: format!("longer than {} bytes", Condition::LENGTH_MAX),
        });
    }
    if begin == text.len() {
        return Err(Fault {
            at: 0,
            message: "a condition must not be empty".to_owned(),
        });
    }
    let of_language = match parse::parse(text) {
        Ok(expression) => return Ok(expression),
        Err(parse::Error::Fault(fault)) => return Err(fault),
        Err(parse::Error::NotOfLanguage(fault)) => fault,
    };
    match acl::parse(text, &mut Budget::full()) {
        Ok(test) => Ok(Expression::Test(test)),
        Err(_) if of_language.at > begin => Err(of_language),
        Err(acl::Error {
            fault,
            known_fetch: true,
        }) => Err(fault),
        Err(acl::Error { fault, .. }) => Err(Fault {
            at: of_language.at,
            message: format!("{}; as a native ACL: {}", of_language.message, fault.message),
        }),
    }
}

/// Checks and normalises the name of a header.
fn header_name(name: &str, at: usize) -> Result<String, Fault> {
    // RFC 9110, section 5.6.2.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_token) {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(Fault {
            at,
            message: format!("`{}` cannot be the name of a header", excerpt(name)),
        })
    }
}

/// The beginning of a text, for messages.
fn excerpt(text: &str) -> String {
    const CHARACTERS: usize = 40;
    let mut characters = text.chars();
    let mut excerpt: String = characters.by_ref().take(CHARACTERS).collect();
    if characters.next().is_some() {
        excerpt.push('…');
    }
    excerpt
}
