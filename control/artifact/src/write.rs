//! Artifacts to trees and text, keys in Vamp's order (spec of the artifacts, §2 to §12).
//!
//! **Invariants.** What is written reads back to the same artifact, but for what only output has: a route's
//! `targets`, `lookup_name`, `internal`.

mod blueprint;
mod deployment;
mod gateway;
mod sla;
#[cfg(test)]
mod tests;
mod workflow;
mod yaml;

use serde_json::{Map, Value, json};

pub use self::yaml::yaml;
use crate::{
    Artifact, Breed, ClusterSla, HealthCheck, NamedCondition, NamedScale, OrReference, Scale,
    units::{memory_text, seconds_text},
};

/// An artifact as Vamp prints it.
pub fn value(artifact: &Artifact) -> Value {
    Value::Object(match artifact {
        Artifact::Breed(breed) => self::breed(breed),
        Artifact::Blueprint(blueprint) => blueprint::blueprint(blueprint),
        Artifact::Sla(sla) => sla::named(sla),
        Artifact::Scale(scale) => named_scale(scale),
        Artifact::Escalation(escalation) => sla::named_escalation(escalation),
        Artifact::Route(route) => gateway::named_route(route),
        Artifact::Condition(condition) => self::condition(condition),
        Artifact::Rewrite(rewrite) => {
            Fields::default()
                .head(&rewrite.name, "rewrite", &rewrite.metadata)
                .put("path", rewrite.path.source())
                .0
        }
        Artifact::Workflow(workflow) => workflow::workflow(workflow),
        Artifact::Gateway(gateway) => gateway::gateway(gateway),
        Artifact::Deployment(deployment) => deployment::deployment(deployment),
        Artifact::Template(template) => {
            Fields::default()
                .head(&template.name, "template", &template.metadata)
                .put("definition", template.definition.clone())
                .0
        }
    })
}

/// A scale in place, as a service's scale is answered.
pub fn scale(scale: &OrReference<Scale>) -> Value {
    match scale {
        OrReference::Reference(name) => reference(name),
        OrReference::Inline(scale) => Value::Object(scale_fields(scale)),
    }
}

/// A cluster's sla, as it is answered.
pub fn sla(sla: &ClusterSla) -> Value {
    sla::of_cluster(sla)
}

/// Keys in the order in which they are put.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    fn put_some(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.put(key, value),
            None => self,
        }
    }

    /// Puts what is not there yet.
    fn put_all(mut self, entries: &Map<String, Value>) -> Self {
        for (key, value) in entries {
            self.0.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    fn head(self, name: &str, kind: &str, metadata: &Map<String, Value>) -> Self {
        self.put("name", name)
            .put("kind", kind)
            .put("metadata", metadata.clone())
    }
}

fn reference(name: &str) -> Value {
    json!({ "reference": name })
}

fn map<'a, K: AsRef<str> + 'a, V: 'a>(
    entries: impl IntoIterator<Item = (&'a K, &'a V)>,
    value: impl Fn(&V) -> Value,
) -> Value {
    Value::Object(
        entries
            .into_iter()
            .map(|(key, item)| (key.as_ref().to_owned(), value(item)))
            .collect(),
    )
}

fn variables<'a>(entries: impl IntoIterator<Item = (&'a String, &'a Option<String>)>) -> Value {
    map(entries, |value| value.clone().into())
}

fn arguments(arguments: &[(String, String)]) -> Value {
    arguments
        .iter()
        .map(|(key, value)| json!({ key: value }))
        .collect()
}

fn breed(breed: &Breed) -> Map<String, Value> {
    let deployable = Fields::default()
        .put_some("type", breed.deployable.kind.clone())
        .put("definition", breed.deployable.definition.clone());
    let variables = breed.environment_variables.iter().map(|(name, variable)| {
        let key = match &variable.alias {
            Some(alias) => format!("{name}[{alias}]"),
            None => name.clone(),
        };
        (key, variable.value.clone().into())
    });
    let dependency = |dependency: &OrReference<Box<Breed>>| match dependency {
        OrReference::Reference(name) => Value::String(name.clone()),
        OrReference::Inline(breed) => Value::Object(self::breed(breed)),
    };
    Fields::default()
        .head(&breed.name, "breed", &breed.metadata)
        .put("deployable", deployable.0)
        .put("ports", map(&breed.ports, |port| port.text.clone().into()))
        .put("environment_variables", variables.collect::<Map<_, _>>())
        .put("constants", map(&breed.constants, |value| value.clone().into()))
        .put("arguments", arguments(&breed.arguments))
        .put("dependencies", map(&breed.dependencies, dependency))
        .put_some("health_checks", breed.health_checks.as_deref().map(health_checks))
        .0
}

fn health_checks(checks: &[HealthCheck]) -> Value {
    checks
        .iter()
        .map(|check| {
            Fields::default()
                .put("path", check.path.clone())
                .put("port", check.port.clone())
                .put("initial_delay", seconds_text(check.initial_delay_s))
                .put("timeout", seconds_text(check.timeout_s))
                .put("interval", seconds_text(check.interval_s))
                .put("failures", check.failures)
                .put("protocol", check.protocol.clone())
                .0
        })
        .collect()
}

fn named_scale(scale: &NamedScale) -> Map<String, Value> {
    let mut fields = Fields::default().head(&scale.name, "scale", &scale.metadata);
    fields.0.extend(scale_fields(&scale.scale));
    fields.0
}

fn scale_fields(scale: &Scale) -> Map<String, Value> {
    Fields::default()
        .put("cpu", number(scale.cpu))
        .put("memory", memory_text(scale.memory_mb))
        .put("instances", scale.instances)
        .0
}

/// Whole numbers print without a fraction, as JavaScript prints them.
fn number(number: f64) -> Value {
    const EXACT_MAX: f64 = 9e15;
    match number.fract() == 0.0 && number.abs() < EXACT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        true => json!(number as i64),
        false => json!(number),
    }
}

fn condition(condition: &NamedCondition) -> Map<String, Value> {
    Fields::default()
        .head(&condition.name, "condition", &condition.metadata)
        .put("condition", condition.condition.source())
        .0
}
