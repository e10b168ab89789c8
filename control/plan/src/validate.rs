//! Problems of what was asked for.

use std::collections::BTreeMap;

use weir_artifact::{Breed, Deployment, Gateway, Intention, OrReference, Problem, Service};
use weir_model::{Protocol, Sticky};

/// A problem without a place in a text.
pub fn problem(code: &'static str, path: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem {
        severity: weir_artifact::Severity::Error,
        code,
        path: path.into(),
        position: None,
        message: message.into(),
        hint: None,
    }
}

pub(crate) fn hinted(mut problem: Problem, hint: impl Into<String>) -> Problem {
    problem.hint = Some(hint.into());
    problem
}

/// The breed of a deployment's service: those are in place (references were resolved before).
pub(crate) fn breed(service: &Service) -> Option<&Breed> {
    match &service.breed {
        OrReference::Inline(breed) => Some(breed),
        OrReference::Reference(_) => None,
    }
}

/// Whether a service of a deployment is wanted.
pub(crate) fn is_wanted(service: &Service) -> bool {
    service
        .runtime
        .as_ref()
        .is_none_or(|runtime| runtime.status.intention == Intention::Deployment)
}

/// Rules that hold for a deployment as a whole (core behaviour §3, step 8).
pub(crate) fn deployment(deployment: &Deployment, found: &mut Vec<Problem>) {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for (cluster_name, cluster) in &deployment.clusters {
        for service in cluster.services.iter().filter(|service| is_wanted(service)) {
            if let Some(other) = names.insert(service.name(), cluster_name) {
                found.push(problem(
                    "NonUniqueBreedReferenceError",
                    format!("clusters/{cluster_name}/services"),
                    format!(
                        "breed `{}` is used twice in the deployment, also in cluster `{other}`",
                        service.name()
                    ),
                ));
            }
            if let Some(breed) = breed(service) {
                service_variables(deployment, cluster_name, service, breed, found);
            }
        }
    }
    cycles(deployment, found);
    escalation_targets(deployment, found);
}

/// Escalations scale clusters that are there. Those that are references are looked at when they act.
fn escalation_targets(deployment: &Deployment, found: &mut Vec<Problem>) {
    for (cluster_name, cluster) in &deployment.clusters {
        let escalation = cluster.sla.as_ref().and_then(|sla| sla.escalation());
        let Some(OrReference::Inline(escalation)) = escalation else {
            continue;
        };
        for target in escalation.targets() {
            if !deployment.clusters.contains_key(target) {
                found.push(problem(
                    "UnresolvedScaleEscalationTargetCluster",
                    format!("clusters/{cluster_name}/sla/escalations"),
                    format!("an escalation scales cluster `{target}`, which the deployment does not have"),
                ));
            }
        }
    }
}

fn service_variables(
    deployment: &Deployment,
    cluster: &str,
    service: &Service,
    breed: &Breed,
    found: &mut Vec<Problem>,
) {
    let path = format!("clusters/{cluster}/services/{}/environment_variables", breed.name);
    for name in service.environment_variables.keys() {
        if !breed.environment_variables.contains_key(name) {
            found.push(problem(
                "UnresolvedDependencyInTraitValueError",
                format!("{path}/{name}"),
                format!("breed `{}` has no variable `{name}`", breed.name),
            ));
        }
    }
    for (name, variable) in &breed.environment_variables {
        let given = service
            .environment_variables
            .get(name)
            .is_some_and(Option::is_some)
            || deployment
                .environment_variables
                .get(&format!("{cluster}.{name}"))
                .is_some_and(Option::is_some)
            || variable.value.is_some();
        if !given {
            found.push(hinted(
                problem(
                    "UnresolvedVariableValueError",
                    format!("{path}/{name}"),
                    format!("variable `{name}` of breed `{}` has no value", breed.name),
                ),
                format!("give one in the service's environment_variables, or as `{cluster}.{name}` in those of the blueprint"),
            ));
        }
    }
    let values = breed
        .environment_variables
        .iter()
        .filter_map(|(name, variable)| Some((name, variable.value.as_ref()?)))
        .chain(
            service
                .environment_variables
                .iter()
                .filter_map(|(name, value)| Some((name, value.as_ref()?))),
        );
    for (name, value) in values {
        if let Err(error) = weir_artifact::value::parse(value) {
            found.push(problem(
                "ParserError",
                format!("{path}/{name}"),
                error.to_string(),
            ));
        }
    }
}

/// Whether a dependency's reference means this breed.
pub(crate) fn matches_dependency(reference: &str, breed: &str) -> bool {
    match reference.strip_suffix('*') {
        Some(prefix) => breed.starts_with(prefix),
        None => reference == breed,
    }
}

/// Name that a dependency asks for.
pub(crate) fn dependency_name(dependency: &OrReference<Box<Breed>>) -> &str {
    match dependency {
        OrReference::Reference(name) => name,
        OrReference::Inline(breed) => &breed.name,
    }
}

fn cycles(deployment: &Deployment, found: &mut Vec<Problem>) {
    let breeds: Vec<&Breed> = deployment
        .clusters
        .values()
        .flat_map(|cluster| &cluster.services)
        .filter(|service| is_wanted(service))
        .filter_map(breed)
        .collect();
    let needed_by = |breed: &Breed| -> Vec<usize> {
        let wanted: Vec<&str> = breed.dependencies.values().map(dependency_name).collect();
        let is_wanted = |other: &Breed| wanted.iter().any(|name| matches_dependency(name, &other.name));
        let others = breeds.iter().enumerate().filter(|(_, other)| is_wanted(other));
        others.map(|(index, _)| index).collect()
    };
    // Reachability from each service: a handful of services, so the plain way is good enough.
    for (start, breed) in breeds.iter().enumerate() {
        let mut seen = vec![false; breeds.len()];
        let mut open = needed_by(breed);
        while let Some(next) = open.pop() {
            if next == start {
                found.push(problem(
                    "RecursiveDependenciesError",
                    "clusters",
                    format!(
                        "breed `{}` depends on itself, directly or through others",
                        breed.name
                    ),
                ));
                break;
            }
            if let (Some(visited @ false), Some(breed)) = (seen.get_mut(next), breeds.get(next)) {
                *visited = true;
                open.extend(needed_by(breed));
            }
        }
    }
}

/// Rules that hold for every gateway.
pub(crate) fn gateway(gateway: &Gateway, protocol: Protocol, path: &str, found: &mut Vec<Problem>) {
    for (name, route) in &gateway.routes {
        if let OrReference::Inline(route) = route
            && let Some((key, others)) = route.options.misplaced(protocol)
        {
            found.push(problem(
                "OptionPortTypeError",
                format!("{path}/routes/{name}/{key}"),
                format!("only routes of {others}"),
            ));
        }
    }
    if protocol == Protocol::Http {
        return;
    }
    if gateway.sticky != Sticky::None {
        found.push(problem(
            "StickyPortTypeError",
            format!("{path}/sticky"),
            "a tcp gateway cannot be sticky: that is done by cookies",
        ));
    }
    for (name, route) in &gateway.routes {
        if let OrReference::Inline(route) = route
            && route.condition.is_some()
        {
            found.push(problem(
                "ConditionPortTypeError",
                format!("{path}/routes/{name}/condition"),
                "a tcp gateway cannot evaluate conditions: it sees connections, not requests",
            ));
        }
    }
}
