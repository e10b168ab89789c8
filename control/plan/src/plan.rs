//! The difference between what is wanted and what runs, as actions (core behaviour §2).
//!
//! **Draining before stopping.** An instance that takes requests first leaves the routing (stage
//! [`Stage::Leaving`](crate::Stage::Leaving)). When no agent would send it anything new any more
//! ([`Held`]), and its last request has ended ([`InFlight`]) or the drain time is over, it is stopped.
//!
//! **Starting again.** Instances that end are replaced, after 0, 1, 2, 4, 8, 16, then always 30 s. Several
//! exits in a row make the service `Failed`: it is left alone until somebody changes it.

mod crew;
mod service;

use std::collections::{BTreeMap, BTreeSet};

use weir_artifact::{Deployment, Gateway, Phase, Service};

use crate::{Action, ServiceKey, ServiceRecord, Settings};

use self::crew::Crew;

/// What is wanted, and what was stored about getting there.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// Every deployment.
    pub deployments: &'a [Deployment],
    /// Every gateway.
    pub gateways: &'a [Gateway],
    /// What is remembered of services.
    pub records: &'a BTreeMap<ServiceKey, ServiceRecord>,
    /// Settings.
    pub settings: &'a Settings,
}

/// What is the case. The sets of calls under way are taken *before* the list of instances: an instance whose
/// start ended in between is then in the list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// What the driver shows, by id.
    pub instances: BTreeMap<String, SeenInstance>,
    /// Instances whose start is under way.
    pub starting: BTreeSet<String>,
    /// Instances whose stop is under way.
    pub stopping: BTreeSet<String>,
    /// Starts that failed, by id.
    pub start_failures: BTreeMap<String, StartFailure>,
    /// Which instances may still be sent requests.
    pub held: Held,
    /// Types of deployables whose driver does not answer, and why: nothing is known of their instances.
    pub unknown: BTreeMap<String, String>,
    /// Requests under way; `None` if some agent does not tell.
    pub in_flight: Option<InFlight>,
}

/// Requests under way, as every live agent told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// When the first of them was asked, milliseconds since the Unix epoch: what began later may be missing.
    pub asked_at_ms: u64,
    /// Those to each instance that has some.
    pub by_instance: BTreeMap<String, u64>,
}

impl InFlight {
    /// Requests to an instance, if that was asked no earlier than `since_ms`.
    pub fn to(&self, id: &str, since_ms: u64) -> Option<u64> {
        (self.asked_at_ms >= since_ms).then(|| self.by_instance.get(id).copied().unwrap_or_default())
    }
}

/// Which instances may still be sent requests by some gateway agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Held {
    /// Not known: any of them.
    #[default]
    Unknown,
    /// These and no others.
    Only(BTreeSet<String>),
}

impl Held {
    /// Whether no agent sends this instance anything new.
    pub fn has_released(&self, id: &str) -> bool {
        match self {
            Self::Unknown => false,
            Self::Only(held) => !held.contains(id),
        }
    }
}

/// One instance as the driver shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenInstance {
    /// Whether it is an instance of a deployment (by its labels); others are not touched.
    pub of_deployment: bool,
    /// Where it is reached.
    pub host: String,
    /// Port name to number in use.
    pub ports: BTreeMap<String, u16>,
    /// Where it is in its life.
    pub state: LifeState,
    /// What its checks say.
    pub health: SeenHealth,
    /// Why it is in this state, for people.
    pub message: Option<String>,
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeState {
    /// Asked for, not running yet.
    Starting,
    /// Runs.
    Running,
    /// Was told to stop.
    Stopping,
    /// Ended; the code if it is known.
    Exited(Option<i32>),
}

/// What the checks of an instance say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenHealth {
    /// Not known yet.
    Unknown,
    /// Passed.
    Healthy,
    /// Failed.
    Unhealthy,
}

/// Why an instance could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    /// What to do about it.
    pub kind: StartFailureKind,
    /// For people.
    pub message: String,
}

