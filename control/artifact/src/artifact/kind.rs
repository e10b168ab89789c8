//! The kinds of artifacts and their words.

use std::fmt;

/// The kinds of artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `breeds`
    Breed,
    /// `blueprints`
    Blueprint,
    /// `slas`
    Sla,
    /// `scales`
    Scale,
    /// `escalations`
    Escalation,
    /// `routes`
    Route,
    /// `conditions`
    Condition,
    /// `rewrites`
    Rewrite,
    /// `workflows`
    Workflow,
    /// `gateways`
    Gateway,
    /// `deployments`
    Deployment,
    /// `templates`
    Template,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::Breed,
        Self::Blueprint,
        Self::Sla,
        Self::Scale,
        Self::Escalation,
        Self::Route,
        Self::Condition,
        Self::Rewrite,
        Self::Workflow,
        Self::Gateway,
        Self::Deployment,
        Self::Template,
    ];

    /// `breed`, as documents say it.
    pub const fn singular(self) -> &'static str {
        match self {
            Self::Breed => "breed",
            Self::Blueprint => "blueprint",
            Self::Sla => "sla",
            Self::Scale => "scale",
            Self::Escalation => "escalation",
            Self::Route => "route",
            Self::Condition => "condition",
            Self::Rewrite => "rewrite",
            Self::Workflow => "workflow",
            Self::Gateway => "gateway",
            Self::Deployment => "deployment",
            Self::Template => "template",
        }
    }

    /// `breeds`, as the paths of the API say it.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Breed => "breeds",
            Self::Blueprint => "blueprints",
            Self::Sla => "slas",
            Self::Scale => "scales",
            Self::Escalation => "escalations",
            Self::Route => "routes",
            Self::Condition => "conditions",
            Self::Rewrite => "rewrites",
            Self::Workflow => "workflows",
            Self::Gateway => "gateways",
            Self::Deployment => "deployments",
            Self::Template => "templates",
        }
    }

    /// The kind of a path of the API; `None` for words that are not a kind.
    pub fn from_plural(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural() == word)
    }

    /// The kind of a document's `kind`, singular or plural.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.singular() == word || kind.plural() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.singular())
    }
}
