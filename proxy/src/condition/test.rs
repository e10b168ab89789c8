//! One test: what to look at, and what it must be, with everything that can be prepared prepared.

use std::net::IpAddr;

use memchr::{memchr, memchr2, memmem::Finder};
use weir_model::condition::{self as model, Fetch, TextMatch};

use super::{Names, RequestView, value};

/// A leaf of a condition.
#[derive(Clone, Debug)]
pub(super) struct Test {
    fetch: Fetch,
    /// Finds the name of a cookie or a parameter: most texts need no closer look, since it is not in them.
    name: Option<Finder<'static>>,
    /// The header that is looked at, if one is: a request without it needs no look at its headers.
    header: Option<Names>,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    Found,
    Text {
        how: TextMatch,
        ignore_case: bool,
        patterns: Box<[Finder<'static>]>,
    },
    /// The model's own matcher: regular expressions, integers, lengths, networks.
    Other(model::Matcher),
}

impl Test {
    pub(super) fn new(test: &model::Test) -> Self {
        let matcher = match &test.matcher {
            model::Matcher::Found => Matcher::Found,
            model::Matcher::Text {
                how,
                ignore_case,
                patterns,
            } => Matcher::Text {
                how: *how,
                ignore_case: *ignore_case,
                patterns: patterns
                    .iter()
                    .map(|pattern| Finder::new(pattern.as_bytes()).into_owned())
                    .collect(),
            },
            // A clone of a regular expression has a cache pool of its own.
            other => Matcher::Other(other.clone()),
        };
        let name = match &test.fetch {
            Fetch::Cookie(name) | Fetch::CookieCount(name) | Fetch::UrlParameter(name) => {
                Some(Finder::new(name.as_bytes()).into_owned())
            }
            _ => None,
        };
        let header = match &test.fetch {
            Fetch::Header(name)
            | Fetch::FullHeader(name)
            | Fetch::HeaderCount(name)
            | Fetch::FullHeaderCount(name) => Some(Names::one(name.as_bytes())),
            Fetch::Cookie(_) | Fetch::CookieCount(_) => Some(Names::one(b"cookie")),
            _ => None,
        };
        Self {
            header,
            fetch: test.fetch.clone(),
            name,
            matcher,
        }
    }

    /// Whether one of the fetched values is as it must be. `names` are those of the request's headers.
    pub(super) fn holds(&self, request: &impl RequestView, names: Names) -> bool {
        if self.header.is_some_and(|header| !names.may_have(header)) {
            return match &self.fetch {
                Fetch::HeaderCount(_) | Fetch::FullHeaderCount(_) | Fetch::CookieCount(_) => {
                    self.matcher.integer(0)
                }
                _ => false,
            };
        }
        let text = |value: &[u8]| self.matcher.text(value);
        let in_text = |text: &&[u8]| self.name.as_ref().is_none_or(|name| name.find(text).is_some());
        match &self.fetch {
            Fetch::Method => text(request.method()),
            Fetch::Path => value::path(request.target()).is_some_and(text),
            Fetch::Url => text(request.target()),
            Fetch::Query => value::query(request.target()).is_some_and(text),
            Fetch::UrlParameter(name) => {
                let target = Some(request.target()).filter(in_text);
                target.is_some_and(|target| value::parameters(target, name.as_bytes()).any(text))
            }
            Fetch::Header(name) => value::header_lines(request, name).any(|line| value::list(line).any(text)),
            Fetch::FullHeader(name) => value::header_lines(request, name).any(text),
            Fetch::HeaderCount(name) => self.matcher.integer(count(
                value::header_lines(request, name).map(|line| value::list(line).count()),
            )),
            Fetch::FullHeaderCount(name) => self
                .matcher
                .integer(count(value::header_lines(request, name).map(|_| 1))),
            Fetch::Cookie(name) => value::header_lines(request, "cookie")
                .filter(in_text)
                .any(|line| value::cookies(line, name.as_bytes()).any(text)),
            Fetch::CookieCount(name) => self.matcher.integer(count(
                value::header_lines(request, "cookie")
                    .filter(in_text)
                    .map(|line| value::cookies(line, name.as_bytes()).count()),
            )),
            Fetch::Source => self.matcher.address(request.source()),
            Fetch::Destination => self.matcher.address(request.destination()),
            Fetch::DestinationPort => self.matcher.integer(i64::from(request.destination_port())),
        }
    }
}

fn count(counts: impl Iterator<Item = usize>) -> i64 {
    i64::try_from(counts.sum::<usize>()).unwrap_or(i64::MAX)
}

impl Matcher {
    fn text(&self, value: &[u8]) -> bool {
        match self {
            Self::Found => true,
            Self::Text {
                how,
                ignore_case,
                patterns,
            } => patterns
                .iter()
                .any(|pattern| compare(value, pattern, *how, *ignore_case)),
            Self::Other(model::Matcher::Regex(expressions)) => {
                expressions.iter().any(|expression| expression.is_match(value))
            }
            Self::Other(model::Matcher::Integer(_)) => {
                integer_in(value).is_some_and(|value| self.integer(value))
            }
            Self::Other(model::Matcher::Length(ranges)) => {
                let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&length))
            }
            Self::Other(model::Matcher::Network(_)) => {
                address_in(value).is_some_and(|value| self.address(value))
            }
            Self::Other(_) => false,
        }
    }

    fn integer(&self, value: i64) -> bool {
        match self {
            Self::Found => true,
            Self::Other(model::Matcher::Integer(ranges)) => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&value))
            }
            _ => false,
        }
    }

    fn address(&self, value: IpAddr) -> bool {
        match self {
            Self::Found => true,
            Self::Other(model::Matcher::Network(networks)) => {
                // A dual-stack socket reports IPv4 clients as mapped addresses.
                let value = value.to_canonical();
                networks
                    .iter()
                    .any(|(network, prefix_bits)| within(value, *network, *prefix_bits))
            }
            _ => false,
        }
    }
}

