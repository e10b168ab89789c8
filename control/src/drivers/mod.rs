//! The drivers of this control.
//!
//! **Job.** Puts the process driver and the Docker driver together ([`open`]), and keeps what drivers tell
//! people as events ([`start_notices`]).
//!
//! **Invariants.** An engine that is not there is no reason not to start: processes run without it. Only what
//! was said wrongly (an endpoint that is none, a certificate that cannot be read) is.

mod flags;
mod on_demand;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{sync::broadcast::error::RecvError, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use weir_driver::{ContainerDriver, Notice, Router};
use weir_driver_docker::{Endpoint, Reach, TlsFiles};
use weir_driver_process::ProcessDriver;
use weir_persist::EventDraft;

pub use self::flags::DockerFlags;
use self::on_demand::OnDemand;
use crate::{
    Config,
    reconcile::chain,
    state::{State, now_ms},
};

/// Folder of the process driver in the data folder.
const INSTANCES: &str = "instances";
/// File in the data folder that says that containers were started.
const USED: &str = "docker-used";
/// Longest wait for an engine that is asked for its addresses.
const ASK_MAX: Duration = Duration::from_secs(5);

/// Which Docker Engine runs containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Docker {
    /// The one that `DOCKER_HOST` names, or the one at the usual socket of this host, if there is one when
    /// a container is to be started.
    #[default]
    Found,
    /// None: containers are refused.
    Off,
    /// This one.
    At(DockerEngine),
}

