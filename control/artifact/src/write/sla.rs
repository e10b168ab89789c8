//! Slas and escalations.

use serde_json::{Map, Value, json};

use super::{Fields, reference};
use crate::{ClusterSla, Escalation, NamedEscalation, NamedSla, OrReference, ScaleStep, Sla, SlaRule};

pub(super) fn named(sla: &NamedSla) -> Map<String, Value> {
    let head = Fields::default().head(&sla.name, "sla", &sla.metadata);
    fields(head, &sla.sla).0
}

pub(super) fn of_cluster(sla: &ClusterSla) -> Value {
    match sla {
        ClusterSla::Inline(sla) => fields(Fields::default(), sla).0.into(),
        ClusterSla::Reference(sla) => Fields::default()
            .put("reference", sla.name.clone())
            .put_some("escalations", sla.escalation.as_ref().map(|one| list([one])))
            .0
            .into(),
    }
}

fn fields(head: Fields, sla: &Sla) -> Fields {
    let fields = match &sla.rule {
        SlaRule::ResponseTimeSlidingWindow {
            upper_ms,
            lower_ms,
            interval_s,
            cooldown_s,
        } => head
            .put("type", "response_time_sliding_window")
            .put("threshold", json!({ "upper": upper_ms, "lower": lower_ms }))
            .put(
                "window",
                json!({ "interval": interval_s, "cooldown": cooldown_s }),
            ),
        SlaRule::EscalationOnly => head.put("type", "escalation_only"),
        SlaRule::Other { kind, parameters } => head.put("type", kind.clone()).put_all(parameters),
    };
    fields.put("escalations", list(&sla.escalation))
}

fn list<'a>(escalations: impl IntoIterator<Item = &'a OrReference<Escalation>>) -> Value {
    escalations.into_iter().map(or_reference).collect()
}

fn or_reference(escalation: &OrReference<Escalation>) -> Value {
    match escalation {
        OrReference::Reference(name) => reference(name),
        OrReference::Inline(escalation) => escalation_fields(Fields::default(), escalation).0.into(),
    }
}

pub(super) fn named_escalation(escalation: &NamedEscalation) -> Map<String, Value> {
    let head = Fields::default().head(&escalation.name, "escalation", &escalation.metadata);
    escalation_fields(head, &escalation.escalation).0
}

fn escalation_fields(head: Fields, escalation: &Escalation) -> Fields {
    match escalation {
        Escalation::ToAll(inner) => head.put("type", "to_all").put("escalations", list(inner)),
        Escalation::ToOne(inner) => head.put("type", "to_one").put("escalations", list(inner)),
        Escalation::ScaleInstances(step) => {
            self::step(head.put("type", "scale_instances"), step, |number| json!(number))
        }
        Escalation::ScaleCpu(step) => self::step(head.put("type", "scale_cpu"), step, super::number),
        Escalation::ScaleMemory(step) => self::step(head.put("type", "scale_memory"), step, super::number),
        Escalation::Other { kind, parameters } => head.put("type", kind.clone()).put_all(parameters),
    }
}

fn step<T: Copy>(head: Fields, step: &ScaleStep<T>, number: impl Fn(T) -> Value) -> Fields {
    head.put("minimum", number(step.minimum))
        .put("maximum", number(step.maximum))
        .put("scale_by", number(step.scale_by))
        .put_some("target", step.target.clone())
}
