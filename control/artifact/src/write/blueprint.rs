//! Blueprints, clusters and services.

use serde_json::{Map, Value};

use super::{Fields, arguments, breed, gateway, health_checks, map, reference, scale, variables};
use crate::{Blueprint, Cluster, OrReference, Service};

pub(super) fn blueprint(blueprint: &Blueprint) -> Map<String, Value> {
    Fields::default()
        .head(&blueprint.name, "blueprint", &blueprint.metadata)
        .put("gateways", gateway::external(&blueprint.gateways))
        .put("clusters", map(&blueprint.clusters, cluster))
        .put(
            "environment_variables",
            variables(&blueprint.environment_variables),
        )
        .put("dialects", blueprint.dialects.clone())
        .0
}

/// A cluster of a blueprint or a deployment.
pub(super) fn cluster(cluster: &Cluster) -> Value {
    Fields::default()
        .put(
            "services",
            cluster.services.iter().map(service).collect::<Value>(),
        )
        .put("gateways", gateway::internal(&cluster.gateways))
        .put_some(
            "health_checks",
            cluster.health_checks.as_deref().map(health_checks),
        )
        .put_some("network", cluster.network.clone())
        .put_some("sla", cluster.sla.as_ref().map(super::sla))
        .put("dialects", cluster.dialects.clone())
        .put("metadata", cluster.metadata.clone())
        .0
        .into()
}

fn service(service: &Service) -> Value {
    let breed = match &service.breed {
        OrReference::Reference(name) => reference(name),
        OrReference::Inline(breed) => breed_value(breed),
    };
    let runtime = service.runtime.as_ref();
    Fields::default()
        .put_some(
            "status",
            runtime.map(|runtime| super::deployment::status(&runtime.status)),
        )
        .put("breed", breed)
        .put("environment_variables", variables(&service.environment_variables))
        .put_some("scale", service.scale.as_ref().map(scale))
        .put_some(
            "instances",
            runtime.map(|runtime| super::deployment::instances(&runtime.instances)),
        )
        .put("arguments", arguments(&service.arguments))
        .put_some(
            "health_checks",
            service.health_checks.as_deref().map(health_checks),
        )
        .put_some("network", service.network.clone())
        .put_some(
            "dependencies",
            runtime.map(|runtime| map(&runtime.dependencies, |cluster| cluster.clone().into())),
        )
        .put("dialects", service.dialects.clone())
        .put_some(
            "health",
            runtime.map(|runtime| super::deployment::health(runtime.health)),
        )
        .0
        .into()
}

fn breed_value(value: &crate::Breed) -> Value {
    breed(value).into()
}
