//! Conditions on the request path: a [`weir_model::Condition`] flattened to a chain of tests.
//!
//! **Job.** Say whether a request is one that a route wants, from the parsed head as it lies in the buffer.
//!
//! **Invariants.** [`Compiled::matches`] allocates nothing and ends: every jump leads forward, and tests,
//! patterns and the head are bounded. Values are compared as sent: no percent-decoding, as in
//! HAProxy. A fetch that gives several values (a header sent twice) matches if one of them does; a negated
//! test matches if none does.
//!
//! **Absent.** No parsing of conditions (`weir-model` does that) and no choice among routes.

pub(crate) mod sample;
mod test;
#[cfg(test)]
mod tests;
mod value;

use std::net::IpAddr;

use weir_model::condition::Expression;

use self::test::Test;

/// What a condition may look at. Implemented by each protocol's parsed head.
pub trait RequestView {
    /// The method as sent.
    fn method(&self) -> &[u8];

    /// The request target as sent (origin-form or absolute-form).
    fn target(&self) -> &[u8];

    /// How many header lines there are.
    fn header_count(&self) -> usize;

    /// Name (any case) and value of the header at `index`, which is below [`RequestView::header_count`].
    fn header(&self, index: usize) -> (&[u8], &[u8]);

    /// The client's address.
    fn source(&self) -> IpAddr;

    /// The address at which the request arrived.
    fn destination(&self) -> IpAddr;

    /// The port on which the request arrived.
    fn destination_port(&self) -> u16;
}

/// The names of a request's headers, as a set that may hold too many: 64 bits, one for each value of a small
/// hash over length, first and last letter. One look at the headers serves every condition of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names(u64);

impl Names {
    /// Those of this request.
    pub fn of(request: &impl RequestView) -> Self {
        Self((0..request.header_count()).fold(0, |names, index| names | Self::one(request.header(index).0).0))
    }

    fn one(name: &[u8]) -> Self {
        let letter =
            |letter: Option<&u8>| letter.map_or(0, |letter| usize::from(letter.to_ascii_lowercase()));
        let hash = name.len().wrapping_mul(7) ^ letter(name.first()).wrapping_mul(5) ^ letter(name.last());
        Self(1 << (hash % 64))
    }

    /// `false`: certainly not.
    fn may_have(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }
}

/// A condition ready for the request path.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// In order of evaluation; every jump leads to a later step or out.
    steps: Box<[Step]>,
    /// Where evaluation begins; not a step only if the condition is constant.
    start: Jump,
}

/// A test, and where each answer leads. Negation is folded into the jumps.
#[derive(Clone, Debug)]
struct Step {
    test: Test,
    if_true: Jump,
    if_false: Jump,
}

/// Index of a step, or one of the two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jump(u32);

impl Jump {
    const MATCH: Self = Self(u32::MAX);
    const NO_MATCH: Self = Self(u32::MAX - 1);
}

impl Compiled {
    /// Flattens a condition. Its cost is of the order of the condition's length.
    pub fn new(condition: &weir_model::Condition) -> Self {
        Self::of(condition.expression())
    }

    /// As [`Compiled::new`], of what a condition means.
    pub(crate) fn of(expression: &Expression) -> Self {
        let mut steps = Vec::new();
        let start = emit(expression, Jump::MATCH, Jump::NO_MATCH, &mut steps);
        // Steps were emitted last first, since a step must know where it leads.
        let last = u32::try_from(steps.len()).map_or(0, |count| count.saturating_sub(1));
        let turned = |jump: Jump| match jump {
            Jump::MATCH | Jump::NO_MATCH => jump,
            Jump(index) => Jump(last - index),
        };
        for step in &mut steps {
            step.if_true = turned(step.if_true);
            step.if_false = turned(step.if_false);
        }
        steps.reverse();
        Self {
            steps: steps.into_boxed_slice(),
            start: turned(start),
        }
    }

    /// Whether the request is meant.
    pub fn matches(&self, request: &impl RequestView) -> bool {
        self.matches_among(request, Names::of(request))
    }

    /// As [`Compiled::matches`], where `names` are those of this very request.
    pub fn matches_among(&self, request: &impl RequestView, names: Names) -> bool {
        let mut at = self.start;
        while let Some(step) = self.steps.get(at.0 as usize) {
            at = if step.test.holds(request, names) {
                step.if_true
            } else {
                step.if_false
            };
        }
        at == Jump::MATCH
    }
}

/// Appends the steps of `expression` in reverse order of evaluation; returns where evaluation begins.
fn emit(expression: &Expression, if_true: Jump, if_false: Jump, steps: &mut Vec<Step>) -> Jump {
    match expression {
        Expression::All(parts) => parts
            .iter()
            .rev()
            .fold(if_true, |next, part| emit(part, next, if_false, steps)),
        Expression::Any(parts) => parts
            .iter()
            .rev()
            .fold(if_false, |next, part| emit(part, if_true, next, steps)),
        Expression::Not(inner) => emit(inner, if_false, if_true, steps),
        Expression::Test(test) => {
            let index = u32::try_from(steps.len()).expect("a condition has at most 256 tests");
            steps.push(Step {
                test: Test::new(test),
                if_true,
                if_false,
            });
            Jump(index)
        }
    }
}
