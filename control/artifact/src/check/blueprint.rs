//! A blueprint as a whole.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    Issue, Scope,
    breed::hint_known,
    cluster::{self, Known},
};
use crate::{
    Blueprint, Breed, OrReference,
    value::{self, Part},
};

pub(crate) fn blueprint(blueprint: &Blueprint, scope: Scope) -> Vec<Issue> {
    let mut issues = Vec::new();
    if blueprint
        .clusters
        .values()
        .all(|cluster| cluster.services.is_empty())
    {
        issues.push(Issue::new("NoServiceError", ["clusters"], "there is no service"));
    }
    let mut known = HashMap::new();
    for (name, cluster) in &blueprint.clusters {
        let of_cluster = Known::of(cluster);
        let found = cluster::cluster(cluster, &of_cluster, scope);
        issues.extend(found.into_iter().map(|issue| issue.under(["clusters", name])));
        known.insert(name.as_str(), of_cluster);
    }
    breeds(blueprint, scope, &mut issues);
    cycles(blueprint, &mut issues);
    variables(blueprint, &known, &mut issues);
    external_gateways(blueprint, &known, &mut issues);
    for (name, cluster) in &blueprint.clusters {
        if let Some(sla) = &cluster.sla {
            let inline = sla.escalation().and_then(|escalation| match escalation {
                OrReference::Inline(escalation) => Some(escalation.targets()),
                OrReference::Reference(_) => None,
            });
            for target in inline.unwrap_or_default() {
                if !blueprint.clusters.contains_key(target) {
                    let issue = Issue::new(
                        "UnresolvedScaleEscalationTargetCluster",
                        ["clusters", name, "sla"],
                        format!("the target `{target}` of an escalation is not a cluster of the blueprint"),
                    );
                    issues.push(hint_known(
                        issue,
                        "clusters",
                        blueprint.clusters.keys().map(String::as_str),
                    ));
                }
            }
        }
    }
    issues
}

/// A service's breed: cluster, index, breed.
fn services(blueprint: &Blueprint) -> impl Iterator<Item = (&str, usize, &OrReference<Breed>, &str)> {
    blueprint.clusters.iter().flat_map(|(name, cluster)| {
        cluster
            .services
            .iter()
            .enumerate()
            .map(move |(index, service)| (name.as_str(), index, &service.breed, service.name()))
    })
}

fn breeds(blueprint: &Blueprint, scope: Scope, issues: &mut Vec<Issue>) {
    let mut seen = BTreeSet::new();
    for (cluster, index, _, name) in services(blueprint) {
        // An unreadable breed has no name.
        if !name.is_empty() && !seen.insert(name) {
            issues.push(Issue::new(
                "NonUniqueBlueprintBreedReferenceError",
                ["clusters", cluster, "services", &index.to_string(), "breed"],
                format!("the breed `{name}` is in the blueprint twice"),
            ));
        }
    }
    if scope == Scope::Part {
        return;
    }
    let is_there = |wanted: &str| match wanted.strip_suffix('*') {
        None => seen.contains(wanted),
        Some(prefix) => seen
            .range(prefix..)
            .next()
            .is_some_and(|name| name.starts_with(prefix)),
    };
    for (cluster, index, breed, _) in services(blueprint) {
        let OrReference::Inline(breed) = breed else {
            continue;
        };
        for (alias, dependency) in &breed.dependencies {
            let wanted = dependency_name(dependency);
            if !wanted.is_empty() && !is_there(wanted) {
                let index = index.to_string();
                issues.push(Issue::new(
                    "UnresolvedBreedDependencyError",
                    [
                        "clusters",
                        cluster,
                        "services",
                        &index,
                        "breed",
                        "dependencies",
                        alias,
                    ],
                    format!("the breed `{wanted}` is not in the blueprint"),
                ));
            }
        }
    }
}

fn dependency_name(dependency: &OrReference<Box<Breed>>) -> &str {
    match dependency {
        OrReference::Reference(name) => name,
        OrReference::Inline(breed) => &breed.name,
    }
}

/// Takes away breeds that nobody depends on and breeds that depend on nobody, until only those are left that
/// go round. (Work is linear: documents are hostile.)
fn cycles(blueprint: &Blueprint, issues: &mut Vec<Issue>) {
    let mut places = HashMap::new();
    for (cluster, index, breed, name) in services(blueprint) {
        if let OrReference::Inline(breed) = breed {
            places.entry(name).or_insert((cluster, index, breed));
        }
    }
    let mut next: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut previous: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, (_, _, breed)) in &places {
        for dependency in breed.dependencies.values() {
            let wanted = dependency_name(dependency);
            if places.contains_key(wanted) {
                next.entry(name).or_default().push(wanted);
                previous.entry(wanted).or_default().push(name);
            }
        }
    }
    let mut alive: HashSet<&str> = places.keys().copied().collect();
    for (edges, reverse) in [(&next, &previous), (&previous, &next)] {
        let mut degree: HashMap<&str, usize> = alive
            .iter()
            .map(|name| {
                let edges = edges
                    .get(name)
                    .map_or(0, |to| to.iter().filter(|to| alive.contains(*to)).count());
                (*name, edges)
            })
            .collect();
        let mut free: Vec<&str> = degree
            .iter()
            .filter(|(_, n)| **n == 0)
            .map(|(name, _)| *name)
            .collect();
        while let Some(name) = free.pop() {
            alive.remove(name);
            for other in reverse.get(name).into_iter().flatten() {
                if let Some(n) = degree.get_mut(other) {
                    *n = n.saturating_sub(1);
                    if *n == 0 && alive.contains(other) {
                        free.push(other);
                    }
                }
            }
        }
    }
    for (cluster, index, _, name) in services(blueprint) {
        if alive.contains(name)
            && places
                .get(name)
                .is_some_and(|place| (place.0, place.1) == (cluster, index))
        {
            issues.push(Issue::new(
                "RecursiveDependenciesError",
                [
                    "clusters",
                    cluster,
                    "services",
                    &index.to_string(),
                    "breed",
                    "dependencies",
                ],
                format!("the breed `{name}` depends on itself by way of others"),
            ));
        }
    }
}

