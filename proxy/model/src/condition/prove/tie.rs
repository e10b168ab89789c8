//! What tests say of each other.

use std::net::IpAddr;

use super::{PATTERNS_MAX, size, text::Text};
use crate::condition::{Fetch, Matcher, Test};

/// What the truth of one test says of another.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tie {
    /// If one is true, so is the other.
    pub(super) implies: bool,
    /// They are not both true.
    pub(super) excludes: bool,
    /// One of them is true.
    pub(super) covers: bool,
}

/// Whether a request has at most one value of it.
fn is_single(fetch: &Fetch) -> bool {
    match fetch {
        Fetch::Method
        | Fetch::Path
        | Fetch::Url
        | Fetch::Query
        | Fetch::Source
        | Fetch::Destination
        | Fetch::DestinationPort
        | Fetch::HeaderCount(_)
        | Fetch::FullHeaderCount(_)
        | Fetch::CookieCount(_) => true,
        // A request with two is refused.
        Fetch::FullHeader(name) => name == "host",
        Fetch::UrlParameter(_) | Fetch::Header(_) | Fetch::Cookie(_) => false,
    }
}

/// The numbers that a fetch can give, if it always gives one.
fn domain(fetch: &Fetch) -> Option<(i64, i64)> {
    match fetch {
        Fetch::HeaderCount(_) | Fetch::FullHeaderCount(_) | Fetch::CookieCount(_) => Some((0, i64::MAX)),
        Fetch::DestinationPort => Some((0, i64::from(u16::MAX))),
        _ => None,
    }
}

/// What a test says of whether something is there at all: a header, or a cookie, by name.
fn presence(test: &Test) -> Option<(bool, &str, Option<bool>)> {
    let counted = || match &test.matcher {
        Matcher::Integer(ranges) => {
            let holds = |number: i64| ranges.iter().any(|(low, high)| (*low..=*high).contains(&number));
            let beyond = ranges.iter().any(|(_, high)| *high > 0);
            match (holds(0), beyond) {
                // True only if there is some.
                (false, _) => Some(true),
                // True only if there is none.
                (true, false) => Some(false),
                (true, true) => None,
            }
        }
        _ => None,
    };
    match &test.fetch {
        Fetch::Header(name) | Fetch::FullHeader(name) => Some((true, name, Some(true))),
        Fetch::Cookie(name) => Some((false, name, Some(true))),
        Fetch::HeaderCount(name) | Fetch::FullHeaderCount(name) => Some((true, name, counted())),
        Fetch::CookieCount(name) => Some((false, name, counted())),
        _ => None,
    }
}

