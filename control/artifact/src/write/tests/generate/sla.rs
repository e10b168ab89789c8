//! Promises and escalations.

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value};

use super::{
    or_reference,
    text::{metadata, name, text},
};
use crate::*;

/// Content of types that nobody knows: no key that is said otherwise, no null.
fn parameters() -> impl Strategy<Value = Map<String, Value>> {
    metadata().prop_map(|mut parameters| {
        for key in [
            "name",
            "kind",
            "metadata",
            "type",
            "escalations",
            "lookup_name",
            "reference",
            "ref",
        ] {
            parameters.remove(key);
        }
        parameters.retain(|_, value| !value.is_null());
        parameters
    })
}

fn other_type() -> impl Strategy<Value = String> {
    "[a-z_]{1,3}[0-9]"
}

fn step<T: std::fmt::Debug + Clone>(
    number: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = ScaleStep<T>> {
    (number.clone(), number.clone(), number, option::of(text())).prop_map(
        |(minimum, maximum, scale_by, target)| ScaleStep {
            minimum,
            maximum,
            scale_by,
            target,
        },
    )
}

pub(super) fn escalation() -> impl Strategy<Value = Escalation> {
    let leaf = prop_oneof![
        step(any::<u32>()).prop_map(Escalation::ScaleInstances),
        step((-10_000_i32..10_000).prop_map(|n| f64::from(n) / 16.0)).prop_map(Escalation::ScaleCpu),
        step(any::<u32>().prop_map(f64::from)).prop_map(Escalation::ScaleMemory),
        (other_type(), parameters()).prop_map(|(kind, parameters)| Escalation::Other { kind, parameters }),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let inner = vec(or_reference(inner), 0..3).boxed();
        prop_oneof![
            inner.clone().prop_map(Escalation::ToAll),
            inner.prop_map(Escalation::ToOne)
        ]
    })
}

pub(super) fn sla() -> impl Strategy<Value = Sla> {
    let window = any::<[u32; 4]>().prop_map(|[upper_ms, lower_ms, interval_s, cooldown_s]| {
        SlaRule::ResponseTimeSlidingWindow {
            upper_ms,
            lower_ms,
            interval_s,
            cooldown_s,
        }
    });
    let rule = prop_oneof![
        window,
        Just(SlaRule::EscalationOnly),
        (other_type(), parameters()).prop_map(|(kind, parameters)| SlaRule::Other { kind, parameters }),
    ];
    (rule, option::of(or_reference(escalation()))).prop_map(|(rule, escalation)| Sla { rule, escalation })
}

pub(super) fn cluster_sla() -> impl Strategy<Value = ClusterSla> {
    prop_oneof![
        sla().prop_map(ClusterSla::Inline),
        (name(), option::of(or_reference(escalation())))
            .prop_map(|(name, escalation)| ClusterSla::Reference(SlaReference { name, escalation })),
    ]
}
