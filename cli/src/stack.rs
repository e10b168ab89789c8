//! Control, a gateway agent and a store in this process: what `weir up` and `weir demo` run.

use std::{
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use weir_agent::Agent;
use weir_control::Control;
use weir_store::{Store, embedded::Embedded, remote};

/// Time for requests in flight when the agent stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Prefix of every key in the store.
const PREFIX: &str = "vamp/default";

/// Where things are and listen.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Everything durable; made if it is not there.
    pub(crate) data_dir: PathBuf,
    /// API and UI; port 0: any free port.
    pub(crate) listen: SocketAddr,
    /// Where gateways listen.
    pub(crate) gateway_address: IpAddr,
    /// Under which services reach them.
    pub(crate) gateway_host: String,
    /// Which engine runs containers.
    pub(crate) docker: weir_control::Docker,
    /// Where gateways are reached by host name.
    pub(crate) virtual_hosts: Option<SocketAddr>,
    /// Threads of the proxy; `None`: one per processor.
    pub(crate) workers: Option<usize>,
    /// Whether instances go on running when this stops.
    pub(crate) keep_instances: bool,
    /// Whether scales limit processes too.
    pub(crate) limit_processes: bool,
    /// How long events are kept, and how many.
    pub(crate) events: weir_control::Retention,
    /// For gateways that ask for no port.
    pub(crate) gateway_ports: (u16, u16),
    /// For instances.
    pub(crate) instance_ports: (u16, u16),
    /// Whether the API asks for a token.
    pub(crate) authentication: bool,
    /// What the API shows of the log.
    pub(crate) logs: weir_control::LogFeed,
}

impl Settings {
    /// Where the admin's token is, if the API asks for one.
    pub(crate) fn admin_token_file(&self) -> PathBuf {
        self.data_dir.join("admin-token")
    }
}

/// Everything, running.
#[derive(Debug)]
pub(crate) struct Stack {
    control: Control,
    agent: Agent,
    store_address: SocketAddr,
    store_server: JoinHandle<()>,
    store_shutdown: CancellationToken,
    _lock: Lock,
}

impl Stack {
    /// Starts everything, or nothing.
    pub(crate) async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let data_dir = &settings.data_dir;
        std::fs::create_dir_all(data_dir)
            .with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
        let lock = Lock::take(data_dir)?;
        let path = data_dir.join("store.redb");
        let opened = tokio::task::spawn_blocking(move || Embedded::open(&path)).await?;
        let store: Arc<dyn Store> = Arc::new(opened.context("cannot open the store")?);

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let store_address = listener.local_addr()?;
        let store_shutdown = CancellationToken::new();
        let serving = remote::serve(listener, Arc::clone(&store), store_shutdown.clone());
        let store_server = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the store is no longer served to other agents");
            }
        });
        let _stop_on_error = store_shutdown.clone().drop_guard();

        let mut config = weir_control::Config::new(data_dir.join("control"), Arc::clone(&store));
        config.listen = settings.listen;
        config.prefix = PREFIX.to_owned();
        config.gateway_address = settings.gateway_address;
        config.gateway_host.clone_from(&settings.gateway_host);
        config.docker = settings.docker.clone();
        config.gateway_ports = settings.gateway_ports.0..=settings.gateway_ports.1;
        config.instance_ports = settings.instance_ports.0..=settings.instance_ports.1;
        config.keep_instances = settings.keep_instances;
        config.limit_processes = settings.limit_processes;
        config.events = settings.events;
        config.authentication = settings.authentication;
        config.admin_token_file = Some(settings.admin_token_file());
        config.logs = Some(settings.logs.clone());
        let control = Box::pin(Control::start(config))
            .await
            .with_context(|| format!("cannot start control on {}", settings.listen))?;

        let agent = match Box::pin(Self::agent(settings, store)).await {
            Ok(agent) => agent,
            Err(error) => {
                Box::pin(control.shutdown()).await;
                return Err(error);
            }
        };
        let _ = _stop_on_error.disarm();
        Ok(Self {
            control,
            agent,
            store_address,
            store_server,
            store_shutdown,
            _lock: lock,
        })
    }

    async fn agent(settings: &Settings, store: Arc<dyn Store>) -> anyhow::Result<Agent> {
        let mut config = weir_agent::Config::new(store, settings.data_dir.join("agent"));
        config.prefix = PREFIX.to_owned();
        config.admin = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.proxy.virtual_hosts = settings.virtual_hosts;
        if let Some(workers) = settings.workers {
            config.proxy.workers = workers;
        }
        Agent::start(config)
            .await
            .context("cannot start the gateway agent")
    }

    /// Where the API and the UI are.
    pub(crate) fn api(&self) -> String {
        format!("http://{}", self.control.address())
    }

    /// Where further agents find the store.
    pub(crate) fn store(&self) -> String {
        format!("weir://{}", self.store_address)
    }

    /// `host:port` of the agent's metrics.
    pub(crate) fn admin(&self) -> String {
        self.agent.admin_address().to_string()
    }

    /// Stops everything: first control (with the instances, unless they are kept), then the agent.
    pub(crate) async fn shutdown(self) {
        Box::pin(self.control.shutdown()).await;
        let drained = Box::pin(self.agent.shutdown(DRAIN)).await;
        tracing::debug!(?drained, "the agent has stopped");
        self.store_shutdown.cancel();
        // Nothing is lost if it does not end: every write is durable when it is answered.
        let _ = tokio::time::timeout(DRAIN, self.store_server).await;
    }
}

/// Exclusive use of a data folder. The kernel releases it when the process ends in whatever way.
#[derive(Debug)]
struct Lock {
    _held: File,
}

impl Lock {
    fn take(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join("lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            let _ = (&file).take(64).read_to_string(&mut owner);
            anyhow::bail!(
                "the data folder {} is in use by another `weir up` (process {}); \
                 stop that one, or give this one its own folder with --data",
                data_dir.display(),
                owner.trim()
            );
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _held: file })
    }
}

#[cfg(test)]
mod tests {
    use super::Lock;

    #[test]
    fn a_folder_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let message = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains(&format!("process {}", std::process::id())),
            "{message}"
        );
        drop(first);
        Lock::take(folder.path()).unwrap();
    }
}
