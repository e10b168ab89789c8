//! Checks across fields (spec of the artifacts, §2, §5.3, §7): what no single value can tell.
//!
//! The readers run them and add places; control runs them again on what it has put together.

mod blueprint;
mod breed;
mod cluster;
mod gateway;
mod workflow;

use std::cell::Cell;

use weir_model::{Protocol, Sticky};

pub(crate) use self::{
    blueprint::blueprint as blueprint_issues, breed::breed as breed_issues,
    gateway::gateway as gateway_issues, workflow::workflow as workflow_issues,
};
use crate::{Blueprint, Breed, Gateway, OrReference, Problem, Route, Severity, Workflow, prove};

/// Parts per ten thousand that make the whole.
pub(crate) const WHOLE: u32 = 10_000;

/// How much of the truth a blueprint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything: dependencies and services of routes must be in it.
    Whole,
    /// A part that is merged into a deployment, which may hold the rest.
    Part,
}

/// What is wrong with a breed by itself.
pub fn breed(breed: &Breed) -> Vec<Problem> {
    problems(breed_issues(breed))
}

/// What is wrong with a blueprint by itself. Its inline breeds are checked as well.
pub fn blueprint(blueprint: &Blueprint, scope: Scope) -> Vec<Problem> {
    let mut issues = blueprint_issues(blueprint, scope);
    for (name, cluster) in &blueprint.clusters {
        for (index, service) in cluster.services.iter().enumerate() {
            if let OrReference::Inline(breed) = &service.breed {
                let path = ["clusters", name, "services", &index.to_string(), "breed"];
                issues.extend(breed_issues(breed).into_iter().map(|issue| issue.under(path)));
            }
        }
    }
    for gateway in &blueprint.gateways {
        let key = gateway.port.as_ref().map_or("", |port| port.text.as_str());
        issues.extend(
            gateway_issues(gateway)
                .into_iter()
                .map(|issue| issue.under(["gateways", key])),
        );
    }
    problems(issues)
}

/// What is wrong with a gateway by itself.
pub fn gateway(gateway: &Gateway) -> Vec<Problem> {
    problems(gateway_issues(gateway))
}

/// What is wrong with a workflow by itself. Its inline breed is checked as well.
pub fn workflow(workflow: &Workflow) -> Vec<Problem> {
    let mut issues = workflow_issues(workflow);
    if let OrReference::Inline(breed) = &workflow.breed {
        issues.extend(
            breed_issues(breed)
                .into_iter()
                .map(|issue| issue.under(["breed"])),
        );
    }
    problems(issues)
}

fn problems(issues: Vec<Issue>) -> Vec<Problem> {
    issues.into_iter().map(Problem::from).collect()
}

/// A problem with its place in the tree only.
#[derive(Debug)]
pub(crate) struct Issue {
    pub(crate) code: &'static str,
    pub(crate) path: Vec<String>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// What is allowed in a gateway but hardly meant: conditions that never match, or that those of other routes
/// leave nothing for. Of use where references are resolved; the readers tell the rest with its place
/// ([`crate::read::Read::warnings`]).
pub fn gateway_warnings(gateway: &Gateway) -> Vec<Problem> {
    let steps = Cell::new(prove::STEPS_MAX);
    let issues = prove::gateway(gateway, &steps);
    issues
        .into_iter()
        .map(|issue| Problem {
            severity: Severity::Warning,
            ..Problem::from(issue)
        })
        .collect()
}

impl Issue {
    pub(crate) fn new<const N: usize>(
        code: &'static str,
        path: [&str; N],
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            path: path.map(str::to_owned).to_vec(),
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn under<const N: usize>(mut self, path: [&str; N]) -> Self {
        self.path.splice(..0, path.map(str::to_owned));
        self
    }
}

impl From<Issue> for Problem {
    fn from(issue: Issue) -> Self {
        Self {
            severity: Severity::Error,
            code: issue.code,
            path: match issue.path.is_empty() {
                true => "/".to_owned(),
                false => issue.path.join("/"),
            },
            position: None,
            message: issue.message,
            hint: issue.hint,
        }
    }
}

/// `50%`, `33.33%`.
pub(crate) fn percent(parts: u32) -> String {
    match parts % 100 {
        0 => format!("{}%", parts / 100),
        rest => format!("{}.{rest:02}%", parts / 100),
    }
}

/// The total of the weights that are given; `None` if a route is a reference.
fn total_weight(gateway: &Gateway) -> Option<u32> {
    gateway
        .routes
        .values()
        .map(|route| match route {
            OrReference::Inline(route) => Some(route.weight.map_or(0, |weight| u32::from(weight.parts()))),
            OrReference::Reference(_) => None,
        })
        .sum()
}

/// What a gateway of that protocol cannot have.
fn protocol_issues(gateway: &Gateway, protocol: Protocol) -> Vec<Issue> {
    let mut issues: Vec<Issue> = gateway
        .routes
        .iter()
        .filter_map(|(path, route)| match route {
            OrReference::Inline(route) => {
                let (key, others) = route.options.misplaced(protocol)?;
                let message = format!("only routes of {others}");
                Some(Issue::new("OptionPortTypeError", ["routes", path, key], message))
            }
            OrReference::Reference(_) => None,
        })
        .collect();
    if protocol != Protocol::Tcp {
        return issues;
    }
    if gateway.sticky != Sticky::None {
        issues.push(Issue::new(
            "StickyPortTypeError",
            ["sticky"],
            "a tcp gateway cannot be sticky: stickiness is by cookie",
        ));
    }
    for (path, route) in &gateway.routes {
        if let OrReference::Inline(Route {
            condition: Some(_), ..
        }) = route
        {
            issues.push(Issue::new(
                "ConditionPortTypeError",
                ["routes", path, "condition"],
                "a tcp gateway cannot have conditions: they look at requests",
            ));
        }
    }
    issues
}