/// What to do about a start that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFailureKind {
    /// Nothing: it cannot be run as it is.
    Definition,
    /// Try again; if older instances of the service are there, they may have the port.
    PortTaken,
    /// Try again.
    Unavailable,
}

/// What to do next. The same inputs give the same actions. `now_ms`: milliseconds since the Unix epoch.
/// `unique`: gives the unique part of a new instance's id, never the same twice.
pub fn plan(
    desired: &Desired<'_>,
    observed: &Observed,
    now_ms: u64,
    unique: &mut dyn FnMut() -> String,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut owned = BTreeSet::new();
    for deployment in desired.deployments {
        let mut left = false;
        for (cluster_name, cluster) in &deployment.clusters {
            for service in &cluster.services {
                let key = ServiceKey::new(&deployment.name, cluster_name, service.name());
                let removed = service::Work {
                    desired,
                    observed,
                    now_ms,
                    deployment,
                    cluster,
                    service,
                    key: &key,
                }
                .plan(unique, &mut actions);
                left |= !removed;
                owned.insert(key);
            }
        }
        if !left {
            actions.push(Action::RemoveDeployment(deployment.name.clone()));
        }
    }
    for (key, record) in desired.records {
        if !owned.contains(key) {
            ownerless(key, record, desired.settings, observed, now_ms, &mut actions);
        }
    }
    orphans(desired, observed, &mut actions);
    actions
}

/// What to store while the driver does not answer: every service says so, and its time stands still. Nothing is
/// started or stopped. `reason` is for people.
pub fn pause(desired: &Desired<'_>, reason: &str, now_ms: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    for deployment in desired.deployments {
        for (cluster_name, cluster) in &deployment.clusters {
            for service in &cluster.services {
                let key = ServiceKey::new(&deployment.name, cluster_name, service.name());
                pause_service(&key, service, desired, reason, now_ms, &mut actions);
            }
        }
    }
    actions
}

fn pause_service(
    key: &ServiceKey,
    service: &Service,
    desired: &Desired<'_>,
    reason: &str,
    now_ms: u64,
    actions: &mut Vec<Action>,
) {
    let Some(runtime) = &service.runtime else {
        return;
    };
    let before = desired.records.get(key);
    if before.is_none_or(|record| record.paused_at_ms.is_none()) {
        let mut record = before.cloned().unwrap_or_default();
        record.paused_at_ms = Some(now_ms);
        actions.push(Action::Record(key.clone(), record));
    }
    let text = format!("the driver does not answer, so nothing is started or stopped: {reason}");
    if runtime.status.notification.as_ref() != Some(&text) && runtime.status.phase != Phase::Failed {
        let mut runtime = runtime.clone();
        runtime.status.notification = Some(text);
        actions.push(Action::Runtime(key.clone(), Box::new(runtime)));
    }
}

/// A service that is remembered and not wanted by anybody: its instances go as in an undeployment.
fn ownerless(
    key: &ServiceKey,
    record: &ServiceRecord,
    settings: &Settings,
    observed: &Observed,
    now_ms: u64,
    actions: &mut Vec<Action>,
) {
    let mut crew = Crew::new(record.clone(), settings, observed, now_ms);
    crew.look();
    crew.retire_all();
    crew.progress(actions);
    if crew.record.instances.is_empty() {
        actions.push(Action::Forget(key.clone()));
    } else if crew.record != *record {
        actions.push(Action::Record(key.clone(), crew.record));
    }
}

/// Instances of deployments that nobody remembers.
fn orphans(desired: &Desired<'_>, observed: &Observed, actions: &mut Vec<Action>) {
    let known: BTreeSet<&str> = desired
        .records
        .values()
        .flat_map(|record| &record.instances)
        .map(|instance| instance.id.as_str())
        .collect();
    for (id, seen) in &observed.instances {
        let free = seen.of_deployment
            && !known.contains(id.as_str())
            && !observed.stopping.contains(id)
            && observed.held.has_released(id);
        if free {
            actions.push(Action::Stop {
                id: id.clone(),
                grace_ms: desired.settings.stop_grace_ms,
            });
        }
    }
}

#[cfg(test)]
mod tests;
