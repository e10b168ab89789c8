//! An engine that is used when there is something for it to do.
//!
//! Most hosts that run processes have no engine, and many that have one never run a container of ours. So
//! an engine that does not answer is silence only where containers were started before (a file
//! in the data folder says so): there nobody knows what runs. Elsewhere it is as good as none.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::AbortHandle,
};
use weir_driver::{
    Capabilities, Capacity, ContainerDriver, DriverError, ExecSpec, Execution, InstanceSpec, InstanceStats,
    InstanceStatus, LogLine, Notice,
};
use weir_driver_docker::{DEFAULT_SOCKET, DEPLOYABLE_TYPES, DockerDriver};

use super::DockerEngine;

/// Notices that a slow reader may be behind.
const NOTICES_MAX: usize = 256;

/// The Docker driver, opened when it is first needed.
#[derive(Debug)]
pub(super) struct OnDemand {
    /// `None`: containers are not wanted.
    engine: Option<DockerEngine>,
    namespace: String,
    /// Says that containers were started.
    used: PathBuf,
    driver: OnceLock<Arc<DockerDriver>>,
    /// One opens it at a time.
    opening: tokio::sync::Mutex<()>,
    changes: watch::Sender<u64>,
    notices: broadcast::Sender<Notice>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl OnDemand {
    /// Opens the driver if there is an engine now.
    pub(super) async fn open(engine: Option<DockerEngine>, namespace: &str, used: PathBuf) -> OnDemand {
        let this = OnDemand {
            engine,
            namespace: namespace.to_owned(),
            used,
            driver: OnceLock::new(),
            opening: tokio::sync::Mutex::default(),
            changes: watch::Sender::new(0),
            notices: broadcast::Sender::new(NOTICES_MAX),
            tasks: Mutex::default(),
        };
        if let Err(error) = this.needed().await {
            tracing::debug!(%error, "no engine yet");
        }
        this
    }

    /// The driver; opened now if there is an engine.
    async fn needed(&self) -> Result<Arc<DockerDriver>, DriverError> {
        let _one_at_a_time = self.opening.lock().await;
        if let Some(driver) = self.driver.get() {
            return Ok(Arc::clone(driver));
        }
        let fault = |message: String| DriverError::Definition(message);
        let Some(engine) = &self.engine else {
            return Err(fault(
                "containers are not run here: control was started with --no-docker".to_owned(),
            ));
        };
        let config = engine
            .config(&self.namespace)
            .map_err(|error| fault(format!("{error:#}")))?
            .ok_or_else(|| {
                fault(format!(
                    "containers need a Docker Engine, and there is none: nothing is at {DEFAULT_SOCKET}, DOCKER_HOST is not set, and control was not told another one with --docker=ENDPOINT"
                ))
            })?;
        let endpoint = config.endpoint.to_string();
        let driver = Arc::new(DockerDriver::open(config).await?);
        tracing::info!(endpoint, "containers run on this engine");
        self.listen(&driver);
        Ok(Arc::clone(self.driver.get_or_init(|| driver)))
    }

    fn listen(&self, driver: &DockerDriver) {
        let (mut from, to) = (driver.changes(), self.changes.clone());
        let changes = tokio::spawn(async move {
            while from.changed().await.is_ok() {
                to.send_modify(|number| *number = number.wrapping_add(1));
            }
        });
        let (mut from, to) = (driver.notices(), self.notices.clone());
        let notices = tokio::spawn(async move {
            loop {
                match from.recv().await {
                    // Nobody may be listening.
                    Ok(notice) => drop(to.send(notice)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.extend([changes.abort_handle(), notices.abort_handle()]);
    }

    fn was_used(&self) -> bool {
        self.used.exists()
    }

    /// The driver, for a question about one instance.
    fn opened(&self, id: &str) -> Result<&Arc<DockerDriver>, DriverError> {
        self.driver
            .get()
            .ok_or_else(|| DriverError::NotFound(id.to_owned()))
    }
}

impl Drop for OnDemand {
    fn drop(&mut self) {
        for task in self
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            task.abort();
        }
    }
}

#[async_trait]
impl ContainerDriver for OnDemand {
    fn kind(&self) -> &'static str {
        "docker"
    }

    fn capabilities(&self) -> Capabilities {
        DockerDriver::of_every_engine()
    }

    async fn list(&self) -> Result<Vec<InstanceStatus>, DriverError> {
        match self.driver.get() {
            Some(driver) => match driver.list().await {
                Err(DriverError::Unavailable(_)) if !self.was_used() => Ok(Vec::new()),
                listed => listed,
            },
            // Its socket may be gone while it is restarted.
            None if self.was_used() && self.engine.is_some() => match self.needed().await {
                Ok(driver) => driver.list().await,
                Err(error) => Err(DriverError::Unavailable(Box::new(error))),
            },
            None => Ok(Vec::new()),
        }
    }

    async fn start(&self, spec: InstanceSpec) -> Result<(), DriverError> {
        if !DEPLOYABLE_TYPES.contains(&spec.deployable_type.as_str()) {
            return Err(DriverError::UnsupportedDeployable(spec.deployable_type));
        }
        let driver = self.needed().await?;
        if !self.was_used() {
            // Before the first container is there: from now on silence is not the same as nothing.
            std::fs::write(&self.used, "").map_err(|error| DriverError::Unavailable(Box::new(error)))?;
        }
        driver.start(spec).await
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), DriverError> {
        match self.driver.get() {
            Some(driver) => match driver.stop(id, grace).await {
                Err(DriverError::Unavailable(_)) if !self.was_used() => Ok(()),
                stopped => stopped,
            },
            None => Ok(()),
        }
    }

    async fn logs(&self, id: &str, lines: usize) -> Result<Vec<LogLine>, DriverError> {
        self.opened(id)?.logs(id, lines).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn follow(&self, id: &str, lines: usize) -> Result<mpsc::Receiver<LogLine>, DriverError> {
        self.opened(id)?.follow(id, lines).await
    }

    async fn stats(&self, id: &str) -> Result<InstanceStats, DriverError> {
        self.opened(id)?.stats(id).await
    }

    async fn exec(&self, id: &str, command: ExecSpec) -> Result<Execution, DriverError> {
        self.opened(id)?.exec(id, command).await
    }

    async fn capacity(&self) -> Result<Vec<Capacity>, DriverError> {
        match self.driver.get() {
            Some(driver) => driver.capacity().await,
            None => Ok(Vec::new()),
        }
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }
}
