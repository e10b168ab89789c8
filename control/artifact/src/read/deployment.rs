//! Deployments as they are printed (spec of the artifacts, §12).

use indexmap::IndexMap;
use jiff::Timestamp;

use super::{
    blueprint::{self, Purpose},
    common::{self, dialects, kind, metadata, trait_text, variables},
    cursor::{Cursor, Table},
};
use crate::{Deployment, Health, Intention, Phase, ServiceInstance, ServiceRuntime, ServiceStatus};

/// A deployment with what runs.
pub(super) fn deployment(mut table: Table<'_>) -> Deployment {
    kind(&mut table, "deployment");
    let deployment = Deployment {
        name: common::name(&mut table),
        metadata: metadata(&mut table),
        clusters: blueprint::clusters(&mut table, Purpose::Deployment),
        ports: texts(&mut table, "ports"),
        environment_variables: variables(&mut table, blueprint::cluster_variable),
        hosts: texts(&mut table, "hosts"),
        dialects: dialects(&mut table),
    };
    table.finish();
    deployment
}

fn texts(table: &mut Table<'_>, key: &'static str) -> IndexMap<String, String> {
    let Some(cursor) = table.take(key) else {
        return IndexMap::new();
    };
    cursor
        .pairs()
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .filter_map(|(key, value)| Some((key.to_owned(), trait_text(&value)?.to_owned())))
        .collect()
}

/// What runs of a service; `None` without a status.
pub(super) fn runtime(table: &mut Table<'_>) -> Option<ServiceRuntime> {
    let status = table.take("status");
    let instances = table.take("instances");
    let dependencies = texts(table, "dependencies");
    let health = table
        .take("health")
        .map(|cursor| health(&cursor))
        .unwrap_or_default();
    Some(ServiceRuntime {
        status: status_of(&status?)?,
        instances: instances
            .map(|cursor| self::instances(&cursor))
            .unwrap_or_default(),
        dependencies,
        health,
    })
}

fn status_of(cursor: &Cursor<'_>) -> Option<ServiceStatus> {
    let mut table = cursor.table()?;
    let intention = table.require("intention").and_then(|cursor| {
        word(&cursor, "Deployment or Undeployment", |text| match text {
            "Deployment" => Some(Intention::Deployment),
            "Undeployment" => Some(Intention::Undeployment),
            _ => None,
        })
    });
    let since_ms = table.require("since").and_then(|cursor| date(&cursor));
    let phase = table.require("phase");
    table.finish();
    let mut table = phase?.table()?;
    let name = table.require("name").and_then(|cursor| {
        word(
            &cursor,
            "Initiated, Updating, Done or Failed",
            |text| match text {
                "Initiated" => Some(Phase::Initiated),
                "Updating" => Some(Phase::Updating),
                "Done" => Some(Phase::Done),
                "Failed" => Some(Phase::Failed),
                _ => None,
            },
        )
    });
    let phase_since_ms = table.require("since").and_then(|cursor| date(&cursor));
    let notification = common::text(&mut table, "notification");
    table.finish();
    Some(ServiceStatus {
        intention: intention?,
        since_ms: since_ms?,
        phase: name?,
        phase_since_ms: phase_since_ms?,
        notification,
    })
}

fn word<T>(cursor: &Cursor<'_>, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let value = read(cursor.text()?);
    if value.is_none() {
        cursor.unexpected_type(expected);
    }
    value
}

/// Milliseconds since the Unix epoch.
fn date(cursor: &Cursor<'_>) -> Option<u64> {
    cursor.unit(|text| {
        text.parse::<Timestamp>()
            .ok()
            .and_then(|date| u64::try_from(date.as_millisecond()).ok())
            .ok_or_else(|| "an ISO 8601 date such as `2017-04-01T12:00:00+00:00`".to_owned())
    })
}

/// What runs.
pub(super) fn instances(cursor: &Cursor<'_>) -> Vec<ServiceInstance> {
    cursor.items().iter().filter_map(instance).collect()
}

fn instance(cursor: &Cursor<'_>) -> Option<ServiceInstance> {
    let mut table = cursor.table()?;
    let name = table
        .require("name")
        .and_then(|cursor| cursor.text().map(str::to_owned));
    let host = table
        .require("host")
        .and_then(|cursor| cursor.text().map(str::to_owned));
    let ports = table.take("ports").map(|cursor| {
        let pairs = cursor.pairs().into_iter();
        pairs
            .filter_map(|(key, value)| Some((key.to_owned(), port(&value)?)))
            .collect()
    });
    let deployed = table.take("deployed").and_then(|cursor| cursor.boolean());
    let metadata = metadata(&mut table);
    table.finish();
    Some(ServiceInstance {
        name: name?,
        host: host?,
        ports: ports.unwrap_or_default(),
        deployed: deployed.unwrap_or_default(),
        metadata,
    })
}

fn port(cursor: &Cursor<'_>) -> Option<u16> {
    let port = u16::try_from(cursor.integer()?).ok();
    if port.is_none() {
        cursor.unexpected_type("a port from 0 to 65535");
    }
    port
}

/// Counts by state.
pub(super) fn health(cursor: &Cursor<'_>) -> Health {
    let Some(mut table) = cursor.table() else {
        return Health::default();
    };
    let mut count = |key| {
        table
            .take(key)
            .and_then(|cursor| cursor.count())
            .unwrap_or_default()
    };
    let health = Health {
        staged: count("staged"),
        running: count("running"),
        healthy: count("healthy"),
        unhealthy: count("unhealthy"),
    };
    table.finish();
    health
}
