//! Shows what a condition means, for people and for `explain`: every short code as the test behind it.

use std::fmt;

use super::{Condition, Expression, Fetch, Matcher, Test, TextMatch};

/// Shows the text as written.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source())
    }
}

/// Shows the tree: `(header "host" is "a" or not path begins with "/b")`.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, between, of_none) = match self {
            Self::Test(test) => return test.fmt(f),
            Self::Not(inner) => return write!(f, "not {inner}"),
            Self::All(parts) => (parts, " and ", "always"),
            Self::Any(parts) => (parts, " or ", "never"),
        };
        match parts.as_slice() {
            [] => return f.write_str(of_none),
            [only] => return only.fmt(f),
            _ => {}
        }
        f.write_str("(")?;
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(between)?;
            }
            part.fmt(f)?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.fetch, self.matcher)
    }
}

impl fmt::Display for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("method"),
            Self::Path => f.write_str("path"),
            Self::Url => f.write_str("url"),
            Self::Query => f.write_str("query"),
            Self::UrlParameter(name) => write!(f, "url parameter {name:?}"),
            Self::Header(name) => write!(f, "a value of header {name:?}"),
            Self::FullHeader(name) => write!(f, "header {name:?}"),
            Self::HeaderCount(name) => write!(f, "number of values of header {name:?}"),
            Self::FullHeaderCount(name) => write!(f, "number of headers {name:?}"),
            Self::Cookie(name) => write!(f, "cookie {name:?}"),
            Self::CookieCount(name) => write!(f, "number of cookies {name:?}"),
            Self::Source => f.write_str("client address"),
            Self::Destination => f.write_str("own address"),
            Self::DestinationPort => f.write_str("port"),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found => f.write_str("is there"),
            Self::Text {
                how,
                ignore_case,
                patterns,
            } => {
                f.write_str(match how {
                    TextMatch::Exact => "is ",
                    TextMatch::Prefix => "begins with ",
                    TextMatch::Suffix => "ends with ",
                    TextMatch::Substring => "contains ",
                    TextMatch::Directory => "contains between slashes ",
                    TextMatch::Domain => "contains between dots ",
                })?;
                list(f, patterns.iter().map(|pattern| format!("{pattern:?}")))?;
                f.write_str(if *ignore_case { " in any case" } else { "" })
            }
            Self::Regex(expressions) => {
                f.write_str("fits ")?;
                list(f, expressions.iter().map(|expression| format!("/{expression}/")))
            }
            Self::Integer(ranges) => {
                f.write_str("is ")?;
                list(f, ranges.iter().map(range))
            }
            Self::Length(ranges) => {
                f.write_str("has a length that is ")?;
                list(f, ranges.iter().map(range))
            }
            Self::Network(networks) => {
                f.write_str("is in ")?;
                list(
                    f,
                    networks.iter().map(|(address, bits)| format!("{address}/{bits}")),
                )
            }
        }
    }
}

fn range((low, high): &(i64, i64)) -> String {
    match (*low, *high) {
        (low, high) if low == high => low.to_string(),
        (i64::MIN, high) => format!("at most {high}"),
        (low, i64::MAX) => format!("at least {low}"),
        (low, high) => format!("{low} to {high}"),
    }
}

/// `a`, or `(a or b)`.
fn list(f: &mut fmt::Formatter<'_>, items: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    let count = items.len();
    let joined = items.collect::<Vec<_>>().join(" or ");
    if count == 1 {
        f.write_str(&joined)
    } else {
        write!(f, "({joined})")
    }
}
