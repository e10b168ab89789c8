//! Which keys there are, and what a control was started with.

use std::time::Duration;

use serde_json::{Value, json};

use super::Flat;
use crate::config::{Config, Storage};

/// Keys that can change while control runs.
pub(super) const LIVE: [&str; 11] = [
    "vamp.gateway-driver.host",
    "vamp.model.default-deployable-type",
    "vamp.operation.deployment.scale.cpu",
    "vamp.operation.deployment.scale.instances",
    "vamp.operation.deployment.scale.memory",
    "vamp.operation.gateway.port-range",
    "vamp.operation.gateway.virtual-hosts.enabled",
    "vamp.operation.health.window",
    "vamp.operation.info.message",
    "vamp.operation.metrics.window",
    "vamp.operation.synchronization.timeout.ready-for-deployment",
];

/// Every key that has a meaning here, as this control was started.
pub(super) fn of(config: &Config) -> Flat {
    let storage = match config.storage {
        Storage::Memory => "memory",
        Storage::Sqlite => "sqlite",
        Storage::Postgres(_) => "postgres",
    };
    let ports = &config.gateway_ports;
    let scale = config.default_scale;
    let pairs: [(&str, Value); 25] = [
        ("vamp.namespace", json!(config.namespace)),
        ("vamp.http-api.interface", json!(config.listen.ip().to_string())),
        ("vamp.http-api.port", json!(config.listen.port())),
        ("vamp.http-api.response-timeout", duration(config.request_timeout)),
        (
            "vamp.http-api.strip-path-segments",
            json!(config.strip_path_segments),
        ),
        (
            "vamp.http-api.sse.keep-alive-timeout",
            duration(config.sse_heartbeat),
        ),
        (
            "vamp.model.default-deployable-type",
            json!(config.default_deployable_type),
        ),
        ("vamp.operation.info.message", json!(super::live::MESSAGE)),
        (
            "vamp.operation.synchronization.period",
            duration(config.reconcile_period),
        ),
        (
            "vamp.operation.synchronization.timeout.ready-for-deployment",
            duration(config.deploy_timeout),
        ),
        (
            "vamp.operation.deployment.scale.instances",
            json!(scale.instances),
        ),
        ("vamp.operation.deployment.scale.cpu", json!(scale.cpu)),
        (
            "vamp.operation.deployment.scale.memory",
            json!(weir_artifact::units::memory_text(scale.memory_mb)),
        ),
        (
            "vamp.operation.gateway.port-range",
            json!(format!("{}-{}", ports.start(), ports.end())),
        ),
        ("vamp.operation.gateway.virtual-hosts.enabled", json!(true)),
        ("vamp.operation.health.window", duration(super::live::WINDOW)),
        ("vamp.operation.metrics.window", duration(super::live::WINDOW)),
        ("vamp.persistence.database.type", json!(storage)),
        (
            "vamp.persistence.key-value-store.type",
            json!(config.store.kind()),
        ),
        (
            "vamp.persistence.key-value-store.base-path",
            json!(format!("/{}", config.prefix)),
        ),
        ("vamp.pulse.type", json!(storage)),
        ("vamp.gateway-driver.host", json!(config.gateway_host)),
        (
            "vamp.gateway-driver.elasticsearch.metrics.index",
            json!("vamp-vga-*"),
        ),
        ("vamp.gateway-driver.elasticsearch.metrics.type", json!("log")),
        ("vamp.container-driver.label-namespace", json!("io.vamp")),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// As configuration files write it.
fn duration(duration: Duration) -> Value {
    match duration.subsec_millis() {
        0 => json!(format!("{}s", duration.as_secs())),
        _ => json!(format!("{}ms", duration.as_millis())),
    }
}
