//! What can be said of conditions without a request: that none can match, that one covers another.
//!
//! **Job.** Whether requests exist that match some conditions and not others. Tests are taken as letters of logic, bound
//! by what is known of their values: `path_beg /a/b` implies `path_beg /a`, a request has one method, a count is no number
//! below 0. Truth is searched by trying, with early ends.
//!
//! **Invariants.** "No" is certain. "Yes" is right but for connections between tests that are not known here (a regular
//! expression against a text). Work is bounded by the steps that the caller gives; beyond them the answer is "not known".
//!
//! **Absent.** No minimisation, no rewriting of conditions.

use std::{cell::Cell, net::IpAddr};

use super::{Expression, Fetch, Matcher, Test, TextMatch};

/// Most distinct tests in one question.
const TESTS_MAX: usize = 48;
/// Most patterns of a test that are compared with those of another.
const PATTERNS_MAX: usize = 16;

/// Answers questions about conditions, within a number of steps.
#[derive(Debug)]
pub struct Prover<'s> {
    steps: &'s Cell<u64>,
}

impl<'s> Prover<'s> {
    /// A prover that takes its steps from there; a step is about 100 ns.
    pub fn new(steps: &'s Cell<u64>) -> Self {
        Self { steps }
    }

    /// Whether there is a request that matches every one of these conditions (`true`) and none of those
    /// (`false`); `None`: not known.
    pub fn possible(&self, wanted: &[(&Expression, bool)]) -> Option<bool> {
        let mut tests = Vec::new();
        // What must be true says most, so it is tried first.
        for (expression, _) in wanted.iter().filter(|(_, truth)| *truth) {
            collect(expression, &mut tests);
        }
        for (expression, _) in wanted.iter().filter(|(_, truth)| !*truth) {
            collect(expression, &mut tests);
        }
        if tests.len() > TESTS_MAX {
            return None;
        }
        let forms = wanted
            .iter()
            .map(|(expression, truth)| (form(expression, &tests), *truth))
            .collect();
        let mut search = Search {
            prover: self,
            ties: self.ties(&tests)?,
            forms,
            values: vec![None; tests.len()],
        };
        search.from(0)
    }

    /// Whether no request can match.
    pub fn never(&self, condition: &Expression) -> bool {
        self.possible(&[(condition, true)]) == Some(false)
    }

    /// Whether every request matches.
    pub fn always(&self, condition: &Expression) -> bool {
        self.possible(&[(condition, false)]) == Some(false)
    }

    fn step(&self, count: usize) -> Option<()> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.steps.set(self.steps.get().checked_sub(count)?);
        Some(())
    }

    /// What each test tells of each other.
    fn ties(&self, tests: &[&Test]) -> Option<Vec<Vec<Tie>>> {
        tests
            .iter()
            .map(|one| {
                tests
                    .iter()
                    .map(|other| {
                        self.step(1 + size(one).min(PATTERNS_MAX) * size(other).min(PATTERNS_MAX) / 4)?;
                        Some(tie(one, other))
                    })
                    .collect()
            })
            .collect()
    }
}

/// What the truth of one test says of another.
#[derive(Clone, Copy, Debug, Default)]
struct Tie {
    /// If one is true, so is the other.
    implies: bool,
    /// They are not both true.
    excludes: bool,
    /// One of them is true.
    covers: bool,
}

/// A condition over tests by number.
enum Form {
    All(Vec<Form>),
    Any(Vec<Form>),
    Not(Box<Form>),
    Test(usize),
}

fn key(test: &Test) -> String {
    test.to_string()
}

fn collect<'e>(expression: &'e Expression, tests: &mut Vec<&'e Test>) {
    match expression {
        Expression::All(parts) | Expression::Any(parts) => {
            parts.iter().for_each(|part| collect(part, tests));
        }
        Expression::Not(inner) => collect(inner, tests),
        Expression::Test(test) => {
            // Beyond the bound there is no answer anyhow.
            if tests.len() <= TESTS_MAX && !tests.iter().any(|known| same(known, test)) {
                tests.push(test);
            }
        }
    }
}

fn same(one: &Test, other: &Test) -> bool {
    one.fetch == other.fetch && key(one) == key(other)
}

fn form(expression: &Expression, tests: &[&Test]) -> Form {
    let forms = |parts: &[Expression]| parts.iter().map(|part| form(part, tests)).collect();
    match expression {
        Expression::All(parts) => Form::All(forms(parts)),
        Expression::Any(parts) => Form::Any(forms(parts)),
        Expression::Not(inner) => Form::Not(Box::new(form(inner, tests))),
        Expression::Test(test) => {
            let index = tests.iter().position(|known| same(known, test));
            Form::Test(index.unwrap_or(usize::MAX))
        }
    }
}

