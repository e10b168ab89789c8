//! Slas and escalations (spec of the artifacts, §9).

use super::{
    common::{anonymous, kind, metadata, name, reference, text},
    cursor::{Cursor, Table},
};
use crate::{
    ClusterSla, Escalation, NamedEscalation, NamedSla, OrReference, ScaleStep, Sla, SlaReference, SlaRule,
};

const SLIDING_WINDOW: &str = "response_time_sliding_window";

/// An sla that is stored on its own.
pub(super) fn named(mut table: Table<'_>) -> Option<NamedSla> {
    kind(&mut table, "sla");
    let name = name(&mut table);
    let metadata = metadata(&mut table);
    Some(NamedSla {
        name,
        metadata,
        sla: sla(table)?,
    })
}

/// A cluster's sla: in place, or a reference, which may have escalations of its own.
pub(super) fn of_cluster(cursor: &Cursor<'_>) -> Option<ClusterSla> {
    let by_name = |name: String, escalation| ClusterSla::Reference(SlaReference { name, escalation });
    if let Some(scalar) = cursor.scalar() {
        return Some(by_name(scalar.text.clone(), None));
    }
    if !cursor.is_map() {
        cursor.unexpected_type("an sla or the name of one");
        return None;
    }
    let mut table = cursor.table()?;
    if let Some(name) = table.take_either(["reference", "ref"]) {
        let name = name.text().unwrap_or_default().to_owned();
        kind(&mut table, "sla");
        table.ignore(&["metadata"]);
        let escalation = escalations(&mut table);
        table.finish();
        return Some(by_name(name, escalation));
    }
    anonymous(&mut table, "sla");
    sla(table).map(ClusterSla::Inline)
}

fn sla(mut table: Table<'_>) -> Option<Sla> {
    let word = table.require("type").and_then(|cursor| cursor.text());
    let escalation = escalations(&mut table);
    let rule = match word {
        Some(SLIDING_WINDOW) => {
            let mut numbers = |key, inner: [&'static str; 2]| {
                let mut table = table.require(key)?.table()?;
                let [one, other] = inner.map(|key| table.require(key).and_then(|cursor| cursor.count()));
                table.finish();
                Some((one?, other?))
            };
            let threshold = numbers("threshold", ["upper", "lower"]);
            let window = numbers("window", ["interval", "cooldown"]);
            table.finish();
            let ((upper_ms, lower_ms), (interval_s, cooldown_s)) = (threshold?, window?);
            SlaRule::ResponseTimeSlidingWindow {
                upper_ms,
                lower_ms,
                interval_s,
                cooldown_s,
            }
        }
        Some("escalation_only") => {
            table.finish();
            SlaRule::EscalationOnly
        }
        Some(kind) => SlaRule::Other {
            kind: kind.to_owned(),
            parameters: table.rest(),
        },
        None => return None,
    };
    Some(Sla { rule, escalation })
}

/// One escalation, or a list; more than one in a list are one `to_all` (Vamp's rule).
fn escalations(table: &mut Table<'_>) -> Option<OrReference<Escalation>> {
    let mut all = list(&table.take("escalations")?);
    match all.len() {
        0 | 1 => all.pop(),
        _ => Some(OrReference::Inline(Escalation::ToAll(all))),
    }
}

fn list(cursor: &Cursor<'_>) -> Vec<OrReference<Escalation>> {
    let items = cursor.items_or_self();
    items.iter().filter_map(or_reference).collect()
}

/// An escalation that is stored on its own.
pub(super) fn named_escalation(mut table: Table<'_>) -> Option<NamedEscalation> {
    kind(&mut table, "escalation");
    let name = name(&mut table);
    let metadata = metadata(&mut table);
    Some(NamedEscalation {
        name,
        metadata,
        escalation: escalation(table)?,
    })
}

fn or_reference(cursor: &Cursor<'_>) -> Option<OrReference<Escalation>> {
    if let Some(scalar) = cursor.scalar() {
        return Some(OrReference::Reference(scalar.text.clone()));
    }
    if let Some(name) = reference(cursor, "escalation") {
        return Some(OrReference::Reference(name));
    }
    let mut table = cursor.table()?;
    anonymous(&mut table, "escalation");
    escalation(table).map(OrReference::Inline)
}

fn escalation(mut table: Table<'_>) -> Option<Escalation> {
    if !table.has("type")
        && let Some(short) = group(&mut table)
    {
        table.finish();
        return Some(short);
    }
    let word = table.require("type")?.text()?;
    Some(match word {
        "to_all" | "to_one" => {
            let inner = table.require("escalations").map(|cursor| list(&cursor));
            table.finish();
            match word {
                "to_all" => Escalation::ToAll(inner?),
                _ => Escalation::ToOne(inner?),
            }
        }
        "scale_instances" => Escalation::ScaleInstances(step(table, |cursor| cursor.count())?),
        "scale_cpu" => Escalation::ScaleCpu(step(table, |cursor| cursor.number())?),
        "scale_memory" => Escalation::ScaleMemory(step(table, |cursor| cursor.number())?),
        kind => Escalation::Other {
            kind: kind.to_owned(),
            parameters: table.rest(),
        },
    })
}

/// `{to_one: [...]}`, `{to_all: {escalations: [...]}}`
fn group(table: &mut Table<'_>) -> Option<Escalation> {
    let inner = |cursor: Cursor<'_>| {
        if !cursor.has("escalations") || cursor.has("type") {
            return list(&cursor);
        }
        let Some(mut table) = cursor.table() else {
            return Vec::new();
        };
        let inner = table.take("escalations").map(|cursor| list(&cursor));
        table.finish();
        inner.unwrap_or_default()
    };
    if let Some(cursor) = table.take("to_all") {
        return Some(Escalation::ToAll(inner(cursor)));
    }
    table
        .take("to_one")
        .map(|cursor| Escalation::ToOne(inner(cursor)))
}

fn step<T>(mut table: Table<'_>, number: impl Fn(&Cursor<'_>) -> Option<T>) -> Option<ScaleStep<T>> {
    let mut of = |key| table.require(key).and_then(|cursor| number(&cursor));
    let (minimum, maximum, scale_by) = (of("minimum"), of("maximum"), of("scale_by"));
    let target = text(&mut table, "target");
    table.finish();
    Some(ScaleStep {
        minimum: minimum?,
        maximum: maximum?,
        scale_by: scale_by?,
        target,
    })
}
