//! Settings of control. Every field has a default but where things are: see [`Config::new`].

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use weir_artifact::Scale;
use weir_plan::Quota;
use weir_store::Store;

use crate::event::retention::Retention;

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
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Storage {
    /// A database in the data folder.
    #[default]
    Sqlite,
    /// Nowhere after the end of the process: for tests and trials.
    Memory,
    /// A PostgreSQL database at this URL, in the schema `weir_NAMESPACE`; several controls may share it
    /// (`weir_persist::postgres`).
    Postgres(String),
}

impl fmt::Debug for Storage {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "Sqlite",
            Self::Memory => "Memory",
            Self::Postgres(_) => "Postgres",
        })
    }
}

/// A certificate with its key, both PEM. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// What replaces running instances when it changes, beside what they run (Vamp: `operation.synchronization.check`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Another number of processors.
    pub cpu: bool,
    /// Another amount of memory.
    pub memory: bool,
    /// Other health checks.
    pub health_checks: bool,
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
    /// Whether processors and memory of scales are limits for processes too, as far as control may make control
    /// groups. Default false.
    pub limit_processes: bool,
    /// Which Docker Engine runs containers. Default: the one that is found, if any.
    pub docker: crate::Docker,
    /// Whether instances go on running when control stops. Default false.
    pub keep_instances: bool,
    /// Type of a deployable that has none. Default `container/docker`.
    pub default_deployable_type: String,
    /// Scale of a service that has none. Default one instance, 1 cpu, 1024 MB.
    pub default_scale: Scale,
    /// Time between two runs of the reconcilers when nothing wakes them. Default 4 s (Vamp: 6 s); what is due earlier is done earlier.
    pub reconcile_period: Duration,
    /// A service that is not as wanted after this time has failed; zero: never. Default 600 s.
    pub deploy_timeout: Duration,
    /// Longest time that an instance which takes no new requests is given to end those under way, before it is
    /// stopped. Default 30 s.
    pub drain_timeout: Duration,
    /// An instance whose health checks fail for this long is replaced by another; zero: never. Default 60 s.
    pub unhealthy_timeout: Duration,
    /// What else replaces instances when it changes.
    pub checks: Checks,
    /// Most that the deployments may ask for together. Default: any amount.
    pub quota: Quota,
    /// Whether deployments together may ask for no more than the driver has. Default false: what is asked for is
    /// rarely used all the time.
    pub enforce_capacity: bool,
    /// Time between two looks at the promises of clusters; zero: never. Default 5 s.
    pub sla_period: Duration,
    /// Time for an instance to end by itself before it is killed. Default 10 s.
    pub stop_grace: Duration,
    /// How long events are kept, and how many.
    pub events: Retention,
    /// Segments that are taken away from the beginning of every path of a request, for who stands behind
    /// something that adds them. Default 0.
    pub strip_path_segments: usize,
    /// Time for one API request. Default 30 s.
    pub request_timeout: Duration,
    /// Which pages may use the API in browsers. Default: those of this host.
    pub origins: Origins,
    /// Whether requests need a token. Default false: for what listens on a loopback address and for tests. The
    /// program `weir-control` turns it on.
    pub authentication: bool,
    /// Where the token that is made at the first start is written; `None`: [`crate::Control::first_token`]
    /// alone has it.
    pub admin_token_file: Option<PathBuf>,
    /// Certificate and key of the API's listener; `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// What `/proxy/host/...` may reach beside what is managed here: `HOST`, `HOST:PORT`, or `*` for anything.
    /// Default nothing.
    pub proxied_hosts: Vec<String>,
    /// Time without an event after which a stream says that it is alive. Default 15 s.
    pub sse_heartbeat: Duration,
    /// What `/logs` shows; `None`: nothing. See [`crate::LogFeed`].
    pub logs: Option<crate::LogFeed>,
    /// Where artifacts and events are kept. Default: a database in the data folder.
    pub storage: Storage,
    /// Whether controls elect one that leads also where the store belongs to this process (embedded), since others
    /// reach it. Default false: such a store has one control. With any other store there always is an election.
    pub election: bool,
    /// Names under which text for HAProxy is published (Vamp's marshallers). Default `1.7`.
    pub haproxy: Vec<String>,
    /// Folder of the Unix sockets in that text, on the hosts of the agents that read it. Default `/usr/local/vamp`.
    pub haproxy_sockets: String,
    /// Token of the agents' admin listeners; `None`: they ask for none.
    pub agent_token: Option<AgentToken>,
    /// Certificates (PEM) that agents' admin listeners with TLS are trusted by; `None`: those of this host.
    pub agent_authority: Option<PathBuf>,
}

/// Token of the agents' admin listeners. It stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct AgentToken(String);

impl AgentToken {
    /// From its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for AgentToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
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
            limit_processes: false,
            docker: crate::Docker::default(),
            keep_instances: false,
            default_deployable_type: "container/docker".to_owned(),
            default_scale: Scale {
                cpu: 1.0,
                memory_mb: 1024.0,
                instances: 1,
            },
            reconcile_period: Duration::from_secs(4),
            deploy_timeout: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(30),
            unhealthy_timeout: Duration::from_secs(60),
            checks: Checks::default(),
            quota: Quota::default(),
            enforce_capacity: false,
            sla_period: Duration::from_secs(5),
            stop_grace: Duration::from_secs(10),
            events: Retention::default(),
            strip_path_segments: 0,
            request_timeout: Duration::from_secs(30),
            origins: Origins::default(),
            authentication: false,
            admin_token_file: None,
            tls: None,
            proxied_hosts: Vec::new(),
            sse_heartbeat: Duration::from_secs(15),
            logs: None,
            storage: Storage::default(),
            election: false,
            haproxy: vec!["1.7".to_owned()],
            haproxy_sockets: "/usr/local/vamp".to_owned(),
            agent_token: None,
            agent_authority: None,
        }
    }
}
