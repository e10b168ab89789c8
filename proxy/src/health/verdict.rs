//! What a row of checks says.

/// What is known of an instance by its checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    well: Option<bool>,
    /// Checks in a row that contradict it.
    against: u32,
}

/// What a check changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Well,
    Ill,
}

impl Verdict {
    /// What is known from before.
    pub(super) fn known(well: Option<bool>) -> Self {
        Self { well, against: 0 }
    }

    /// `None`: nothing is known, so it takes requests.
    pub(super) fn well(self) -> Option<bool> {
        self.well
    }

    /// Takes in one more check. From the unknown a single success leads to well, but ill needs `fall` failures: a new
    /// instance is given the time to begin.
    pub(super) fn take(&mut self, success: bool, rise: u32, fall: u32) -> Change {
        if self.well == Some(success) {
            self.against = 0;
            return Change::None;
        }
        self.against = self.against.saturating_add(1);
        let needed = match (self.well, success) {
            (None, true) => 1,
            (_, true) => rise,
            (_, false) => fall,
        };
        if self.against < needed.max(1) {
            return Change::None;
        }
        let is_first = self.well.is_none();
        self.well = Some(success);
        self.against = 0;
        match (is_first, success) {
            // Nothing to tell: it was taken for well all the time.
            (true, true) => Change::None,
            (false, true) => Change::Well,
            (_, false) => Change::Ill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Verdict};

    fn after(checks: &str) -> (Option<bool>, Change) {
        let mut verdict = Verdict::default();
        let mut last = Change::None;
        for check in checks.chars() {
            last = verdict.take(check == '+', 2, 3);
        }
        (verdict.well(), last)
    }

    #[test]
    fn it_takes_three_failures_in_a_row_to_fall_and_two_successes_to_rise() {
        assert_eq!(after(""), (None, Change::None));
        assert_eq!(after("+"), (Some(true), Change::None));
        assert_eq!(after("--"), (None, Change::None));
        assert_eq!(after("---"), (Some(false), Change::Ill));
        assert_eq!(after("+--+--"), (Some(true), Change::None));
        assert_eq!(after("+---"), (Some(false), Change::Ill));
        assert_eq!(after("+---+-+"), (Some(false), Change::None));
        assert_eq!(after("+---++"), (Some(true), Change::Well));
        assert_eq!(after("+----"), (Some(false), Change::None));
    }

    #[test]
    fn zero_counts_as_one() {
        let mut verdict = Verdict::default();
        assert_eq!(verdict.take(false, 0, 0), Change::Ill);
        assert_eq!(verdict.take(true, 0, 0), Change::Well);
    }
}
