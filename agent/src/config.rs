//! Settings of an agent.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use weir_model::AgentId;
use weir_store::Store;

/// Settings of an agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who it is; `None`: the id in `data_dir`, made at the first start.
    pub id: Option<AgentId>,
    /// Folder of the id and the last good snapshot; made if it is not there. One agent at a time.
    pub data_dir: PathBuf,
    /// What to follow.
    pub store: Arc<dyn Store>,
    /// What its keys begin with: `vamp/default`; slashes at the ends do not matter.
    pub prefix: String,
    /// Where the admin listener binds; port 0: any free port. It has no authentication.
    pub admin: SocketAddr,
    /// `host:port` under which control reaches the admin listener; `None`: the address it is bound to.
    pub advertise: Option<String>,
    /// The data plane.
    pub proxy: weir_proxy::Config,
    /// How long the store keeps the agent's acknowledgement after its last sign of life.
    pub lease_ttl: Duration,
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
            proxy: weir_proxy::Config::default(),
            lease_ttl: Duration::from_secs(10),
        }
    }
}
