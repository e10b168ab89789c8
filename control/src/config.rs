//! Settings of control. Every field has a default but where things are: see [`Config::new`].

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use weir_artifact::Scale;
use weir_store::Store;

/// Which pages may use the API in browsers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Those of this host: loopback addresses, and the name by which the API itself was asked unless it
    /// listens on a loopback address.
    #[default]
    Local,
    /// All (what Vamp did). Control runs commands: only behind something that asks who is there.
    Any,
}

/// Where artifacts and events are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// A database in the data folder.
    #[default]
    Sqlite,
    /// Nowhere after the end of the process: for tests and trials.
    Memory,
}

/// Settings of control.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where the API listens. Port 0: any free port. Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// Folder of the database and of the instances' files; made if it is not there.
    pub data_dir: PathBuf,
    /// Where snapshots are published.
    pub store: Arc<dyn Store>,
    /// Prefix of every key in the store, without slashes at its ends. Default `vamp/default`.
    pub prefix: String,
    /// Namespace: first segment of the long form of API paths, label of instances. Default `default`.
    pub namespace: String,
    /// Address under which services reach gateways. Default 127.0.0.1.
    pub gateway_host: String,
    /// Address on which agents open gateways' ports. Default 127.0.0.1.
    pub gateway_address: IpAddr,
    /// Ports for gateways that name none. Default 40000 to 45000.
    pub gateway_ports: RangeInclusive<u16>,
    /// Ports for instances whose breeds name none. Default 31000 to 32700.
    pub instance_ports: RangeInclusive<u16>,
    /// Whether instances go on running when control stops. Default false.
    pub keep_instances: bool,
    /// Type of a deployable that has none. Default `container/docker`.
    pub default_deployable_type: String,
    /// Scale of a service that has none. Default one instance, 1 cpu, 1024 MB.
    pub default_scale: Scale,
    /// Time between two runs of the reconcilers when nothing wakes them. Default 2 s.
    pub reconcile_period: Duration,
    /// A service that is not as wanted after this time has failed; zero: never. Default 600 s.
    pub deploy_timeout: Duration,
    /// Time for an instance to end by itself before it is killed. Default 10 s.
    pub stop_grace: Duration,
    /// Events whose own time is older than this are removed; zero: never. Default 30 days.
    pub event_retention: Duration,
    /// Time for one API request. Default 30 s.
    pub request_timeout: Duration,
    /// Which pages may use the API in browsers. Default: those of this host.
    pub origins: Origins,
    /// Where artifacts and events are kept. Default: a database in the data folder.
    pub storage: Storage,
}

impl Config {
    /// Defaults, with this folder and this store.
    pub fn new(data_dir: impl Into<PathBuf>, store: Arc<dyn Store>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            data_dir: data_dir.into(),
            store,
            prefix: "vamp/default".to_owned(),
            namespace: "default".to_owned(),
            gateway_host: "127.0.0.1".to_owned(),
            gateway_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            gateway_ports: 40_000..=45_000,
            instance_ports: 31_000..=32_700,
            keep_instances: false,
            default_deployable_type: "container/docker".to_owned(),
            default_scale: Scale {
                cpu: 1.0,
                memory_mb: 1024.0,
                instances: 1,
            },
            reconcile_period: Duration::from_secs(2),
            deploy_timeout: Duration::from_secs(600),
            stop_grace: Duration::from_secs(10),
            event_retention: Duration::from_secs(30 * 24 * 60 * 60),
            request_timeout: Duration::from_secs(30),
            origins: Origins::default(),
            storage: Storage::default(),
        }
    }
}
