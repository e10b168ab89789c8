//! A workflow by itself.

use super::{Issue, cluster::use_of_breed};
use crate::{OrReference, Workflow, value};

pub(crate) fn workflow(workflow: &Workflow) -> Vec<Issue> {
    let mut issues = match &workflow.breed {
        OrReference::Inline(breed) => use_of_breed(
            breed,
            &workflow.environment_variables,
            workflow.health_checks.as_deref(),
        ),
        // With a referenced breed any name is allowed: what it has is known when the workflow is run.
        OrReference::Reference(_) => Vec::new(),
    };
    for (name, text) in &workflow.environment_variables {
        if let Some(Err(error)) = text.as_deref().map(value::parse) {
            let path = ["environment_variables", name.as_str()];
            issues.push(Issue::new("ParserError", path, error.message));
        }
    }
    issues
}