fn variables(blueprint: &Blueprint, known: &HashMap<&str, Known<'_>>, issues: &mut Vec<Issue>) {
    for (key, value) in &blueprint.environment_variables {
        let path = ["environment_variables", key.as_str()];
        match key.split_once('.') {
            Some((name, variable)) => match known.get(name) {
                Some(cluster) => {
                    if cluster.all && !cluster.variables.contains(variable) {
                        issues.push(Issue::new(
                            "UnresolvedEnvironmentVariableError",
                            path,
                            format!("no breed of the cluster `{name}` has a variable `{variable}`"),
                        ));
                    }
                }
                None => issues.push(hint_known(
                    Issue::new(
                        "UnresolvedEnvironmentVariableError",
                        path,
                        format!("there is no cluster `{name}`"),
                    ),
                    "clusters",
                    blueprint.clusters.keys().map(String::as_str),
                )),
            },
            None => issues.push(
                Issue::new(
                    "UnresolvedEnvironmentVariableError",
                    path,
                    format!("`{key}` names no cluster"),
                )
                .hint("write `cluster.NAME`"),
            ),
        }
        if let Some(value) = value {
            let found = value_issues(known, None, value);
            issues.extend(found.into_iter().map(|issue| issue.under(path)));
        }
    }
    for (name, cluster) in &blueprint.clusters {
        for (index, service) in cluster.services.iter().enumerate() {
            let index = index.to_string();
            let breed = match &service.breed {
                OrReference::Inline(breed) => Some(breed),
                OrReference::Reference(_) => None,
            };
            for (variable, value) in &service.environment_variables {
                let path = [
                    "clusters",
                    name,
                    "services",
                    &index,
                    "environment_variables",
                    variable,
                ];
                if let Some(value) = value {
                    let found = value_issues(known, breed, value);
                    issues.extend(found.into_iter().map(|issue| issue.under(path)));
                }
            }
        }
    }
}

/// References to traits that no breed of their cluster has. An alias of the service's own breed is not a
/// cluster's name.
fn value_issues(known: &HashMap<&str, Known<'_>>, breed: Option<&Breed>, text: &str) -> Vec<Issue> {
    let parts = match value::parse(text) {
        Ok(parts) => parts,
        Err(error) => return vec![Issue::new("ParserError", [], error.message)],
    };
    let mut issues = Vec::new();
    for part in parts {
        let Part::Trait {
            cluster: name,
            group,
            name: wanted,
        } = part
        else {
            continue;
        };
        let Some(cluster) = known.get(name.as_str()) else {
            continue;
        };
        if breed.is_some_and(|breed| breed.dependencies.contains_key(&name)) {
            continue;
        }
        if cluster.all && !cluster.has(group, &wanted) {
            issues.push(Issue::new(
                "UnresolvedEnvironmentVariableError",
                [],
                format!("no breed of the cluster `{name}` has `{group}.{wanted}`"),
            ));
        }
    }
    issues
}

fn external_gateways(blueprint: &Blueprint, known: &HashMap<&str, Known<'_>>, issues: &mut Vec<Issue>) {
    let mut numbers = HashSet::new();
    for gateway in &blueprint.gateways {
        let Some(port) = &gateway.port else { continue };
        if !numbers.insert(port.number) {
            let message = match port.number {
                0 => "two gateways have no port number".to_owned(),
                number => format!("two gateways have the port {number}"),
            };
            issues.push(Issue::new(
                "DuplicateGatewayPortError",
                ["gateways", &port.text],
                message,
            ));
        }
        for path in gateway.routes.keys() {
            // Other forms are refused where they are read.
            let Some((name, wanted)) = path.split_once('/').filter(|(_, port)| !port.contains('/')) else {
                continue;
            };
            let at = ["gateways", port.text.as_str(), "routes", path];
            let Some(cluster) = known.get(name) else {
                let issue = Issue::new(
                    "UnresolvedGatewayPortError",
                    at,
                    format!("there is no cluster `{name}`"),
                );
                issues.push(hint_known(
                    issue,
                    "clusters",
                    blueprint.clusters.keys().map(String::as_str),
                ));
                continue;
            };
            if cluster.all && !cluster.ports.contains_key(wanted) {
                let issue = Issue::new(
                    "UnresolvedGatewayPortError",
                    at,
                    format!("no breed of the cluster `{name}` has a port `{wanted}`"),
                );
                issues.push(hint_known(issue, "ports", cluster.ports.keys().copied()));
            }
        }
    }
}
