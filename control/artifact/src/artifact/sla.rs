//! Promises and what happens when they are not kept (spec of the artifacts, §9).

use serde_json::{Map, Value};

use super::{Metadata, OrReference};

/// An sla that is stored on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedSla {
    /// Unique among slas.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// The promise.
    pub sla: Sla,
}

/// A promise about a cluster, and what happens when it is not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Sla {
    /// What is promised.
    pub rule: SlaRule,
    /// What happens; several in a list are one [`Escalation::ToAll`], as in Vamp.
    pub escalation: Option<OrReference<Escalation>>,
}

/// What is promised.
#[derive(Clone, Debug, PartialEq)]
pub enum SlaRule {
    /// `response_time_sliding_window`: the mean response time within a window.
    ResponseTimeSlidingWindow {
        /// Above it something must be added; milliseconds.
        upper_ms: u32,
        /// Below it something may be taken away; milliseconds.
        lower_ms: u32,
        /// Length of the window; seconds.
        interval_s: u32,
        /// Time after an escalation in which nothing happens; seconds.
        cooldown_s: u32,
    },
    /// `escalation_only`: somebody else says when, by events.
    EscalationOnly,
    /// Any other type, for workflows to judge.
    Other {
        /// Its `type`.
        kind: String,
        /// Every other key, by its name; no value is null.
        parameters: Map<String, Value>,
    },
}

/// The sla of a cluster: in place, or a stored one, which may have escalations of its own here.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterSla {
    /// By name.
    Reference(SlaReference),
    /// In place.
    Inline(Sla),
}

/// A stored sla by name.
#[derive(Clone, Debug, PartialEq)]
pub struct SlaReference {
    /// Name of the stored sla.
    pub name: String,
    /// Takes the place of the stored one's if it is given.
    pub escalation: Option<OrReference<Escalation>>,
}

impl ClusterSla {
    /// What happens when it is not kept, as far as it is said here.
    pub fn escalation(&self) -> Option<&OrReference<Escalation>> {
        match self {
            Self::Reference(reference) => reference.escalation.as_ref(),
            Self::Inline(sla) => sla.escalation.as_ref(),
        }
    }
}

/// An escalation that is stored on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedEscalation {
    /// Unique among escalations.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// What happens.
    pub escalation: Escalation,
}

/// What happens when a promise is not kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Escalation {
    /// `to_all`: every one of them.
    ToAll(Vec<OrReference<Escalation>>),
    /// `to_one`: the first that can do something.
    ToOne(Vec<OrReference<Escalation>>),
    /// `scale_instances`: more or fewer instances.
    ScaleInstances(ScaleStep<u32>),
    /// `scale_cpu`: processors for each instance.
    ScaleCpu(ScaleStep<f64>),
    /// `scale_memory`: memory for each instance, in megabytes.
    ScaleMemory(ScaleStep<f64>),
    /// Any other type, for workflows to act on.
    Other {
        /// Its `type`.
        kind: String,
        /// Every other key, by its name; no value is null.
        parameters: Map<String, Value>,
    },
}

/// How something is scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleStep<T> {
    /// Not below it.
    pub minimum: T,
    /// Not above it.
    pub maximum: T,
    /// By how much each time.
    pub scale_by: T,
    /// Cluster of the same deployment; `None`: the one whose sla it is.
    pub target: Option<String>,
}

impl Escalation {
    /// The clusters that it aims at by name, those of escalations inside it as well.
    pub fn targets(&self) -> Vec<&str> {
        match self {
            Self::ToAll(inner) | Self::ToOne(inner) => inner
                .iter()
                .filter_map(|inner| match inner {
                    OrReference::Inline(escalation) => Some(escalation.targets()),
                    OrReference::Reference(_) => None,
                })
                .flatten()
                .collect(),
            Self::ScaleInstances(step) => step.target.as_deref().into_iter().collect(),
            Self::ScaleCpu(step) | Self::ScaleMemory(step) => step.target.as_deref().into_iter().collect(),
            Self::Other { .. } => Vec::new(),
        }
    }
}
