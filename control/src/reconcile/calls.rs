//! Calls of the driver, beside the loop: one slow start must not keep others waiting.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};
use weir_artifact::HealthCheck;
use weir_driver::{DriverError, HealthCheckSpec, HealthProtocol, InstanceSpec, PortSpec};
use weir_plan::{Launch, StartFailure, StartFailureKind};

use super::{chain, steps::step, trouble};
use crate::state::State;

/// Most driver calls at one time.
pub(crate) const CALLS_MAX: usize = 16;
/// Longest start: an image may have to be pulled.
const START_MAX: Duration = Duration::from_secs(15 * 60);
/// A stop may take this much longer than the grace.
const STOP_EXTRA: Duration = Duration::from_secs(60);
/// After a stop that failed the next one waits.
const STOP_RETRY: Duration = Duration::from_secs(1);

/// Calls under way, and starts that failed and are not yet planned with.
#[derive(Debug)]
pub(crate) struct Calls {
    inner: Mutex<Inner>,
    permits: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Inner {
    starting: BTreeSet<String>,
    stopping: BTreeSet<String>,
    failures: BTreeMap<String, StartFailure>,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            permits: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }
}

/// What is under way at one moment.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) starting: BTreeSet<String>,
    pub(super) stopping: BTreeSet<String>,
    pub(super) failures: BTreeMap<String, StartFailure>,
}

impl Calls {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn under_way(&self) -> UnderWay {
        let inner = self.inner();
        UnderWay {
            starting: inner.starting.clone(),
            stopping: inner.stopping.clone(),
            failures: inner.failures.clone(),
        }
    }

    /// Whether no call is under way.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.inner();
        inner.starting.is_empty() && inner.stopping.is_empty()
    }

    /// Forgets failures that were planned with.
    pub(super) fn settle(&self, planned: &BTreeMap<String, StartFailure>) {
        self.inner().failures.retain(|id, _| !planned.contains_key(id));
    }

    pub(super) fn start(calls: &Arc<Self>, state: &Arc<State>, launch: Launch) {
        if !calls.inner().starting.insert(launch.id.clone()) {
            return;
        }
        let done = Done {
            calls: Arc::clone(calls),
            state: Arc::clone(state),
            id: launch.id.clone(),
            set: |inner| &mut inner.starting,
        };
        let permits = Arc::clone(&calls.permits);
        tokio::spawn(async move {
            let _permit = permits
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            let tags = vec![
                format!("deployments:{}", launch.service.deployment),
                format!("clusters:{}", launch.service.cluster),
                format!("services:{}", launch.service.service),
            ];
            let id = launch.id.clone();
            step("before a start");
            let outcome = timeout(START_MAX, done.state.driver.start(spec(launch))).await;
            step("after a start");
            let failure = match outcome {
                Ok(Ok(())) => return,
                Ok(Err(error)) => StartFailure {
                    kind: kind(&error),
                    message: format!("instance {id} could not be started: {}", chain(&error)),
                },
                Err(_) => StartFailure {
                    kind: StartFailureKind::Unavailable,
                    message: format!("instance {id} was not started within {} s", START_MAX.as_secs()),
                },
            };
            tracing::warn!(
                endpoint = id,
                error = failure.message,
                "an instance could not be started"
            );
            let event = trouble("container_driver", tags, &failure.message);
            done.calls.inner().failures.insert(id, failure);
            if let Err(error) = done.state.commit(Vec::new(), vec![event]).await {
                tracing::warn!(error = chain(&error), "an event could not be stored");
            }
        });
    }

    pub(super) fn stop(calls: &Arc<Self>, state: &Arc<State>, id: String, grace: Duration) {
        if !calls.inner().stopping.insert(id.clone()) {
            return;
        }
        let done = Done {
            calls: Arc::clone(calls),
            state: Arc::clone(state),
            id: id.clone(),
            set: |inner| &mut inner.stopping,
        };
        let permits = Arc::clone(&calls.permits);
        tokio::spawn(async move {
            let _permit = permits
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            step("before a stop");
            let stopped = timeout(grace + STOP_EXTRA, done.state.driver.stop(&id, grace)).await;
            step("after a stop");
            let error = match stopped {
                Ok(Ok(())) => return,
                Ok(Err(error)) => chain(&error),
                Err(_) => "the driver did not answer".to_owned(),
            };
            tracing::warn!(
                endpoint = id,
                error,
                "an instance could not be stopped; trying again"
            );
            let event = trouble("container_driver", vec![format!("instances:{id}")], &error);
            if let Err(error) = done.state.commit(Vec::new(), vec![event]).await {
                tracing::warn!(error = chain(&error), "an event could not be stored");
            }
            // It stays among those under way for a moment, so that the loop does not turn at full speed.
            tokio::time::sleep(STOP_RETRY).await;
        });
    }
}

/// Takes an id out of the calls under way when its call ends, in whatever way, and wakes the loop.
struct Done {
    calls: Arc<Calls>,
    state: Arc<State>,
    id: String,
    set: fn(&mut Inner) -> &mut BTreeSet<String>,
}

impl Drop for Done {
    fn drop(&mut self) {
        (self.set)(&mut self.calls.inner()).remove(&self.id);
        self.state.wake.signal();
    }
}

fn kind(error: &DriverError) -> StartFailureKind {
    match error {
        DriverError::UnsupportedDeployable(_) | DriverError::Definition(_) => StartFailureKind::Definition,
        DriverError::PortTaken(_) => StartFailureKind::PortTaken,
        _ => StartFailureKind::Unavailable,
    }
}

fn spec(launch: Launch) -> InstanceSpec {
    InstanceSpec {
        id: launch.id,
        labels: launch.labels,
        deployable_type: launch.deployable_type,
        definition: launch.definition,
        environment: launch.environment,
        ports: launch
            .ports
            .into_iter()
            .map(|(name, number)| PortSpec { name, number })
            .collect(),
        arguments: launch.arguments,
        cpu: launch.cpu,
        memory_mb: launch.memory_mb,
        network: launch.network,
        working_directory: None,
        health_checks: launch.health_checks.into_iter().map(health_check).collect(),
        dialect: launch.dialect,
    }
}

fn health_check(check: HealthCheck) -> HealthCheckSpec {
    HealthCheckSpec {
        protocol: if check.protocol.eq_ignore_ascii_case("tcp") {
            HealthProtocol::Tcp
        } else {
            HealthProtocol::Http
        },
        port: check.port,
        path: check.path,
        initial_delay: Duration::from_secs(check.initial_delay_s),
        timeout: Duration::from_secs(check.timeout_s),
        interval: Duration::from_secs(check.interval_s),
        failures: check.failures,
    }
}
