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

mod text;
mod tie;

use std::cell::Cell;

use self::tie::{Tie, tie};
use super::{Expression, Matcher, Test};

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

#[cfg(test)]
mod tests;