/// A Docker Engine, and how its containers are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerEngine {
    /// `unix:///PATH`, `tcp://HOST:PORT`, `https://HOST:PORT`; `None`: as with [`Docker::Found`].
    pub endpoint: Option<String>,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`, for TLS.
    pub certificates: Option<PathBuf>,
    /// Gateways reach containers at their own addresses, not at ports of the engine's host. Only on that
    /// host.
    pub own_addresses: bool,
    /// Address of the engine's host on which ports are published; `None`: see
    /// [`weir_driver_docker::Config::publish_address`].
    pub publish_address: Option<IpAddr>,
    /// Network of containers whose services name none; `None`: the engine's usual one.
    pub network: Option<String>,
}

impl Docker {
    fn engine(&self) -> Option<DockerEngine> {
        match self {
            Self::Off => None,
            Self::Found => Some(DockerEngine::default()),
            Self::At(engine) => Some(engine.clone()),
        }
    }

    /// Address of the engine's host under which its containers reach what listens there on all addresses:
    /// what [`Config::gateway_host`] has to be so that services in containers reach gateways. `None`: no
    /// engine of this host answers.
    ///
    /// # Errors
    /// What was said of the engine is wrong.
    pub async fn gateway_address(&self) -> anyhow::Result<Option<IpAddr>> {
        let Some(engine) = self.engine() else {
            return Ok(None);
        };
        let Some(endpoint) = engine.endpoint()?.filter(Endpoint::is_local) else {
            return Ok(None);
        };
        let config = weir_driver_docker::Config::new(endpoint, "");
        let ask = async {
            let driver = weir_driver_docker::DockerDriver::open(config).await.ok()?;
            driver.gateway_address().await
        };
        Ok(timeout(ASK_MAX, ask).await.unwrap_or_default())
    }
}

impl DockerEngine {
    /// Where it is; `None`: nobody said, and there is none at the usual place.
    fn endpoint(&self) -> anyhow::Result<Option<Endpoint>> {
        let variable = |name: &str| std::env::var(name).ok();
        let found = match &self.endpoint {
            Some(text) => {
                let files = self.certificates.as_deref().map(TlsFiles::of_folder);
                Some(Endpoint::new(text, files.as_ref())?)
            }
            None => Endpoint::of_environment(variable)?.or_else(Endpoint::default_socket),
        };
        Ok(found)
    }

    /// What the driver is opened with; `None`: there is no engine.
    fn config(&self, namespace: &str) -> anyhow::Result<Option<weir_driver_docker::Config>> {
        let Some(endpoint) = self.endpoint().context("the Docker Engine's endpoint is wrong")? else {
            return Ok(None);
        };
        let mut config = weir_driver_docker::Config::new(endpoint, namespace);
        if self.own_addresses {
            config.reach = Reach::Address;
        }
        if let Some(address) = self.publish_address {
            config.publish_address = address;
        }
        if let Some(network) = &self.network {
            config.network.clone_from(network);
        }
        if let Some(path) = credentials_file().filter(|path| path.exists()) {
            match weir_driver_docker::credentials_of_file(&path) {
                Ok(credentials) => config.credentials = credentials,
                // Most images need none.
                Err(error) => tracing::warn!(error = chain(&error), "images are pulled without credentials"),
            }
        }
        Ok(Some(config))
    }
}

/// Where Docker's own client keeps credentials.
fn credentials_file() -> Option<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")));
    folder.map(|folder| folder.join("config.json"))
}

/// Opens all drivers.
///
/// # Errors
/// The folder of the process driver cannot be used, or what was said of the engine is wrong.
pub(crate) async fn open(config: &Config) -> anyhow::Result<Arc<dyn ContainerDriver>> {
    let folder = config.data_dir.join(INSTANCES);
    let mut settings = weir_driver_process::Config::new(&folder, &config.namespace);
    settings.instance_ports = config.instance_ports.clone();
    // A stop that the reconcilers ask for is never cut short.
    settings.stop_grace = config.stop_grace;
    settings.limits = config.limit_processes;
    let processes = tokio::task::spawn_blocking(move || ProcessDriver::open(settings))
        .await
        .context("the driver panicked")?
        .context("the process driver cannot be opened")?;
    let containers = containers(&config.docker, &config.namespace, &config.data_dir).await?;
    Ok(Arc::new(Router::new(vec![
        Arc::new(processes),
        Arc::new(containers),
    ])))
}

async fn containers(docker: &Docker, namespace: &str, data: &Path) -> anyhow::Result<OnDemand> {
    let engine = docker.engine();
    if let Some(engine) = &engine {
        // Said wrongly is said at the start, not at the first container.
        engine.config(namespace)?;
    }
    Ok(OnDemand::open(engine, namespace, data.join(USED)).await)
}

/// Keeps what drivers tell as events, until `stop` is cancelled.
pub(crate) fn start_notices(state: Arc<State>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut notices = state.driver.notices();
        loop {
            let heard = tokio::select! {
                () = stop.cancelled() => return,
                heard = notices.recv() => heard,
            };
            match heard {
                Ok(notice) => {
                    if let Err(error) = state.commit(Vec::new(), vec![event(notice)]).await {
                        tracing::warn!(error = chain(&error), "an event could not be stored");
                    }
                }
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "notices of drivers were missed"),
                Err(RecvError::Closed) => return,
            }
        }
    })
}

/// An event of type `event`, with the tags by which a deployment's events are found.
fn event(notice: Notice) -> EventDraft {
    let component = if notice.kind.is_trouble() {
        "container_driver:ERROR"
    } else {
        "container_driver:INFO"
    };
    let mut tags = vec!["info".to_owned(), component.to_owned()];
    tags.extend([
        format!("drivers:{}", notice.driver),
        format!("container_driver:{}", notice.kind.word()),
    ]);
    for label in ["deployment", "cluster", "service"] {
        if let Some(name) = notice.labels.get(&format!("io.vamp.{label}")) {
            tags.push(format!("{label}s:{name}"));
        }
    }
    tags.extend(notice.instance.map(|id| format!("instances:{id}")));
    EventDraft {
        tags,
        value: notice.message.into(),
        timestamp_ms: now_ms(),
        kind: "event".to_owned(),
    }
}

#[cfg(test)]
mod tests;
