//! Deployments and what runs of them.

use jiff::{Timestamp, tz::Offset};
use serde_json::{Map, Value, json};
use weir_model::lookup;

use super::{Fields, blueprint, map, variables};
use crate::{Deployment, Health, Intention, Phase, ServiceInstance, ServiceStatus};

pub(super) fn deployment(deployment: &Deployment) -> Map<String, Value> {
    Fields::default()
        .head(&deployment.name, "deployment", &deployment.metadata)
        .put("lookup_name", lookup::artifact("Deployment", &deployment.name))
        .put("clusters", map(&deployment.clusters, blueprint::cluster))
        .put("ports", map(&deployment.ports, |port| port.clone().into()))
        .put(
            "environment_variables",
            variables(&deployment.environment_variables),
        )
        .put("hosts", map(&deployment.hosts, |host| host.clone().into()))
        .put("dialects", deployment.dialects.clone())
        .0
}

pub(super) fn status(status: &ServiceStatus) -> Value {
    let intention = match status.intention {
        Intention::Deployment => "Deployment",
        Intention::Undeployment => "Undeployment",
    };
    let phase = match status.phase {
        Phase::Initiated => "Initiated",
        Phase::Updating => "Updating",
        Phase::Done => "Done",
        Phase::Failed => "Failed",
    };
    let phase = Fields::default()
        .put("name", phase)
        .put("since", date(status.phase_since_ms))
        .put_some("notification", status.notification.clone());
    Fields::default()
        .put("intention", intention)
        .put("since", date(status.since_ms))
        .put("phase", phase.0)
        .0
        .into()
}

/// ISO 8601 with offset. Beyond the year 9999 it is the end of that year: the form has no more digits.
fn date(ms: u64) -> String {
    let date = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    date.unwrap_or(Timestamp::MAX)
        .display_with_offset(Offset::UTC)
        .to_string()
}

pub(super) fn instances(instances: &[ServiceInstance]) -> Value {
    instances
        .iter()
        .map(|instance| {
            Fields::default()
                .put("name", instance.name.clone())
                .put("host", instance.host.clone())
                .put("ports", map(&instance.ports, |port| (*port).into()))
                .put("deployed", instance.deployed)
                .put("metadata", instance.metadata.clone())
                .0
        })
        .collect()
}

pub(super) fn health(health: Health) -> Value {
    json!({
        "staged": health.staged,
        "running": health.running,
        "healthy": health.healthy,
        "unhealthy": health.unhealthy,
    })
}
