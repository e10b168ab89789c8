//! Settings of an agent.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use weir_model::AgentId;
use weir_store::Store;

use crate::{Dns, Secret, Shipping};

/// Settings of an agent.
#[derive(Debug)]
pub struct Config {
    /// Who it is; `None`: the id in `data_dir`, made at the first start.
    pub id: Option<AgentId>,
    /// Folder of the id and the last good snapshot; made if it is not there. One agent at a time.
    pub data_dir: PathBuf,
    /// What to follow.
    pub store: Arc<dyn Store>,
    /// What its keys begin with: `vamp/default`; slashes at the ends do not matter.
    pub prefix: String,
    /// Where the admin listener binds; port 0: any free port.
    pub admin: SocketAddr,
    /// Where control reaches the admin listener: `host:port`, or `unix:PATH` for its Unix socket on control's own host;
    /// `None`: the address it is bound to.
    pub advertise: Option<String>,
    /// What the admin listener asks of everybody, but for `/health`; `None`: nothing.
    pub admin_token: Option<Secret>,
    /// TLS of the admin listener; `None`: it is clear.
    pub admin_tls: Option<AdminTls>,
    /// A Unix socket at which the same is served, without a token: who may open it may ask.
    pub admin_socket: Option<PathBuf>,
    /// Name and password of the statistics pages, beside the token.
    pub statistics: Option<(String, Secret)>,
    /// Records of the access log to Elasticsearch; its tap must be that of the data plane's log. `None`: none.
    pub shipping: Option<Shipping>,
    /// Names of virtual hosts; `None`: they are not answered.
    pub dns: Option<Dns>,
    /// The data plane.
    pub proxy: weir_proxy::Config,
    /// How long the store keeps the agent's acknowledgement after its last sign of life.
    pub lease_ttl: Duration,
}

/// A certificate chain and its key, both PEM files, read at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminTls {
    /// The chain, the server's own first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Config {
    /// Prefix of Vamp's default namespace.
    pub const PREFIX_DEFAULT: &str = "vamp/default";
    /// Port of Vamp's statistics listener, on loopback.
    pub const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1988);

    /// Defaults around what has none.
    pub fn new(store: Arc<dyn Store>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            id: None,
            data_dir: data_dir.into(),
            store,
            prefix: Self::PREFIX_DEFAULT.to_owned(),
            admin: Self::ADMIN_DEFAULT,
            advertise: None,
            admin_token: None,
            admin_tls: None,
            admin_socket: None,
            statistics: None,
            shipping: None,
            dns: None,
            proxy: weir_proxy::Config::default(),
            lease_ttl: Duration::from_secs(10),
        }
    }
}
