//! What tests of texts say of each other.

use super::tie::{covers, ranges_apart, ranges_within};
use crate::condition::{Matcher, TextMatch};

/// One pattern of a test of texts.
pub(super) struct Text<'p> {
    how: TextMatch,
    ignore_case: bool,
    pattern: &'p str,
}

impl<'p> Text<'p> {
    pub(super) fn of(matcher: &Matcher, pattern: &'p str) -> Option<Self> {
        match matcher {
            Matcher::Text { how, ignore_case, .. } => Some(Self {
                how: *how,
                // Without letters there is no case.
                ignore_case: *ignore_case && pattern.bytes().any(|b| b.is_ascii_alphabetic()),
                pattern,
            }),
            _ => None,
        }
    }

    /// Both patterns in one case, if they can be compared: a text of any case says nothing of one that minds it.
    fn aligned(&self, pattern: &str, ignore_case: bool) -> Option<(String, String)> {
        match (self.ignore_case, ignore_case) {
            (_, true) => Some((self.pattern.to_ascii_lowercase(), pattern.to_ascii_lowercase())),
            (false, false) => Some((self.pattern.to_owned(), pattern.to_owned())),
            (true, false) => None,
        }
    }

    /// Every value that fits this pattern fits the matcher.
    pub(super) fn is_within(&self, other: &Matcher) -> bool {
        let least = i64::try_from(self.pattern.len()).unwrap_or(i64::MAX);
        match other {
            Matcher::Found => true,
            Matcher::Text {
                how,
                ignore_case,
                patterns,
            } => patterns.iter().any(|pattern| {
                let Some((own, pattern)) = self.aligned(pattern, *ignore_case) else {
                    return false;
                };
                match (self.how, how) {
                    (TextMatch::Exact, how) => fits(&own, *how, &pattern),
                    (TextMatch::Prefix, TextMatch::Prefix) => own.starts_with(&pattern),
                    (TextMatch::Suffix, TextMatch::Suffix) => own.ends_with(&pattern),
                    (_, TextMatch::Substring) => own.contains(&pattern),
                    (one, how) => one == *how && own == pattern,
                }
            }),
            Matcher::Regex(expressions) => {
                self.how == TextMatch::Exact
                    && !self.ignore_case
                    && expressions
                        .iter()
                        .any(|expression| expression.is_match(self.pattern.as_bytes()))
            }
            Matcher::Length(ranges) => match self.how {
                TextMatch::Exact => covers(ranges, least),
                _ => ranges_within(&[(least, i64::MAX)], ranges),
            },
            Matcher::Integer(_) | Matcher::Network(_) => false,
        }
    }

    /// No value fits both this pattern and the matcher.
    pub(super) fn is_apart(&self, other: &Matcher) -> bool {
        let least = i64::try_from(self.pattern.len()).unwrap_or(i64::MAX);
        match other {
            Matcher::Text {
                how,
                ignore_case,
                patterns,
            } => patterns.iter().all(|pattern| {
                // If either forgets case, they are apart only if they are so in every case.
                let (own, pattern) = match self.ignore_case || *ignore_case {
                    true => (self.pattern.to_ascii_lowercase(), pattern.to_ascii_lowercase()),
                    false => (self.pattern.to_owned(), pattern.clone()),
                };
                match (self.how, how) {
                    (TextMatch::Exact, how) => !fits(&own, *how, &pattern),
                    (how, TextMatch::Exact) => !fits(&pattern, how, &own),
                    (TextMatch::Prefix, TextMatch::Prefix) => {
                        !own.starts_with(&pattern) && !pattern.starts_with(&own)
                    }
                    (TextMatch::Suffix, TextMatch::Suffix) => {
                        !own.ends_with(&pattern) && !pattern.ends_with(&own)
                    }
                    _ => false,
                }
            }),
            Matcher::Regex(expressions) => {
                self.how == TextMatch::Exact
                    && !self.ignore_case
                    && !expressions
                        .iter()
                        .any(|expression| expression.is_match(self.pattern.as_bytes()))
            }
            Matcher::Length(ranges) => match self.how {
                TextMatch::Exact => !covers(ranges, least),
                _ => ranges_apart(&[(least, i64::MAX)], ranges),
            },
            Matcher::Found | Matcher::Integer(_) | Matcher::Network(_) => false,
        }
    }
}

/// Whether a text fits a pattern, as requests are tested.
pub(super) fn fits(text: &str, how: TextMatch, pattern: &str) -> bool {
    match how {
        TextMatch::Exact => text == pattern,
        TextMatch::Prefix => text.starts_with(pattern),
        TextMatch::Suffix => text.ends_with(pattern),
        TextMatch::Substring => text.contains(pattern),
        TextMatch::Directory => between(text, pattern, &['/', '?']),
        TextMatch::Domain => between(text, pattern, &['/', '?', '.', ':']),
    }
}

fn between(text: &str, pattern: &str, delimiters: &[char]) -> bool {
    text.match_indices(pattern).any(|(at, _)| {
        let (before, rest) = text.split_at(at);
        let after = rest.strip_prefix(pattern).unwrap_or_default();
        (before.is_empty() || before.ends_with(delimiters))
            && (after.is_empty() || after.starts_with(delimiters))
    })
}
