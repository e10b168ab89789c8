//! Answers by version.

use std::collections::BTreeMap;

/// What became of some requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Good answers by version.
    pub(crate) versions: BTreeMap<String, u64>,
    /// Requests without a good answer.
    pub(crate) failed: u64,
    /// The first reason.
    pub(crate) reason: Option<String>,
}

impl Counts {
    /// A good answer.
    pub(crate) fn answer(&mut self, version: &str) {
        *self.versions.entry(version.to_owned()).or_default() += 1;
    }

    /// No good answer.
    pub(crate) fn failure(&mut self, reason: String) {
        self.failed += 1;
        self.reason.get_or_insert(reason);
    }

    /// Adds others.
    pub(crate) fn add(&mut self, other: &Self) {
        for (version, count) in &other.versions {
            *self.versions.entry(version.clone()).or_default() += count;
        }
        self.failed += other.failed;
        if self.reason.is_none() {
            self.reason.clone_from(&other.reason);
        }
    }

    /// Answers of one version.
    pub(crate) fn of(&self, version: &str) -> u64 {
        self.versions.get(version).copied().unwrap_or(0)
    }

    /// All requests.
    pub(crate) fn total(&self) -> u64 {
        self.versions.values().sum::<u64>() + self.failed
    }

    /// `demo:1 40, demo:2 10, failed 0`.
    pub(crate) fn sentence(&self) -> String {
        let mut text: Vec<String> = self
            .versions
            .iter()
            .map(|(version, count)| format!("demo:{version} {count}"))
            .collect();
        text.push(format!("failed {}", self.failed));
        text.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn adds_up() {
        let mut counts = Counts::default();
        counts.answer("1");
        counts.answer("1");
        counts.answer("2");
        let mut all = Counts::default();
        all.failure("refused".to_owned());
        all.add(&counts);
        all.add(&counts);
        assert_eq!((all.of("1"), all.of("2"), all.of("3"), all.total()), (4, 2, 0, 7));
        assert_eq!(all.sentence(), "demo:1 4, demo:2 2, failed 1");
        assert_eq!(all.reason.as_deref(), Some("refused"));
    }
}
