//! Several drivers as one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::join_all;
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::AbortHandle,
};

use crate::{
    Capabilities, Capacity, ContainerDriver, DriverError, ExecSpec, Execution, InstanceSpec, InstanceStats,
    InstanceStatus, LogLine, Notice, Survey, Unknown,
};

/// Notices that a slow reader may be behind.
const NOTICES_MAX: usize = 256;

/// Several drivers as one: each instance goes to the first driver that takes its deployable type.
///
/// **Invariants.** While one driver does not answer, the others' instances go on being looked after: of the
/// silent one `list` shows what was last known, with the reason as message, and [`survey`](Self::survey) says
/// that it is not known. Only a driver that never answered makes `list` fail, for then anything might run.
#[derive(Debug)]
pub struct Router {
    drivers: Vec<Arc<dyn ContainerDriver>>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    notices: broadcast::Sender<Notice>,
    tasks: Vec<AbortHandle>,
}

#[derive(Debug)]
struct State {
    /// Which driver has an instance.
    owners: BTreeMap<String, usize>,
    /// Last answer of each driver.
    known: Vec<Option<Vec<InstanceStatus>>>,
}

impl Router {
    /// Of two drivers that take the same type the first is asked. Needs a tokio runtime.
    #[must_use]
    pub fn new(drivers: Vec<Arc<dyn ContainerDriver>>) -> Router {
        let changes = watch::Sender::new(0_u64);
        let notices = broadcast::Sender::new(NOTICES_MAX);
        let mut tasks = Vec::with_capacity(2 * drivers.len());
        for driver in &drivers {
            let mut of_driver = driver.changes();
            let all = changes.clone();
            let task = tokio::spawn(async move {
                while of_driver.changed().await.is_ok() {
                    all.send_modify(|number| *number = number.wrapping_add(1));
                }
            });
            tasks.push(task.abort_handle());
            let mut of_driver = driver.notices();
            let all = notices.clone();
            let task = tokio::spawn(async move {
                loop {
                    match of_driver.recv().await {
                        // Nobody may be listening.
                        Ok(notice) => drop(all.send(notice)),
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return,
                    }
                }
            });
            tasks.push(task.abort_handle());
        }
        let known = drivers.iter().map(|_| None).collect();
        Router {
            drivers,
            state: Mutex::new(State {
                owners: BTreeMap::new(),
                known,
            }),
            changes,
            notices,
            tasks,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver for a deployable type.
    fn of_type(&self, deployable_type: &str) -> Option<(usize, &Arc<dyn ContainerDriver>)> {
        self.drivers
            .iter()
            .enumerate()
            .find(|(_, driver)| driver.capabilities().deployable_types.contains(&deployable_type))
    }

    /// Drivers that may have an instance: the one that is known to, else all.
    fn of_instance(&self, id: &str) -> &[Arc<dyn ContainerDriver>] {
        let owner = self.state().owners.get(id).copied();
        owner
            .and_then(|index| self.drivers.get(index..=index))
            .unwrap_or(&self.drivers)
    }

    /// The driver that has an instance.
    async fn owner(&self, id: &str) -> Result<Arc<dyn ContainerDriver>, DriverError> {
        let not_found = || DriverError::NotFound(id.to_owned());
        if let [one] = self.of_instance(id) {
            return Ok(Arc::clone(one));
        }
        self.answers().await;
        match self.of_instance(id) {
            [one] => Ok(Arc::clone(one)),
            _ => Err(not_found()),
        }
    }

    /// What each driver answers to `list`; remembers what it is told.
    async fn answers(&self) -> Vec<Result<Vec<InstanceStatus>, DriverError>> {
        let answers = join_all(self.drivers.iter().map(|driver| driver.list())).await;
        let mut state = self.state();
        for (index, answer) in answers.iter().enumerate() {
            let Ok(instances) = answer else { continue };
            state.owners.retain(|_, owner| *owner != index);
            state
                .owners
                .extend(instances.iter().map(|status| (status.id.clone(), index)));
            if let Some(known) = state.known.get_mut(index) {
                *known = Some(instances.clone());
            }
        }
        answers
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[async_trait]
impl ContainerDriver for Router {
    fn kind(&self) -> &'static str {
        "combined"
    }

    /// What any of them can do; whether *instances outlive control* and *limits* hold only if they do for
    /// all.
    fn capabilities(&self) -> Capabilities {
        let all: Vec<Capabilities> = self.drivers.iter().map(|driver| driver.capabilities()).collect();
        let any = |is: fn(&Capabilities) -> bool| all.iter().any(is);
        let every = |is: fn(&Capabilities) -> bool| all.iter().all(is);
        Capabilities {
            outlives_control: every(|c| c.outlives_control),
            limits: every(|c| c.limits),
            tells_ports: every(|c| c.tells_ports),
            networks: any(|c| c.networks),
            follow: any(|c| c.follow),
            stats: any(|c| c.stats),
            exec: any(|c| c.exec),
            deployable_types: all.into_iter().flat_map(|c| c.deployable_types).collect(),
        }
    }

    fn dialect(&self, deployable_type: &str) -> &'static str {
        self.of_type(deployable_type)
            .map_or(self.kind(), |(_, driver)| driver.dialect(deployable_type))
    }

    async fn list(&self) -> Result<Vec<InstanceStatus>, DriverError> {
        let answers = self.answers().await;
        let state = self.state();
        let mut all = Vec::new();
        for (index, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(instances) => all.extend(instances),
                Err(error) => {
                    let Some(known) = state.known.get(index).and_then(Option::as_ref) else {
                        return Err(error);
                    };
                    let kind = self.drivers.get(index).map_or("", |driver| driver.kind());
                    all.extend(known.iter().cloned().map(|status| InstanceStatus {
                        message: Some(format!("last known state, for {kind} does not answer: {error}")),
                        ..status
                    }));
                }
            }
        }
        Ok(all)
    }

    async fn survey(&self) -> Result<Survey, DriverError> {
        let mut survey = Survey::default();
        for (driver, answer) in self.drivers.iter().zip(self.answers().await) {
            match answer {
                Ok(instances) => survey.instances.extend(instances),
                Err(error) => survey.unknown.push(Unknown {
                    driver: driver.kind(),
                    deployable_types: driver.capabilities().deployable_types,
                    error,
                }),
            }
        }
        Ok(survey)
    }

    async fn start(&self, spec: InstanceSpec) -> Result<(), DriverError> {
        let Some((index, driver)) = self.of_type(&spec.deployable_type) else {
            return Err(DriverError::UnsupportedDeployable(spec.deployable_type));
        };
        self.state().owners.insert(spec.id.clone(), index);
        driver.start(spec).await
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), DriverError> {
        let drivers = self.of_instance(id).to_vec();
        let mut failed = None;
        for driver in drivers {
            if let Err(error) = driver.stop(id, grace).await {
                failed = Some(error);
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                self.state().owners.remove(id);
                Ok(())
            }
        }
    }

    async fn logs(&self, id: &str, lines: usize) -> Result<Vec<LogLine>, DriverError> {
        self.owner(id).await?.logs(id, lines).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn follow(&self, id: &str, lines: usize) -> Result<mpsc::Receiver<LogLine>, DriverError> {
        self.owner(id).await?.follow(id, lines).await
    }

    async fn stats(&self, id: &str) -> Result<InstanceStats, DriverError> {
        self.owner(id).await?.stats(id).await
    }

    async fn exec(&self, id: &str, command: ExecSpec) -> Result<Execution, DriverError> {
        self.owner(id).await?.exec(id, command).await
    }

    /// Of drivers that answer.
    async fn capacity(&self) -> Result<Vec<Capacity>, DriverError> {
        let answers = join_all(self.drivers.iter().map(|driver| driver.capacity())).await;
        Ok(answers.into_iter().flatten().flatten().collect())
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }
}