impl Form {
    /// Its truth, if what is decided so far tells it.
    fn truth(&self, values: &[Option<bool>]) -> Option<bool> {
        let decided = |parts: &[Self], ends: bool| {
            let mut truth = Some(!ends);
            for part in parts {
                match part.truth(values) {
                    Some(value) if value == ends => return Some(ends),
                    Some(_) => {}
                    None => truth = None,
                }
            }
            truth
        };
        match self {
            Self::All(parts) => decided(parts, false),
            Self::Any(parts) => decided(parts, true),
            Self::Not(inner) => inner.truth(values).map(|value| !value),
            Self::Test(index) => values.get(*index).copied().flatten(),
        }
    }
}

struct Search<'p, 's> {
    prover: &'p Prover<'s>,
    ties: Vec<Vec<Tie>>,
    forms: Vec<(Form, bool)>,
    values: Vec<Option<bool>>,
}

impl Search<'_, '_> {
    /// Whether what is decided can be completed, deciding test by test.
    fn from(&mut self, index: usize) -> Option<bool> {
        self.prover.step(1 + self.values.len() / 4)?;
        let mut open = false;
        for (form, wanted) in &self.forms {
            match form.truth(&self.values) {
                Some(truth) if truth != *wanted => return Some(false),
                Some(_) => {}
                None => open = true,
            }
        }
        // What is decided stands together, and the tests that are left are tied to it in ways that one truth
        // of each satisfies: to be sure they are decided as well, until none is left.
        if !open && index >= self.values.len() {
            return Some(true);
        }
        if index >= self.values.len() {
            return Some(false);
        }
        let mut known = true;
        for truth in [true, false] {
            if !self.fits(index, truth) {
                continue;
            }
            self.values[index] = Some(truth);
            let answer = self.from(index + 1);
            self.values[index] = None;
            match answer {
                Some(true) => return Some(true),
                Some(false) => {}
                None => known = false,
            }
        }
        known.then_some(false)
    }

    /// Whether a truth of one test goes with those that are decided, and with the test by itself.
    fn fits(&self, index: usize, truth: bool) -> bool {
        let tie = |one: usize, other: usize| {
            self.ties
                .get(one)
                .and_then(|row| row.get(other))
                .copied()
                .unwrap_or_default()
        };
        let own = tie(index, index);
        if (truth && own.excludes) || (!truth && own.covers) {
            return false;
        }
        self.values
            .iter()
            .enumerate()
            .filter_map(|(other, value)| Some((other, (*value)?)))
            .all(|(other, value)| {
                let (to, from) = (tie(index, other), tie(other, index));
                match (truth, value) {
                    (true, true) => !to.excludes,
                    (true, false) => !to.implies,
                    (false, true) => !from.implies,
                    (false, false) => !to.covers,
                }
            })
    }
}

fn size(test: &Test) -> usize {
    match &test.matcher {
        Matcher::Found => 1,
        Matcher::Text { patterns, .. } => patterns.len(),
        Matcher::Regex(patterns) => patterns.len(),
        Matcher::Integer(ranges) | Matcher::Length(ranges) => ranges.len(),
        Matcher::Network(networks) => networks.len(),
    }
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

fn tie(one: &Test, other: &Test) -> Tie {
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

fn covers(ranges: &[(i64, i64)], number: i64) -> bool {
    ranges.iter().any(|(low, high)| (*low..=*high).contains(&number))
}

fn ranges_within(ranges: &[(i64, i64)], others: &[(i64, i64)]) -> bool {
    let others = joined(others);
    joined(ranges)
        .iter()
        .all(|(low, high)| others.iter().any(|(l, h)| l <= low && h >= high))
}

fn ranges_apart(ranges: &[(i64, i64)], others: &[(i64, i64)]) -> bool {
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

/// One pattern of a test of texts.
struct Text<'p> {
    how: TextMatch,
    ignore_case: bool,
    pattern: &'p str,
}

impl<'p> Text<'p> {
    fn of(matcher: &Matcher, pattern: &'p str) -> Option<Self> {
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
    fn is_within(&self, other: &Matcher) -> bool {
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
    fn is_apart(&self, other: &Matcher) -> bool {
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
fn fits(text: &str, how: TextMatch, pattern: &str) -> bool {
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

#[cfg(test)]
mod tests;
