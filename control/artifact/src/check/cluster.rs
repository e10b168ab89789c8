//! A cluster by itself.

use std::collections::HashSet;

use indexmap::{IndexMap, IndexSet};
use weir_model::Protocol;

use super::{
    Issue, Scope, WHOLE,
    breed::{hint_known, unknown_check_port},
    percent, protocol_issues, total_weight,
};
use crate::{Breed, Cluster, HealthCheck, OrReference, value::TraitGroup};

/// What the breeds of a cluster that are in place declare, for quick answers.
#[derive(Default)]
pub(super) struct Known<'a> {
    /// No breed is a reference, and there is at least one: what is not here does not exist. Without services
    /// nothing is known, the deployment has them.
    pub(super) all: bool,
    pub(super) ports: IndexMap<&'a str, Protocol>,
    pub(super) variables: HashSet<&'a str>,
    pub(super) constants: HashSet<&'a str>,
    services: IndexSet<&'a str>,
}

impl<'a> Known<'a> {
    pub(super) fn of(cluster: &'a Cluster) -> Self {
        let mut known = Self {
            all: !cluster.services.is_empty(),
            ..Self::default()
        };
        for service in &cluster.services {
            known.services.insert(service.name());
            let OrReference::Inline(breed) = &service.breed else {
                known.all = false;
                continue;
            };
            for (name, port) in &breed.ports {
                known.ports.entry(name).or_insert(port.protocol);
            }
            known
                .variables
                .extend(breed.environment_variables.keys().map(String::as_str));
            known.constants.extend(breed.constants.keys().map(String::as_str));
        }
        known
    }

    pub(super) fn has(&self, group: TraitGroup, name: &str) -> bool {
        match group {
            TraitGroup::Ports => self.ports.contains_key(name),
            TraitGroup::EnvironmentVariables => self.variables.contains(name),
            TraitGroup::Constants => self.constants.contains(name),
            TraitGroup::Hosts => name == "host",
        }
    }
}

pub(super) fn cluster(cluster: &Cluster, known: &Known<'_>, scope: Scope) -> Vec<Issue> {
    let mut issues = Vec::new();
    for (index, check) in cluster.health_checks.iter().flatten().enumerate() {
        if known.all && !known.ports.contains_key(check.port.as_str()) {
            let path = ["health_checks", &index.to_string(), "port"];
            issues.push(unknown_check_port(path, &check.port, known.ports.keys().copied()));
        }
    }
    for (index, service) in cluster.services.iter().enumerate() {
        if let OrReference::Inline(breed) = &service.breed {
            let found = use_of_breed(
                breed,
                &service.environment_variables,
                service.health_checks.as_deref(),
            );
            issues.extend(
                found
                    .into_iter()
                    .map(|issue| issue.under(["services", &index.to_string()])),
            );
        }
    }
    for (port, gateway) in &cluster.gateways {
        let mut found = Vec::new();
        let protocol = known.ports.get(port.as_str()).copied();
        if known.all && protocol.is_none() && port != Cluster::ANONYMOUS {
            let issue = Issue::new(
                "UnresolvedGatewayPortError",
                [],
                format!("no breed of the cluster has a port `{port}`"),
            );
            found.push(hint_known(issue, "ports", known.ports.keys().copied()));
        }
        if let Some(total) = total_weight(gateway)
            && total > WHOLE
        {
            let message = format!("the weights total {}, more than 100%", percent(total));
            found.push(Issue::new("RouteWeightError", ["routes"], message));
        }
        if scope == Scope::Whole {
            for path in gateway.routes.keys() {
                let name = path.split('/').nth(2).unwrap_or(path);
                if !known.services.contains(name) {
                    let issue = Issue::new(
                        "UnresolvedServiceRouteError",
                        ["routes", path],
                        format!("the cluster has no service `{name}`"),
                    );
                    found.push(hint_known(issue, "services", known.services.iter().copied()));
                }
            }
        }
        if let Some(protocol) = protocol {
            found.extend(protocol_issues(gateway, protocol));
        }
        issues.extend(found.into_iter().map(|issue| issue.under(["gateways", port])));
    }
    issues
}

/// What a service or a workflow says of a breed in place that the breed does not have.
pub(super) fn use_of_breed(
    breed: &Breed,
    environment_variables: &IndexMap<String, Option<String>>,
    health_checks: Option<&[HealthCheck]>,
) -> Vec<Issue> {
    let mut issues = Vec::new();
    for (index, check) in health_checks.iter().copied().flatten().enumerate() {
        if !breed.ports.contains_key(&check.port) {
            let path = ["health_checks", &index.to_string(), "port"];
            issues.push(unknown_check_port(
                path,
                &check.port,
                breed.ports.keys().map(String::as_str),
            ));
        }
    }
    for (name, value) in environment_variables {
        let path = ["environment_variables", name.as_str()];
        if !breed.environment_variables.contains_key(name) {
            let issue = Issue::new(
                "UnresolvedDependencyInTraitValueError",
                path,
                format!("the breed `{}` has no variable `{name}`", breed.name),
            );
            let known = breed.environment_variables.keys().map(String::as_str);
            issues.push(hint_known(issue, "variables", known));
        } else if value.is_none() {
            issues.push(Issue::new(
                "MissingEnvironmentVariableError",
                path,
                format!("the variable `{name}` has no value"),
            ));
        }
    }
    issues
}
