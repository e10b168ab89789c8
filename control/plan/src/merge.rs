//! A blueprint joins a deployment (core behaviour §3, merge).
//!
//! Two deliberate differences to Vamp 0.9.4. The breed of a service that is there already is taken anew from
//! the blueprint (Vamp's later rule). A changed weight does not restart the service's deployment: routing is
//! published by itself, so only what changes instances sets a service back to `Initiated`.

mod gateways;

use indexmap::IndexMap;
use serde_json::{Map, Value};
use weir_artifact::{
    Blueprint, Cluster, Deployment, Gateway, Health, Intention, OrReference, Phase, Problem, Service,
    ServiceRuntime, ServiceStatus,
};

use crate::{
    Settings,
    gateway::{World, number},
    validate::{self, breed, dependency_name, hinted, is_wanted, matches_dependency, problem},
};

use self::gateways::external_gateways;

pub(crate) use self::gateways::{Changes, internal_gateways};

/// What a merge or a slice leads to: everything that is to be stored, at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The deployment.
    pub deployment: Deployment,
    /// Gateways to store.
    pub gateways: Vec<Gateway>,
    /// Names of gateways to remove.
    pub removed: Vec<String>,
    /// The port of the range that was given last.
    pub last_port: Option<u16>,
}

/// Merges a blueprint into a deployment, which is new if `existing` is `None`. Breeds, scales and conditions
/// of the blueprint are in place (references were resolved before). `now_ms`: milliseconds since the Unix epoch.
///
/// # Errors
/// Every problem of the result.
pub fn merge(
    existing: Option<&Deployment>,
    name: &str,
    blueprint: &Blueprint,
    world: &World<'_>,
    settings: &Settings,
    now_ms: u64,
) -> Result<Merged, Vec<Problem>> {
    let mut found = Vec::new();
    let mut deployment = existing.cloned().unwrap_or_default();
    name.clone_into(&mut deployment.name);
    overlay(&mut deployment.metadata, &blueprint.metadata);
    overlay(&mut deployment.dialects, &blueprint.dialects);
    for (key, value) in &blueprint.environment_variables {
        let kept = deployment.environment_variables.entry(key.clone()).or_default();
        if kept.is_none() {
            kept.clone_from(value);
        }
    }
    for (cluster_name, given) in &blueprint.clusters {
        let cluster = deployment.clusters.entry(cluster_name.clone()).or_default();
        merge_cluster(cluster, given, settings, now_ms);
        deployment
            .hosts
            .entry(cluster_name.clone())
            .or_insert_with(|| settings.gateway_host.clone());
    }
    if !deployment
        .clusters
        .values()
        .any(|cluster| cluster.services.iter().any(is_wanted))
    {
        found.push(problem(
            "NoServiceError",
            "clusters",
            "a deployment needs at least one service",
        ));
    }
    unresolved_breeds(&deployment, &mut found);
    blueprint_variables(blueprint, &deployment, &mut found);
    dependencies(&mut deployment, &mut found);
    validate::deployment(&deployment, &mut found);

    let mut ports = world.ports(settings);
    for wanted in blueprint.gateways.iter().map(number) {
        ports.take(wanted);
    }
    let mut changes = Changes {
        found,
        ..Changes::default()
    };
    for (cluster_name, given) in &blueprint.clusters {
        internal_gateways(
            &mut deployment,
            cluster_name,
            Some(&given.gateways),
            world,
            &mut ports,
            settings,
            &mut changes,
        );
    }
    external_gateways(&deployment, blueprint, world, &mut ports, settings, &mut changes);
    changes.merged(deployment, ports.last())
}

fn overlay(onto: &mut Map<String, Value>, given: &Map<String, Value>) {
    for (key, value) in given {
        onto.insert(key.clone(), value.clone());
    }
}

fn merge_cluster(cluster: &mut Cluster, given: &Cluster, settings: &Settings, now_ms: u64) {
    overlay(&mut cluster.metadata, &given.metadata);
    overlay(&mut cluster.dialects, &given.dialects);
    if given.network.is_some() {
        cluster.network.clone_from(&given.network);
    }
    if given.sla.is_some() {
        cluster.sla.clone_from(&given.sla);
    }
    if given.health_checks.is_some() {
        cluster.health_checks.clone_from(&given.health_checks);
    }
    for service in &given.services {
        match cluster
            .services
            .iter_mut()
            .find(|other| other.name() == service.name())
        {
            Some(there) => merge_service(there, service, now_ms),
            None => cluster.services.push(new_service(service, settings, now_ms)),
        }
    }
}

fn initiated(now_ms: u64) -> ServiceStatus {
    ServiceStatus {
        intention: Intention::Deployment,
        since_ms: now_ms,
        phase: Phase::Initiated,
        phase_since_ms: now_ms,
        notification: None,
    }
}

fn new_runtime(now_ms: u64) -> ServiceRuntime {
    ServiceRuntime {
        status: initiated(now_ms),
        instances: Vec::new(),
        dependencies: IndexMap::new(),
        health: Health::default(),
    }
}