/// Whether the test is true whenever the thing is there, or whenever it is not.
fn exact_presence(test: &Test) -> Option<bool> {
    match (&test.fetch, &test.matcher) {
        (Fetch::Header(_) | Fetch::FullHeader(_) | Fetch::Cookie(_), Matcher::Found) => Some(true),
        (
            Fetch::HeaderCount(_) | Fetch::FullHeaderCount(_) | Fetch::CookieCount(_),
            Matcher::Integer(ranges),
        ) => {
            let ranges = joined(ranges);
            match ranges.as_slice() {
                [(..=1, i64::MAX)] if !covers(&ranges, 0) => Some(true),
                [(..=0, 0)] => Some(false),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What one test says of another.
pub(super) fn tie(one: &Test, other: &Test) -> Tie {
    let mut tie = Tie::default();
    if let (Some((is_header, name, says)), Some((other_is_header, other_name, other_says))) =
        (presence(one), presence(other))
        && is_header == other_is_header
        && name == other_name
    {
        // Lines that a list has no items of still count, so headers are there either way.
        if let (Some(says), Some(exact)) = (says, exact_presence(other)) {
            tie.implies |= says == exact;
        }
        if let (Some(says), Some(other_says)) = (says, other_says) {
            tie.excludes |= says != other_says;
        }
        if let (Some(exact), Some(other_exact)) = (exact_presence(one), exact_presence(other)) {
            tie.covers |= exact != other_exact;
        }
    }
    if one.fetch != other.fetch {
        return tie;
    }
    if size(one) <= PATTERNS_MAX && size(other) <= PATTERNS_MAX {
        tie.implies |= within(&one.matcher, &other.matcher);
        tie.excludes |= is_single(&one.fetch) && apart(&one.matcher, &other.matcher);
    }
    if let (Some((low, high)), Matcher::Integer(ranges), Matcher::Integer(other_ranges)) =
        (domain(&one.fetch), &one.matcher, &other.matcher)
    {
        let mut all = ranges.clone();
        all.extend(other_ranges);
        tie.covers |= joined(&all).iter().any(|(l, h)| *l <= low && *h >= high);
        // With itself: it cannot be true.
        let possible = |ranges: &[(i64, i64)]| ranges.iter().any(|(l, h)| *l <= high && *h >= low);
        tie.excludes |= !possible(ranges) || !possible(other_ranges);
    }
    if is_empty(&one.matcher) || is_empty(&other.matcher) {
        tie.excludes = true;
    }
    tie
}

/// No value is like that.
fn is_empty(matcher: &Matcher) -> bool {
    match matcher {
        Matcher::Integer(ranges) => ranges.is_empty(),
        Matcher::Length(ranges) => !ranges.iter().any(|(_, high)| *high >= 0),
        _ => false,
    }
}

/// Ranges in order that do not touch each other.
fn joined(ranges: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (low, high) in sorted {
        match joined.last_mut() {
            Some((_, end)) if low <= end.saturating_add(1) => *end = (*end).max(high),
            _ => joined.push((low, high)),
        }
    }
    joined
}

pub(super) fn covers(ranges: &[(i64, i64)], number: i64) -> bool {
    ranges.iter().any(|(low, high)| (*low..=*high).contains(&number))
}

pub(super) fn ranges_within(ranges: &[(i64, i64)], others: &[(i64, i64)]) -> bool {
    let others = joined(others);
    joined(ranges)
        .iter()
        .all(|(low, high)| others.iter().any(|(l, h)| l <= low && h >= high))
}

pub(super) fn ranges_apart(ranges: &[(i64, i64)], others: &[(i64, i64)]) -> bool {
    ranges
        .iter()
        .all(|(low, high)| others.iter().all(|(l, h)| h < low || l > high))
}

/// Every value that fits the first fits the second; `false` if that is not known.
fn within(one: &Matcher, other: &Matcher) -> bool {
    match (one, other) {
        (_, Matcher::Found) => true,
        (Matcher::Integer(ranges), Matcher::Integer(others))
        | (Matcher::Length(ranges), Matcher::Length(others)) => ranges_within(ranges, others),
        (Matcher::Network(networks), Matcher::Network(others)) => networks
            .iter()
            .all(|network| others.iter().any(|other| contains(other, network))),
        (Matcher::Regex(expressions), Matcher::Regex(others)) => expressions
            .iter()
            .all(|one| others.iter().any(|other| one.as_str() == other.as_str())),
        (Matcher::Text { patterns, .. }, _) => {
            let texts = || patterns.iter().filter_map(|pattern| Text::of(one, pattern));
            texts().count() == patterns.len() && texts().all(|text| text.is_within(other))
        }
        _ => false,
    }
}

/// No value fits both; `false` if that is not known.
fn apart(one: &Matcher, other: &Matcher) -> bool {
    match (one, other) {
        (Matcher::Integer(ranges), Matcher::Integer(others))
        | (Matcher::Length(ranges), Matcher::Length(others)) => ranges_apart(ranges, others),
        (Matcher::Network(networks), Matcher::Network(others)) => networks.iter().all(|network| {
            others
                .iter()
                .all(|other| !contains(other, network) && !contains(network, other))
        }),
        (Matcher::Text { patterns, .. }, _) if patterns_apart(one, patterns, other) => true,
        (_, Matcher::Text { patterns, .. }) => patterns_apart(other, patterns, one),
        _ => false,
    }
}

fn patterns_apart(own: &Matcher, patterns: &[String], other: &Matcher) -> bool {
    patterns
        .iter()
        .all(|pattern| Text::of(own, pattern).is_some_and(|text| text.is_apart(other)))
}

fn contains((outer, bits): &(IpAddr, u8), (inner, inner_bits): &(IpAddr, u8)) -> bool {
    let same = |one: u128, other: u128, width: u8| {
        let free = u32::from(width.saturating_sub(*bits));
        one.checked_shr(free).unwrap_or(0) == other.checked_shr(free).unwrap_or(0)
    };
    bits <= inner_bits
        && match (outer, inner) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                same(u128::from(one.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
            _ => false,
        }
}
