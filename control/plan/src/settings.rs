//! Settings of the rules.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive};

use weir_artifact::Scale;

/// Settings of the rules. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Address under which services reach gateways (`$cluster.host`).
    pub gateway_host: String,
    /// Address on which agents open gateways' ports.
    pub gateway_address: IpAddr,
    /// Ports for gateways that name none.
    pub gateway_ports: RangeInclusive<u16>,
    /// Whether gateways receive a default virtual host.
    pub virtual_hosts: bool,
    /// Scale of a service that has none.
    pub default_scale: Scale,
    /// Type of a deployable that has none.
    pub default_deployable_type: String,
    /// Driver arguments that every new service receives first.
    pub default_arguments: Vec<(String, String)>,
    /// Prefix of the labels of instances, `io.vamp` by default.
    pub label_namespace: String,
    /// Which part of the dialects is for the driver in use.
    pub dialect: String,
    /// The same for types of deployables that another driver runs.
    pub dialects: BTreeMap<String, String>,
    /// Shortest time from the moment when no agent sends an instance new requests to the moment when it is stopped:
    /// for a request that was being routed at that moment.
    pub drain_min_ms: u64,
    /// Longest such time: requests that are under way then are cut. It counts too where it is not known how many
    /// there are.
    pub drain_max_ms: u64,
    /// Time for an instance to end by itself before it is killed.
    pub stop_grace_ms: u64,
    /// An instance whose checks failed for this long is replaced: another is started, and it leaves when that one is
    /// ready; 0: never.
    pub unhealthy_ms: u64,
    /// Whether another number of processors replaces instances (Vamp: `check.cpu`).
    pub check_cpu: bool,
    /// Whether another amount of memory replaces instances (Vamp: `check.memory`).
    pub check_memory: bool,
    /// Whether other health checks replace instances (Vamp: `check.health-checks`).
    pub check_health_checks: bool,
    /// An instance that was ready for this long and exits begins a new count of failures.
    pub stable_ms: u64,
    /// So many exits in a row make a service failed.
    pub exits_max: u32,
    /// A service that is not as wanted after this time has failed; 0: never.
    pub timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gateway_host: "127.0.0.1".to_owned(),
            gateway_address: IpAddr::from([127, 0, 0, 1]),
            gateway_ports: 40_000..=45_000,
            virtual_hosts: true,
            default_scale: Scale {
                cpu: 1.0,
                memory_mb: 1024.0,
                instances: 1,
            },
            default_deployable_type: "container/docker".to_owned(),
            default_arguments: Vec::new(),
            label_namespace: "io.vamp".to_owned(),
            dialect: "process".to_owned(),
            dialects: BTreeMap::new(),
            drain_min_ms: 500,
            drain_max_ms: 30_000,
            stop_grace_ms: 10_000,
            unhealthy_ms: 60_000,
            check_cpu: false,
            check_memory: false,
            check_health_checks: false,
            stable_ms: 5_000,
            exits_max: 5,
            timeout_ms: 600_000,
        }
    }
}
