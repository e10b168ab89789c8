//! Where the problems of a document gather.

use std::cell::{Cell, RefCell};

use crate::{Problem, prove};

/// Most problems that one document is told about.
const PROBLEMS_MAX: usize = 200;

/// Where problems gather.
#[derive(Debug)]
pub(super) struct Sink {
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    /// Without the checks across fields.
    pub(super) unchecked: bool,
    /// The document lacks what could not be imported: what is missing may be there, and checks across fields
    /// would go astray.
    partial: Cell<bool>,
    lost: Cell<usize>,
    /// Left for proofs.
    pub(super) steps: Cell<u64>,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            problems: RefCell::default(),
            warnings: RefCell::default(),
            unchecked: false,
            partial: Cell::default(),
            lost: Cell::default(),
            steps: Cell::new(prove::STEPS_MAX),
        }
    }
}

impl Sink {
    /// For what was checked before it was stored.
    pub(super) fn unchecked() -> Self {
        Self {
            unchecked: true,
            ..Self::default()
        }
    }

    /// Whether the document that is read from now on lacks something.
    pub(super) fn set_partial(&self, partial: bool) {
        self.partial.set(partial);
    }

    /// Whether checks across fields make sense.
    pub(super) fn checks(&self) -> bool {
        !self.unchecked && !self.partial.get()
    }

    /// How many problems there are.
    pub(super) fn count(&self) -> usize {
        self.problems.borrow().len() + self.lost.get()
    }

    pub(super) fn push(&self, problem: Problem) {
        if self.partial.get() && is_of_absence(problem.code) {
            return;
        }
        if self.is_full() {
            self.skip();
        } else {
            self.problems.borrow_mut().push(problem);
        }
    }

    /// One more that is not listed.
    pub(super) fn skip(&self) {
        self.lost.set(self.lost.get() + 1);
    }

    pub(super) fn is_full(&self) -> bool {
        self.problems.borrow().len() >= PROBLEMS_MAX
    }

    /// Notes a warning; those beyond the bound are not told.
    pub(super) fn warn(&self, warning: Problem) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < PROBLEMS_MAX {
            warnings.push(warning);
        }
    }

    /// Whether something at or under the path is wrong.
    pub(super) fn wrong_under(&self, path: &str) -> bool {
        self.problems.borrow().iter().any(|problem| {
            path == "/"
                || problem
                    .path
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The problems and the warnings, each in the order of the text.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        let mut warnings = self.warnings.take();
        warnings.sort_by_key(|warning| warning.position);
        (self.into_problems(), warnings)
    }

    /// The problems in the order of the text.
    fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.position);
        if self.lost.get() > 0
            && let Some(last) = problems.last_mut()
        {
            last.hint = Some(format!("{} more problems are not listed", self.lost.get()));
        }
        problems
    }
}

/// Whether a problem is that something is not there.
fn is_of_absence(code: &str) -> bool {
    code.starts_with("Missing") || matches!(code, "NoServiceError" | "UndefinedWorkflowScheduleError")
}
