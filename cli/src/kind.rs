//! The kinds of artifacts, singular or plural.

use std::{fmt, str::FromStr};

use weir_artifact::read::Request;

/// A kind of artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Breeds,
    Blueprints,
    Slas,
    Scales,
    Escalations,
    Routes,
    Conditions,
    Rewrites,
    Workflows,
    Gateways,
    Deployments,
    Templates,
}

/// Every kind: plural (the path), singular.
const ALL: [(Kind, &str, &str); 12] = [
    (Kind::Breeds, "breeds", "breed"),
    (Kind::Blueprints, "blueprints", "blueprint"),
    (Kind::Slas, "slas", "sla"),
    (Kind::Scales, "scales", "scale"),
    (Kind::Escalations, "escalations", "escalation"),
    (Kind::Routes, "routes", "route"),
    (Kind::Conditions, "conditions", "condition"),
    (Kind::Rewrites, "rewrites", "rewrite"),
    (Kind::Workflows, "workflows", "workflow"),
    (Kind::Gateways, "gateways", "gateway"),
    (Kind::Deployments, "deployments", "deployment"),
    (Kind::Templates, "templates", "template"),
];

impl Kind {
    fn names(self) -> (&'static str, &'static str) {
        ALL.iter()
            .find(|(kind, ..)| *kind == self)
            .map_or(("", ""), |(_, plural, singular)| (plural, singular))
    }

    /// As in paths.
    pub(crate) fn plural(self) -> &'static str {
        self.names().0
    }

    /// As in sentences.
    pub(crate) fn singular(self) -> &'static str {
        self.names().1
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())
    }
}

/// Also takes the older word `filter` for a condition (Vamp's command line, §1).
impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.to_ascii_lowercase();
        let word = match word.as_str() {
            "filter" | "filters" => "conditions",
            word => word,
        };
        ALL.iter()
            .find(|(_, plural, singular)| word == *plural || word == *singular)
            .map(|(kind, ..)| *kind)
            .ok_or_else(|| {
                let known: Vec<&str> = ALL.iter().map(|(_, plural, _)| *plural).collect();
                format!(
                    "there is no kind `{text}`; the kinds are {} (singular or plural)",
                    known.join(", ")
                )
            })
    }
}

/// Kind and name of every document of a text, in order: what the server will be asked about.
///
/// # Errors
/// Every problem of every document.
pub(crate) fn named(text: &str) -> Result<Vec<(Kind, String)>, Vec<weir_artifact::Problem>> {
    let requests = weir_artifact::read::requests(text)?;
    Ok(requests
        .into_iter()
        .map(|request| match request {
            Request::Artifact(artifact) => (Kind::from(artifact.kind()), artifact.name().to_owned()),
            Request::Deploy(name, _) => (Kind::Deployments, name),
        })
        .collect())
}

impl From<weir_artifact::Kind> for Kind {
    fn from(kind: weir_artifact::Kind) -> Self {
        match kind {
            weir_artifact::Kind::Breed => Self::Breeds,
            weir_artifact::Kind::Blueprint => Self::Blueprints,
            weir_artifact::Kind::Sla => Self::Slas,
            weir_artifact::Kind::Scale => Self::Scales,
            weir_artifact::Kind::Escalation => Self::Escalations,
            weir_artifact::Kind::Route => Self::Routes,
            weir_artifact::Kind::Condition => Self::Conditions,
            weir_artifact::Kind::Rewrite => Self::Rewrites,
            weir_artifact::Kind::Workflow => Self::Workflows,
            weir_artifact::Kind::Gateway => Self::Gateways,
            weir_artifact::Kind::Deployment => Self::Deployments,
            weir_artifact::Kind::Template => Self::Templates,
        }
    }
}

impl From<Kind> for weir_artifact::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Breeds => Self::Breed,
            Kind::Blueprints => Self::Blueprint,
            Kind::Slas => Self::Sla,
            Kind::Scales => Self::Scale,
            Kind::Escalations => Self::Escalation,
            Kind::Routes => Self::Route,
            Kind::Conditions => Self::Condition,
            Kind::Rewrites => Self::Rewrite,
            Kind::Workflows => Self::Workflow,
            Kind::Gateways => Self::Gateway,
            Kind::Deployments => Self::Deployment,
            Kind::Templates => Self::Template,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn singular_and_plural_are_the_same() {
        assert_eq!("gateway".parse(), Ok(Kind::Gateways));
        assert_eq!("Gateways".parse(), Ok(Kind::Gateways));
        assert_eq!("sla".parse(), Ok(Kind::Slas));
        assert_eq!("filter".parse(), Ok(Kind::Conditions));
        assert!("gate".parse::<Kind>().is_err());
        assert_eq!(Kind::Slas.singular(), "sla");
    }
}
