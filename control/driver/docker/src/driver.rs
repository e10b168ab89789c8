//! The driver.

use std::{collections::btree_map::Entry, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bollard::errors::Error;
use tokio::{
    runtime::Handle,
    sync::{broadcast, mpsc, watch},
    task::AbortHandle,
    time::timeout,
};
use weir_driver::{
    Capabilities, Capacity, ContainerDriver, DriverError, ExecSpec, Execution, InstanceSpec, InstanceStats,
    InstanceStatus, LogLine, Notice,
};

use crate::{
    Config,
    create::{self, DEPLOYABLE_TYPES},
    engine::Engine,
    exec, fault,
    instance::Instance,
    logs, monitor,
    stats::{self, now_ms},
    world::{Inner, Link},
};

/// Longest wait of an open for the first look at the engine.
const OPEN_MAX: Duration = Duration::from_secs(5);

/// Runs instances as containers.
///
/// Dropped, it leaves its containers running; the next driver of the same namespace finds them.
#[derive(Debug)]
pub struct DockerDriver {
    inner: Arc<Inner>,
    monitor: AbortHandle,
}

impl DockerDriver {
    /// Opens the driver and looks at the engine, for at most five seconds. An engine that is not there is no
    /// error: the driver is unavailable until it is.
    ///
    /// # Errors
    /// Not called from within a tokio runtime, or the endpoint cannot be used at all.
    pub async fn open(config: Config) -> Result<DockerDriver, DriverError> {
        let runtime = Handle::try_current().map_err(|error| DriverError::Unavailable(Box::new(error)))?;
        let engine = Engine::new(&config).map_err(fault::unavailable)?;
        let inner = Arc::new(Inner::new(config, engine, runtime));
        let monitor = tokio::spawn(monitor::run(Arc::clone(&inner))).abort_handle();
        let driver = DockerDriver { inner, monitor };
        let mut link = driver.inner.link.subscribe();
        // Whatever it is by then, `list` tells.
        let _ = timeout(OPEN_MAX, link.wait_for(|link| *link != Link::Unknown)).await;
        Ok(driver)
    }

    /// Whether the engine answers now.
    ///
    /// # Errors
    /// It does not, with the reason.
    pub fn is_up(&self) -> Result<(), DriverError> {
        self.inner.up()
    }

    /// Address under which containers in the engine's usual network reach its host: what listens there, or on
    /// all addresses, can be reached by them. `None`: the engine does not say.
    pub async fn gateway_address(&self) -> Option<IpAddr> {
        let engine = &self.inner.engine;
        let call = engine
            .client()
            .inspect_network("bridge", None::<bollard::query_parameters::InspectNetworkOptions>);
        let ranges = engine.bounded(call).await.ok()?.ipam?.config?;
        ranges.into_iter().find_map(|range| range.gateway?.parse().ok())
    }
}

impl Drop for DockerDriver {
    fn drop(&mut self) {
        self.monitor.abort();
        for instance in self.inner.instances().values_mut() {
            instance.stop_checks();
        }
    }
}

impl DockerDriver {
    /// What it can with any engine.
    pub fn of_every_engine() -> Capabilities {
        Capabilities {
            deployable_types: DEPLOYABLE_TYPES.to_vec(),
            outlives_control: true,
            limits: true,
            tells_ports: false,
            networks: true,
            follow: true,
            stats: true,
            exec: true,
        }
    }
}

#[async_trait]
impl ContainerDriver for DockerDriver {
    fn kind(&self) -> &'static str {
        "docker"
    }

    fn capabilities(&self) -> Capabilities {
        Self::of_every_engine()
    }

    async fn list(&self) -> Result<Vec<InstanceStatus>, DriverError> {
        self.inner.up()?;
        Ok(self.inner.instances().values().map(Instance::status).collect())
    }

    async fn start(&self, spec: InstanceSpec) -> Result<(), DriverError> {
        let plan = create::plan(&spec, &self.inner.config)?;
        {
            let mut instances = self.inner.instances();
            let Entry::Vacant(vacant) = instances.entry(spec.id.clone()) else {
                return Ok(());
            };
            vacant.insert(Instance::starting(&spec.id, spec.labels.clone(), now_ms()));
        }
        self.inner.changed();
        let inner = Arc::clone(&self.inner);
        let id = spec.id.clone();
        // A task of its own: whoever asks may stop waiting, but a start is never left half done.
        let task = tokio::spawn(async move {
            let made = inner.make(&id, plan).await;
            if made.is_err() {
                inner.instances().remove(&id);
                inner.changed();
                inner.look.notify_one();
            }
            made
        });
        if let Some(start) = self
            .inner
            .instances()
            .get_mut(&spec.id)
            .and_then(|instance| instance.start.as_mut())
        {
            start.task = Some(task.abort_handle());
        }
        task.await
            .map_err(|error| DriverError::Unavailable(Box::new(error)))?
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), DriverError> {
        let inner = &self.inner;
        if let Some(instance) = inner.instances().get_mut(id) {
            instance.stopping = true;
            if let Some(task) = instance.start.as_mut().and_then(|start| start.task.take()) {
                task.abort();
            }
        }
        inner.changed();
        let ended = async {
            for container in inner.engine.of_instance(id).await? {
                let Some(container) = container.id else { continue };
                tracing::info!(endpoint = %id, container, grace_ms = grace.as_millis(), "instance is stopped");
                inner.engine.end(&container, grace).await?;
                inner.note_removed(&container);
            }
            Ok::<(), Error>(())
        };
        let ended = ended.await;
        {
            let mut instances = inner.instances();
            // Of one whose start was broken off the engine knows more than we do, as soon as it answers.
            let broken_off = instances.get(id).is_some_and(|instance| instance.start.is_some());
            if ended.is_ok() || broken_off {
                instances.remove(id);
            } else if let Some(instance) = instances.get_mut(id) {
                instance.stopping = false;
            }
        }
        inner.changed();
        ended.map_err(|error| {
            inner.look.notify_one();
            fault::unavailable(error)
        })
    }

    async fn logs(&self, id: &str, lines: usize) -> Result<Vec<LogLine>, DriverError> {
        match self.inner.container(id)? {
            None => Ok(Vec::new()),
            Some(view) => logs::tail(&self.inner.engine, &view.container, lines)
                .await
                .map_err(|error| self.inner.failed(id, error)),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    async fn follow(&self, id: &str, lines: usize) -> Result<mpsc::Receiver<LogLine>, DriverError> {
        let view = self.inner.existing(id)?;
        Ok(logs::follow(&self.inner.engine, &view.container, lines))
    }

    async fn stats(&self, id: &str) -> Result<InstanceStats, DriverError> {
        let view = self.inner.existing(id)?;
        let limited = view.record.memory_mb > 0.0;
        stats::read(&self.inner.engine, &view.container, limited)
            .await
            .map_err(|error| self.inner.failed(id, error))
    }

    async fn exec(&self, id: &str, command: ExecSpec) -> Result<Execution, DriverError> {
        let view = self.inner.existing(id)?;
        exec::run(&self.inner.engine, &view.container, command)
            .await
            .map_err(|error| self.inner.failed(id, error))
    }

    async fn capacity(&self) -> Result<Vec<Capacity>, DriverError> {
        let engine = &self.inner.engine;
        let info = engine
            .bounded(engine.client().info())
            .await
            .map_err(fault::unavailable)?;
        #[expect(clippy::cast_precision_loss, reason = "2^53 bytes are 8 petabytes")]
        let number = |value: Option<i64>| value.unwrap_or(0) as f64;
        let (cpu, memory_mb) = (number(info.ncpu), number(info.mem_total) / 1_048_576.0);
        Ok(vec![Capacity {
            driver: self.kind().to_owned(),
            deployable_types: DEPLOYABLE_TYPES.map(str::to_owned).to_vec(),
            cpu,
            memory_mb,
            largest_cpu: cpu,
            largest_memory_mb: memory_mb,
        }])
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.inner.notices.subscribe()
    }
}
