//! Workflows.

use jiff::{Timestamp, tz::Offset};
use serde_json::{Map, Value, json};
use weir_model::lookup;

use super::{Fields, arguments, breed, deployment, health_checks, reference, scale, variables};
use crate::{OrReference, Schedule, Start, TimeSchedule, Workflow};

/// A workflow; what is optional only if there is some of it.
pub(super) fn workflow(workflow: &Workflow) -> Map<String, Value> {
    let some = |is_empty: bool, value: Value| (!is_empty).then_some(value);
    Fields::default()
        .head(&workflow.name, "workflow", &workflow.metadata)
        .put("lookup_name", lookup::artifact("Workflow", &workflow.name))
        .put(
            "breed",
            match &workflow.breed {
                OrReference::Reference(name) => reference(name),
                OrReference::Inline(breed) => self::breed(breed).into(),
            },
        )
        .put("status", workflow.status.word())
        .put("schedule", schedule(&workflow.schedule))
        .put_some("scale", workflow.scale.as_ref().map(scale))
        .put_some(
            "environment_variables",
            some(
                workflow.environment_variables.is_empty(),
                variables(&workflow.environment_variables),
            ),
        )
        .put_some(
            "arguments",
            some(workflow.arguments.is_empty(), arguments(&workflow.arguments)),
        )
        .put_some("network", workflow.network.clone())
        .put_some(
            "health_checks",
            workflow.health_checks.as_deref().map(health_checks),
        )
        .put_some(
            "dialects",
            some(workflow.dialects.is_empty(), workflow.dialects.clone().into()),
        )
        .put_some(
            "instances",
            some(
                workflow.instances.is_empty(),
                deployment::instances(&workflow.instances),
            ),
        )
        .put_some("health", workflow.health.map(deployment::health))
        .0
}

fn schedule(schedule: &Schedule) -> Value {
    match schedule {
        Schedule::Daemon => "daemon".into(),
        Schedule::Event(tags) => json!({ "event": { "tags": tags } }),
        Schedule::Time(TimeSchedule {
            period,
            repeat,
            start,
        }) => {
            let time = Fields::default()
                .put("period", period.to_string())
                .put_some("repeat", *repeat)
                .put_some("start", start.map(start_text));
            json!({ "time": time.0 })
        }
    }
}

fn start_text(start: Start) -> String {
    match start {
        Start::Now => "now".to_owned(),
        Start::AtMs(ms) => Timestamp::from_millisecond(ms)
            .unwrap_or(Timestamp::MAX)
            .display_with_offset(Offset::UTC)
            .to_string(),
    }
}
