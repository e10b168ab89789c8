//! A breed by itself.

use super::Issue;
use crate::{
    Breed, OrReference,
    value::{self, Part, TraitGroup},
};

pub(crate) fn breed(breed: &Breed) -> Vec<Issue> {
    let mut issues = Vec::new();
    let ports = breed.ports.iter().map(|(name, port)| ("ports", name, &port.text));
    let variables = breed
        .environment_variables
        .iter()
        .filter_map(|(name, variable)| Some(("environment_variables", name, variable.value.as_ref()?)));
    let constants = breed
        .constants
        .iter()
        .map(|(name, value)| ("constants", name, value));
    for (group, name, text) in ports.chain(variables).chain(constants) {
        trait_value(breed, [group, name], text, &mut issues);
    }
    for (index, check) in breed.health_checks.iter().flatten().enumerate() {
        if !breed.ports.contains_key(&check.port) {
            issues.push(unknown_check_port(
                ["health_checks", &index.to_string(), "port"],
                &check.port,
                breed.ports.keys().map(String::as_str),
            ));
        }
    }
    for (alias, dependency) in &breed.dependencies {
        if leads_to(dependency, &breed.name) {
            issues.push(Issue::new(
                "RecursiveDependenciesError",
                ["dependencies", alias],
                format!("the breed `{}` depends on itself", breed.name),
            ));
        }
    }
    issues
}

/// The check of a port that is not there.
pub(super) fn unknown_check_port<'a, const N: usize>(
    path: [&str; N],
    port: &str,
    known: impl Iterator<Item = &'a str>,
) -> Issue {
    let issue = Issue::new(
        "UnresolvedPortReferenceError",
        path,
        format!("there is no port `{port}`"),
    );
    hint_known(issue, "ports", known)
}

/// Adds what there is.
pub(super) fn hint_known<'a>(issue: Issue, what: &str, known: impl Iterator<Item = &'a str>) -> Issue {
    const NAMES_MAX: usize = 8;
    let names: Vec<&str> = known.take(NAMES_MAX).collect();
    match names.is_empty() {
        true => issue,
        false => issue.hint(format!("{what}: {}", names.join(", "))),
    }
}

fn trait_value(breed: &Breed, path: [&str; 2], text: &str, issues: &mut Vec<Issue>) {
    let parts = match value::parse(text) {
        Ok(parts) => parts,
        Err(error) => {
            issues.push(Issue::new("ParserError", path, error.message));
            return;
        }
    };
    for part in parts {
        let (alias, wanted) = match &part {
            Part::Host(alias) => (alias, None),
            Part::Trait { cluster, group, name } => (cluster, Some((*group, name))),
            _ => continue,
        };
        match (breed.dependencies.get(alias), wanted) {
            (None, _) => issues.push(hint_known(
                Issue::new(
                    "UnresolvedDependencyInTraitValueError",
                    path,
                    format!("`{alias}` is not a dependency of the breed"),
                ),
                "dependencies",
                breed.dependencies.keys().map(String::as_str),
            )),
            (Some(OrReference::Inline(dependency)), Some((group, name)))
                if !has_trait(dependency, group, name) =>
            {
                issues.push(Issue::new(
                    "UnresolvedDependencyInTraitValueError",
                    path,
                    format!("the breed `{}` has no `{group}.{name}`", dependency.name),
                ));
            }
            _ => {}
        }
    }
}

/// Whether a breed declares the trait; every cluster has a host.
fn has_trait(breed: &Breed, group: TraitGroup, name: &str) -> bool {
    match group {
        TraitGroup::Ports => breed.ports.contains_key(name),
        TraitGroup::EnvironmentVariables => breed.environment_variables.contains_key(name),
        TraitGroup::Constants => breed.constants.contains_key(name),
        TraitGroup::Hosts => name == "host",
    }
}

/// Whether following inline dependencies comes to that breed. As deep as documents nest.
fn leads_to(dependency: &OrReference<Box<Breed>>, name: &str) -> bool {
    match dependency {
        OrReference::Reference(reference) => reference == name,
        OrReference::Inline(breed) => {
            breed.name == name || breed.dependencies.values().any(|next| leads_to(next, name))
        }
    }
}
