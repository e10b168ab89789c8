//! Labels of our containers: whose they are, and what the engine does not keep of a spec.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use weir_driver::{HealthCheckSpec, HealthProtocol, InstanceSpec};

/// Whose it is.
pub(crate) const NAMESPACE: &str = "io.weir.namespace";
/// The instance's id.
pub(crate) const INSTANCE: &str = "io.weir.instance";
/// [`Record`], as JSON.
const RECORD: &str = "io.weir.record";

/// Form of [`Record`].
const VERSION: u32 = 1;

/// What is needed of a spec to look after its container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// The spec's labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Port name to the number inside.
    pub(crate) ports: BTreeMap<String, u16>,
    /// How it is reached.
    pub(crate) way: Way,
    health_checks: Vec<CheckRecord>,
    /// Megabytes of its scale, to say how much it had.
    pub(crate) memory_mb: f64,
}

/// How the ports of a container are reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// At ports of the engine's host that the engine chose.
    Published,
    /// At its own address in this network.
    Address(String),
    /// At the same ports of the engine's host.
    Host,
    /// Not at all.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CheckRecord {
    tcp: bool,
    port: String,
    path: String,
    initial_delay_ms: u64,
    timeout_ms: u64,
    interval_ms: u64,
    failures: u32,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Record {
    pub(crate) fn new(spec: &InstanceSpec, ports: BTreeMap<String, u16>, way: Way) -> Record {
        let health_checks = spec.health_checks.iter().map(|check| CheckRecord {
            tcp: check.protocol == HealthProtocol::Tcp,
            port: check.port.clone(),
            path: check.path.clone(),
            initial_delay_ms: millis(check.initial_delay),
            timeout_ms: millis(check.timeout),
            interval_ms: millis(check.interval),
            failures: check.failures,
        });
        Record {
            version: VERSION,
            labels: spec.labels.clone(),
            ports,
            way,
            health_checks: health_checks.collect(),
            memory_mb: spec.memory_mb,
        }
    }

    /// `None`: not written by this driver, or by a later one in another form.
    pub(crate) fn of(labels: &HashMap<String, String>) -> Option<Record> {
        let record: Record = serde_json::from_str(labels.get(RECORD)?).ok()?;
        (record.version == VERSION).then_some(record)
    }

    pub(crate) fn health_checks(&self) -> Vec<HealthCheckSpec> {
        let checks = self.health_checks.iter().map(|check| HealthCheckSpec {
            protocol: if check.tcp {
                HealthProtocol::Tcp
            } else {
                HealthProtocol::Http
            },
            port: check.port.clone(),
            path: check.path.clone(),
            initial_delay: Duration::from_millis(check.initial_delay_ms),
            timeout: Duration::from_millis(check.timeout_ms),
            interval: Duration::from_millis(check.interval_ms),
            failures: check.failures,
        });
        checks.collect()
    }
}

/// All labels of a container: the spec's own, Vamp's (core behaviour §7: what it is, its id, its scale), and
/// ours.
pub(crate) fn labels(
    spec: &InstanceSpec,
    record: &Record,
    namespace: &str,
    vamp: &str,
) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    let is_workflow = spec.labels.contains_key(&format!("{vamp}.workflow"));
    let what = if is_workflow {
        "workflow"
    } else {
        "deployment-service"
    };
    let scale = json!({"name": "", "instances": 1, "cpu": spec.cpu, "memory": spec.memory_mb});
    let record = serde_json::to_string(record).expect("plain data with text keys always serialises");
    labels.extend([
        (vamp.to_owned(), what.to_owned()),
        (format!("{vamp}.id"), spec.id.clone()),
        (format!("{vamp}.scale"), scale.to_string()),
        (NAMESPACE.to_owned(), namespace.to_owned()),
        (INSTANCE.to_owned(), spec.id.clone()),
        (RECORD.to_owned(), record),
    ]);
    labels
}
