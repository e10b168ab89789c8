//! Calls of the driver, beside the loop: one slow start must not keep others waiting.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use weir_artifact::HealthCheck;
use weir_driver::{DriverError, HealthCheckSpec, HealthProtocol, InstanceSpec, PortSpec};
use weir_persist::EventDraft;
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
    permits: Semaphore,
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
            permits: Semaphore::new(CALLS_MAX),
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

    /// Waits for its turn.
    async fn permit(&self) -> SemaphorePermit<'_> {
        let permit = self.permits.acquire().await;
        permit.expect("the semaphore is never closed")
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
        let Some(done) = Done::begin(calls, state, &launch.id, |inner| &mut inner.starting) else {
            return;
        };
        tokio::spawn(async move {
            let _permit = done.calls.permit().await;
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
            done.tell(event).await;
        });
    }

    pub(super) fn stop(calls: &Arc<Self>, state: &Arc<State>, id: String, grace: Duration) {
        let Some(done) = Done::begin(calls, state, &id, |inner| &mut inner.stopping) else {
            return;
        };
        tokio::spawn(async move {
            let _permit = done.calls.permit().await;
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
            done.tell(event).await;
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

impl Done {
    /// Notes a call; `None`: there is one for this instance already.
    fn begin(
        calls: &Arc<Calls>,
        state: &Arc<State>,
        id: &str,
        set: fn(&mut Inner) -> &mut BTreeSet<String>,
    ) -> Option<Self> {
        set(&mut calls.inner()).insert(id.to_owned()).then(|| Self {
            calls: Arc::clone(calls),
            state: Arc::clone(state),
            id: id.to_owned(),
            set,
        })
    }

    async fn tell(&self, event: EventDraft) {
        if let Err(error) = self.state.commit(Vec::new(), vec![event]).await {
            tracing::warn!(error = chain(&error), "an event could not be stored");
        }
    }
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
