//! The parts of control, put together and taken apart in order.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use weir_driver::ContainerDriver;
use weir_driver_process::ProcessDriver;
use weir_persist::{Persistence, memory::Memory, sqlite::Sqlite};

use crate::{Config, Storage, api, event, reconcile, state::State, traffic};

/// Name of the database in the data folder.
const DATABASE: &str = "weir.db";
/// Folder of the process driver in the data folder.
const INSTANCES: &str = "instances";

/// A running control.
#[derive(Debug)]
pub struct Control {
    address: SocketAddr,
    state: Arc<State>,
    /// Ends the API.
    stop_api: CancellationToken,
    /// Ends everything that works in the background.
    stop_tasks: CancellationToken,
    server: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Control {
    /// Opens the storage and the process driver in the data folder, starts the reconcilers and serves.
    ///
    /// # Errors
    /// The data folder cannot be used or is in use, or the address cannot be listened on.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let folder = config.data_dir.join(INSTANCES);
        let mut settings = weir_driver_process::Config::new(&folder, &config.namespace);
        settings.instance_ports = config.instance_ports.clone();
        // A stop that the reconcilers ask for is never cut short.
        settings.stop_grace = config.stop_grace;
        let driver = tokio::task::spawn_blocking(move || ProcessDriver::open(settings))
            .await
            .context("the driver panicked")?
            .context("the process driver cannot be opened")?;
        Self::start_with(config, Arc::new(driver)).await
    }

    /// As [`Control::start`], with another driver.
    ///
    /// # Errors
    /// The data folder cannot be used or is in use, or the address cannot be listened on.
    pub async fn start_with(config: Config, driver: Arc<dyn ContainerDriver>) -> anyhow::Result<Self> {
        let persist = open(&config).await?;
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("{} cannot be listened on", config.listen))?;
        let address = listener.local_addr().context("the listener has no address")?;
        let namespace = config.namespace.clone();
        let state = Arc::new(State::new(config, persist, driver));
        let stop_api = CancellationToken::new();
        let stop_tasks = CancellationToken::new();
        let tasks = vec![
            reconcile::start(Arc::clone(&state), stop_tasks.clone()),
            traffic::start(Arc::clone(&state), stop_tasks.clone()),
            event::start_expiry(Arc::clone(&state), stop_tasks.clone()),
        ];
        let router = api::router(api::Api::new(Arc::clone(&state), address, stop_api.clone()));
        let server = tokio::spawn(api::serve(listener, router, namespace, stop_api.clone()));
        tracing::info!(%address, "control serves");
        Ok(Self {
            address,
            state,
            stop_api,
            stop_tasks,
            server,
            tasks,
        })
    }

    /// Where the API is; with the port that the system chose if the configured one was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends: first the API, then the reconcilers, then the instances unless they are to be kept.
    pub async fn shutdown(self) {
        self.stop_api.cancel();
        ended("the API", self.server).await;
        self.stop_tasks.cancel();
        for task in self.tasks {
            ended("a reconciler", task).await;
        }
        if !self.state.config.keep_instances {
            reconcile::stop_all(&self.state).await;
        }
        tracing::info!("control has stopped");
    }
}

async fn open(config: &Config) -> anyhow::Result<Arc<dyn Persistence>> {
    Ok(match config.storage {
        Storage::Memory => Arc::new(Memory::new()),
        Storage::Sqlite => {
            let path = config.data_dir.join(DATABASE);
            let sqlite = tokio::task::spawn_blocking(move || Sqlite::open(&path))
                .await
                .context("opening the database panicked")?
                .context("the database cannot be opened")?;
            Arc::new(sqlite)
        }
    })
}

async fn ended(what: &str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "{what} did not end well");
    }
}