fn new_service(given: &Service, settings: &Settings, now_ms: u64) -> Service {
    let mut service = given.clone();
    service
        .scale
        .get_or_insert(OrReference::Inline(settings.default_scale));
    let of_breed = breed(given)
        .map(|breed| breed.arguments.clone())
        .unwrap_or_default();
    service.arguments = arguments(
        settings
            .default_arguments
            .iter()
            .chain(&of_breed)
            .chain(&given.arguments),
    );
    service.runtime = Some(new_runtime(now_ms));
    service
}

/// Of several `privileged` the last one counts, and stands first.
fn arguments<'a>(all: impl Iterator<Item = &'a (String, String)>) -> Vec<(String, String)> {
    let (privileged, mut rest): (Vec<_>, Vec<_>) = all.cloned().partition(|(key, _)| key == "privileged");
    if let Some(last) = privileged.into_iter().next_back() {
        rest.insert(0, last);
    }
    rest
}

fn merge_service(there: &mut Service, given: &Service, now_ms: u64) {
    let before = there.clone();
    there.breed = given.breed.clone();
    if given.scale.is_some() {
        there.scale.clone_from(&given.scale);
    }
    overlay(&mut there.dialects, &given.dialects);
    there.health_checks.clone_from(&given.health_checks);
    if given.network.is_some() {
        there.network.clone_from(&given.network);
    }
    let changed = there.breed != before.breed
        || there.scale != before.scale
        || there.dialects != before.dialects
        || there.health_checks != before.health_checks
        || there.network != before.network;
    let runtime = there.runtime.get_or_insert_with(|| new_runtime(now_ms));
    if changed || runtime.status.intention == Intention::Undeployment || runtime.status.phase == Phase::Failed
    {
        runtime.status = initiated(now_ms);
    }
}

fn unresolved_breeds(deployment: &Deployment, found: &mut Vec<Problem>) {
    for (cluster, service) in services(deployment) {
        if let OrReference::Reference(name) = &service.breed {
            found.push(problem(
                "ArtifactNotFound",
                format!("clusters/{cluster}/services/{name}/breed"),
                format!("there is no breed `{name}`"),
            ));
        }
    }
}

fn services(deployment: &Deployment) -> impl Iterator<Item = (&String, &Service)> {
    deployment.clusters.iter().flat_map(|(name, cluster)| {
        let wanted = cluster.services.iter().filter(|service| is_wanted(service));
        wanted.map(move |service| (name, service))
    })
}

/// `cluster.NAME` must be a variable of a breed of that cluster.
fn blueprint_variables(blueprint: &Blueprint, deployment: &Deployment, found: &mut Vec<Problem>) {
    for (key, value) in &blueprint.environment_variables {
        let path = format!("environment_variables/{key}");
        let known = key.split_once('.').is_some_and(|(cluster, name)| {
            services(deployment).any(|(of, service)| {
                of == cluster
                    && breed(service).is_none_or(|breed| breed.environment_variables.contains_key(name))
            })
        });
        if !known {
            found.push(hinted(
                problem(
                    "UnresolvedEnvironmentVariableError",
                    path.clone(),
                    format!("no breed of the deployment has the variable `{key}`"),
                ),
                "the form is `cluster.NAME`",
            ));
        }
        if let Some(Err(error)) = value.as_deref().map(weir_artifact::value::parse) {
            found.push(problem("ParserError", path, error.to_string()));
        }
    }
}

/// Finds the cluster behind each dependency's alias.
fn dependencies(deployment: &mut Deployment, found: &mut Vec<Problem>) {
    let offered: Vec<(String, String)> = services(deployment)
        .map(|(cluster, service)| (cluster.clone(), service.name().to_owned()))
        .collect();
    for (cluster_name, cluster) in &mut deployment.clusters {
        for service in cluster.services.iter_mut().filter(|service| is_wanted(service)) {
            let Some(breed) = breed(service) else { continue };
            let mut resolved = IndexMap::new();
            for (alias, dependency) in &breed.dependencies {
                let wanted = dependency_name(dependency);
                let by = offered
                    .iter()
                    .find(|(_, name)| matches_dependency(wanted, name) && *name != breed.name);
                match by {
                    Some((cluster, _)) => {
                        resolved.insert(alias.clone(), cluster.clone());
                    }
                    None => found.push(problem(
                        "UnresolvedDependencyError",
                        format!(
                            "clusters/{cluster_name}/services/{}/dependencies/{alias}",
                            breed.name
                        ),
                        format!(
                            "breed `{}` depends on `{wanted}`, which is not in the deployment",
                            breed.name
                        ),
                    )),
                }
            }
            if let Some(runtime) = &mut service.runtime {
                runtime.dependencies = resolved;
            }
        }
    }
}

#[cfg(test)]
#[path = "merge/tests.rs"]
mod tests;
