//! Which keys there are, and what a control was started with.

use std::time::Duration;

use serde_json::{Value, json};
use weir_artifact::units;

use super::{Flat, PREFIX};
use crate::config::{Config, Storage};

/// Keys that can change while control runs.
pub(super) const LIVE: [&str; 16] = [
    "vamp.gateway-driver.host",
    "vamp.model.default-deployable-type",
    "vamp.model.plural-kinds",
    "vamp.operation.deployment.scale.cpu",
    "vamp.operation.deployment.scale.instances",
    "vamp.operation.deployment.scale.memory",
    "vamp.operation.gateway.port-range",
    "vamp.operation.gateway.virtual-hosts.enabled",
    "vamp.operation.health.window",
    "vamp.operation.info.message",
    "vamp.operation.metrics.window",
    "vamp.operation.synchronization.timeout.ready-for-deployment",
    "vamp.pulse.retention.age",
    "vamp.pulse.retention.bytes",
    "vamp.pulse.retention.events",
    "vamp.pulse.retention.figures",
];

/// Every key that has a meaning here, as this control was started.
pub(super) fn of(config: &Config) -> Flat {
    let parts = [
        api(config),
        operation(config),
        deployments(config),
        events(config),
        outside(config),
    ];
    parts
        .into_iter()
        .flatten()
        .map(|(key, value)| (format!("{PREFIX}{key}"), value))
        .collect()
}

type Pairs = Vec<(&'static str, Value)>;

/// Where the API is and how it answers.
fn api(config: &Config) -> Pairs {
    vec![
        ("namespace", json!(config.namespace)),
        ("http-api.interface", json!(config.listen.ip().to_string())),
        ("http-api.port", json!(config.listen.port())),
        ("http-api.ssl", json!(config.tls.is_some())),
        ("http-api.authentication", json!(config.authentication)),
        ("http-api.response-timeout", duration(config.request_timeout)),
        ("http-api.strip-path-segments", json!(config.strip_path_segments)),
        ("http-api.sse.keep-alive-timeout", duration(config.sse_heartbeat)),
        ("operation.info.message", json!(super::live::MESSAGE)),
        ("operation.info.timeout", duration(crate::api::PART_TIMEOUT)),
    ]
}

/// What control does by itself, and when.
fn operation(config: &Config) -> Pairs {
    let checks = config.checks;
    vec![
        (
            "operation.synchronization.period",
            duration(config.reconcile_period),
        ),
        (
            "operation.synchronization.timeout.ready-for-deployment",
            duration(config.deploy_timeout),
        ),
        ("operation.synchronization.check.cpu", json!(checks.cpu)),
        ("operation.synchronization.check.memory", json!(checks.memory)),
        (
            "operation.synchronization.check.health-checks",
            json!(checks.health_checks),
        ),
        // What always counts.
        ("operation.synchronization.check.instances", json!(true)),
        ("operation.synchronization.check.deployable", json!(true)),
        ("operation.synchronization.check.ports", json!(true)),
        (
            "operation.synchronization.check.environment-variables",
            json!(true),
        ),
        // One loop does both.
        ("operation.sla.period", duration(config.sla_period)),
        ("operation.escalation.period", duration(config.sla_period)),
        ("operation.health.window", duration(super::live::WINDOW)),
        ("operation.metrics.window", duration(super::live::WINDOW)),
    ]
}

/// What is deployed, with what, and how gateways and instances get their ports.
fn deployments(config: &Config) -> Pairs {
    let scale = config.default_scale;
    let (gateways, instances) = (&config.gateway_ports, &config.instance_ports);
    let range = |ports: &std::ops::RangeInclusive<u16>| json!(format!("{}-{}", ports.start(), ports.end()));
    vec![
        (
            "model.default-deployable-type",
            json!(config.default_deployable_type),
        ),
        ("model.plural-kinds", json!(false)),
        ("operation.deployment.scale.instances", json!(scale.instances)),
        ("operation.deployment.scale.cpu", json!(scale.cpu)),
        (
            "operation.deployment.scale.memory",
            json!(units::memory_text(scale.memory_mb)),
        ),
        (
            "operation.deployment.drain-timeout",
            duration(config.drain_timeout),
        ),
        (
            "operation.deployment.unhealthy-timeout",
            duration(config.unhealthy_timeout),
        ),
        ("operation.deployment.stop-grace", duration(config.stop_grace)),
        ("operation.deployment.port-range", range(instances)),
        // Null: any amount.
        (
            "operation.deployment.quota.instances",
            json!(config.quota.instances),
        ),
        ("operation.deployment.quota.cpu", json!(config.quota.cpu)),
        (
            "operation.deployment.quota.memory",
            json!(config.quota.memory_mb.map(units::memory_text)),
        ),
        (
            "operation.deployment.enforce-capacity",
            json!(config.enforce_capacity),
        ),
        ("operation.gateway.port-range", range(gateways)),
        ("operation.gateway.virtual-hosts.enabled", json!(true)),
        (
            "operation.gateway.interface",
            json!(config.gateway_address.to_string()),
        ),
    ]
}

/// How long events are kept, and how many.
fn events(config: &Config) -> Pairs {
    let retention = config.events;
    vec![
        ("pulse.type", json!(kind(&config.storage))),
        ("pulse.retention.age", duration(retention.age)),
        ("pulse.retention.figures", duration(retention.figures_age)),
        ("pulse.retention.events", json!(retention.events_max)),
        ("pulse.retention.bytes", json!(retention.bytes_max)),
    ]
}

/// What control stands on.
fn outside(config: &Config) -> Pairs {
    let marshallers: Vec<Value> = config
        .haproxy
        .iter()
        .map(|name| json!({"type": crate::vga::HAPROXY, "name": name}))
        .collect();
    vec![
        ("persistence.database.type", json!(kind(&config.storage))),
        ("persistence.key-value-store.type", json!(config.store.kind())),
        (
            "persistence.key-value-store.base-path",
            json!(format!("/{}", config.prefix)),
        ),
        ("gateway-driver.host", json!(config.gateway_host)),
        ("gateway-driver.marshallers", Value::Array(marshallers)),
        ("gateway-driver.elasticsearch.metrics.index", json!("vamp-vga-*")),
        ("gateway-driver.elasticsearch.metrics.type", json!("log")),
        ("container-driver.label-namespace", json!("io.vamp")),
        ("container-driver.process.limits", json!(config.limit_processes)),
    ]
}

fn kind(storage: &Storage) -> &'static str {
    match storage {
        Storage::Memory => "memory",
        Storage::Sqlite => "sqlite",
        Storage::Postgres(_) => "postgres",
    }
}

/// As configuration files write it.
fn duration(duration: Duration) -> Value {
    match duration.subsec_millis() {
        0 => json!(format!("{}s", duration.as_secs())),
        _ => json!(format!("{}ms", duration.as_millis())),
    }
}