fn compare(value: &[u8], pattern: &Finder<'static>, how: TextMatch, ignore_case: bool) -> bool {
    let needle = pattern.needle();
    let equal = |part: &[u8]| {
        if ignore_case {
            part.eq_ignore_ascii_case(needle)
        } else {
            part == needle
        }
    };
    let Some(room) = value.len().checked_sub(needle.len()) else {
        return false;
    };
    match how {
        TextMatch::Exact => equal(value),
        TextMatch::Prefix => value.get(..needle.len()).is_some_and(equal),
        TextMatch::Suffix => value.get(room..).is_some_and(equal),
        TextMatch::Substring if ignore_case => contains_ignoring_case(value, needle),
        TextMatch::Substring => pattern.find(value).is_some(),
        TextMatch::Directory => between(value, needle, ignore_case, |byte| matches!(byte, b'/' | b'?')),
        TextMatch::Domain => between(value, needle, ignore_case, |byte| {
            matches!(byte, b'/' | b'?' | b'.' | b':')
        }),
    }
}

/// `needle` is in lower case.
fn contains_ignoring_case(value: &[u8], needle: &[u8]) -> bool {
    let Some(&first) = needle.first() else {
        return true;
    };
    let mut rest = value;
    loop {
        let found = if first.is_ascii_lowercase() {
            memchr2(first, first.to_ascii_uppercase(), rest)
        } else {
            memchr(first, rest)
        };
        let Some(from) = found.and_then(|at| rest.get(at..)) else {
            return false;
        };
        match from.get(..needle.len()) {
            Some(part) if part.eq_ignore_ascii_case(needle) => return true,
            Some(_) => rest = from.get(1..).unwrap_or_default(),
            None => return false,
        }
    }
}

/// Whether `needle` is in `value` with a delimiter or an end of the text on both sides.
fn between(value: &[u8], needle: &[u8], ignore_case: bool, is_delimiter: impl Fn(u8) -> bool) -> bool {
    let mut at_boundary = true;
    for (at, &byte) in value.iter().enumerate() {
        if at_boundary
            && let Some(part) = value.get(at..at + needle.len())
            && (part == needle || ignore_case && part.eq_ignore_ascii_case(needle))
            && value
                .get(at + needle.len())
                .is_none_or(|&next| is_delimiter(next))
        {
            return true;
        }
        at_boundary = is_delimiter(byte);
    }
    false
}

fn within(address: IpAddr, network: IpAddr, prefix_bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix_bits.min(32)))
                .unwrap_or(0);
            (u32::from(address) ^ u32::from(network)) & mask == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix_bits.min(128)))
                .unwrap_or(0);
            (u128::from(address) ^ u128::from(network)) & mask == 0
        }
        _ => false,
    }
}

/// A whole text that is a number.
fn integer_in(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

/// An address, with or without a port: `10.0.0.1`, `10.0.0.1:80`, `::1`, `[::1]`, `[::1]:80`.
fn address_in(value: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, _port) = rest.split_once(']')?;
        return Some(IpAddr::V6(address.parse().ok()?));
    }
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => Some(IpAddr::V4(text.split_once(':')?.0.parse().ok()?)),
    }
}
