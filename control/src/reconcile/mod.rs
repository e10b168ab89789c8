//! Makes the world what the deployments say.
//!
//! **Job.** One loop, woken by changes of artifacts, by the driver and by time: observe (storage, driver,
//! agents) → plan (`weir_plan`, pure) → store → act. And the operations of the API that change what
//! is wanted ([`operations`]).
//!
//! **Invariants.** Takes no arguments: each run looks at everything. What is planned is stored before a driver
//! is called, so a crash at any point is followed by the same plan. Driver calls run beside the loop, each
//! instance at most one at a time, [`calls::CALLS_MAX`] in all. An instance that took requests is stopped only
//! after no agent sends it new ones.
//!
//! **Absent.** No publication: see [`crate::publish`], which runs on its own.

pub(crate) mod calls;
pub(crate) mod load;
mod observe;
pub(crate) mod operations;
pub(crate) mod quota;
mod resolve;
pub(crate) mod steps;
mod store;
pub(crate) mod view;

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use futures::StreamExt as _;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use weir_persist::{EventDraft, PersistError};
use weir_plan::{Action, Desired, ServiceKey, Settings, Stage, pause, plan};

use crate::state::{State, now_ms};

use self::{calls::Calls, load::Loader, observe::Observer};

/// Least time between two runs, so that a driver that changes without end does not take the processor.
const PAUSE: Duration = Duration::from_millis(20);
/// Time between two runs while instances leave: agents acknowledge without a signal.
const LEAVING_PERIOD: Duration = Duration::from_millis(200);
/// Driver calls under way may take this long to end when control ends.
const CALLS_END: Duration = Duration::from_secs(5);
/// Most instances that are stopped at one time when control ends.
const STOPS_MAX: usize = 32;

/// Starts the reconciler and the publisher; the task ends soon after `stop` is cancelled. Driver calls under
/// way are waited for, at most [`CALLS_END`].
pub(crate) fn start(state: Arc<State>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let publisher = tokio::spawn(crate::publish::run(Arc::clone(&state), stop.clone()));
        let promises = crate::sla::start(Arc::clone(&state), stop.clone());
        let reconciler = Reconciler::new(state);
        let calls = Arc::clone(&reconciler.calls);
        reconciler.run(stop).await;
        // An instance that is started after this would not be seen by who stops them all.
        let deadline = Instant::now() + CALLS_END;
        while !calls.is_idle() && Instant::now() < deadline {
            sleep(PAUSE).await;
        }
        if let Err(error) = publisher.await {
            tracing::error!(%error, "the publisher has ended");
        }
        if let Err(error) = promises.await {
            tracing::error!(%error, "the promises are no longer looked at");
        }
    })
}

/// Stops every instance of every deployment; deployments stay as they are. For the end of control.
pub(crate) async fn stop_all(state: &State) {
    let instances = match state.driver.survey().await {
        Ok(survey) => {
            for part in &survey.unknown {
                let error = chain(&part.error);
                tracing::warn!(driver = part.driver, error, "its instances may go on running");
            }
            survey.instances
        }
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(
                error,
                "the driver does not say what runs; instances may go on running"
            );
            return;
        }
    };
    let ours = instances
        .into_iter()
        .filter(|instance| observe::is_of_deployment(&instance.labels));
    futures::stream::iter(ours)
        .for_each_concurrent(STOPS_MAX, |instance| async move {
            if let Err(error) = state.driver.stop(&instance.id, state.config.stop_grace).await {
                let error = chain(&error);
                tracing::warn!(instance = instance.id, error, "an instance could not be stopped");
            }
        })
        .await;
}

/// Settings of the rules.
pub(crate) fn settings(state: &State) -> Settings {
    let config = &state.config;
    let live = state.live();
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Settings {
        gateway_host: live.gateway_host.clone(),
        gateway_address: config.gateway_address,
        gateway_ports: live.gateway_ports.clone(),
        virtual_hosts: live.virtual_hosts,
        default_scale: live.default_scale,
        default_deployable_type: live.default_deployable_type.clone(),
        dialect: state.driver.kind().to_owned(),
        dialects: state
            .driver
            .capabilities()
            .deployable_types
            .into_iter()
            .map(|of_type| (of_type.to_owned(), state.driver.dialect(of_type).to_owned()))
            .collect(),
        drain_max_ms: millis(config.drain_timeout),
        unhealthy_ms: millis(config.unhealthy_timeout),
        check_cpu: config.checks.cpu,
        check_memory: config.checks.memory,
        check_health_checks: config.checks.health_checks,
        stop_grace_ms: millis(config.stop_grace),
        timeout_ms: millis(live.deploy_timeout),
        ..Settings::default()
    }
}

/// An error with all of its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

struct Reconciler {
    state: Arc<State>,
    loader: Loader,
    observer: Observer,
    calls: Arc<Calls>,
}

impl Reconciler {
    fn new(state: Arc<State>) -> Self {
        Self {
            calls: Arc::new(Calls::default()),
            loader: Loader::default(),
            observer: Observer::default(),
            state,
        }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut signal = self.state.wake.listen();
        let mut driver = self.state.driver.changes();
        loop {
            let wait = match self.tick().await {
                Ok(wait) => wait,
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(error, "the deployments could not be reconciled; trying again");
                    self.state.config.reconcile_period
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PAUSE) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = signal.woken() => {}
                // An error: the driver is gone and nothing will change.
                Ok(()) = driver.changed() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// One run. Gives the time after which the next one is due without a signal.
    async fn tick(&mut self) -> Result<Duration, PersistError> {
        let state = Arc::clone(&self.state);
        if !crate::leader::may_act(&state) {
            return Ok(state.config.reconcile_period);
        }
        let settings = settings(&state);
        let seen = match self.observer.look(&state, &self.calls).await? {
            Ok(seen) => seen,
            Err(reason) => return self.pause(&settings, &reason).await,
        };
        // From here to the commit nobody else changes what is wanted.
        let guard = state.write_lock.lock().await;
        let world = self.loader.everything(&state).await?;
        let now_ms = now_ms();
        let observed = self.observer.complete(seen, &world.records, &state);
        let desired = Desired {
            deployments: &world.deployments,
            gateways: &world.gateways,
            records: &world.records,
            settings: &settings,
        };
        let mut unique = || {
            uuid::Uuid::new_v4()
                .simple()
                .to_string()
                .chars()
                .take(12)
                .collect()
        };
        let actions = plan(&desired, &observed, now_ms, &mut unique);
        let (writes, events) = store::writes(&world, &actions, now_ms);
        let wait = self.next_run(&world.records, &actions, now_ms);
        self.observer.leaves(leaving(&actions), &state);
        if !writes.is_empty() || !events.is_empty() {
            state.commit(writes, events).await?;
        }
        drop(guard);
        self.calls.settle(&observed.start_failures);
        for action in actions {
            match action {
                Action::Start(launch) => Calls::start(&self.calls, &state, *launch),
                Action::Stop { id, grace_ms } => {
                    Calls::stop(&self.calls, &state, id, Duration::from_millis(grace_ms));
                }
                _ => {}
            }
        }
        Ok(wait)
    }

    /// A run without an answer of the driver: services say so.
    async fn pause(&mut self, settings: &Settings, reason: &str) -> Result<Duration, PersistError> {
        let state = Arc::clone(&self.state);
        let _guard = state.write_lock.lock().await;
        let world = self.loader.everything(&state).await?;
        let now_ms = now_ms();
        let desired = Desired {
            deployments: &world.deployments,
            gateways: &world.gateways,
            records: &world.records,
            settings,
        };
        let actions = pause(&desired, reason, now_ms);
        let (writes, events) = store::writes(&world, &actions, now_ms);
        if !writes.is_empty() {
            state.commit(writes, events).await?;
        }
        Ok(state.config.reconcile_period)
    }

    /// Sooner than the period while somebody leaves, or waits to be started again.
    fn next_run(
        &self,
        before: &BTreeMap<ServiceKey, weir_plan::ServiceRecord>,
        actions: &[Action],
        now_ms: u64,
    ) -> Duration {
        let changed = actions.iter().filter_map(|action| match action {
            Action::Record(_, record) => Some(record),
            _ => None,
        });
        let mut wait = self.state.config.reconcile_period;
        for record in before.values().chain(changed) {
            if record
                .instances
                .iter()
                .any(|i| matches!(i.stage, Stage::Leaving { .. }))
            {
                wait = wait.min(LEAVING_PERIOD);
            }
            if record.retry_at_ms > now_ms {
                wait = wait.min(Duration::from_millis(record.retry_at_ms - now_ms));
            }
        }
        wait
    }
}

/// Ids of instances that leave the routing with these actions.
fn leaving(actions: &[Action]) -> impl Iterator<Item = &String> {
    let records = actions.iter().filter_map(|action| match action {
        Action::Record(_, record) => Some(record),
        _ => None,
    });
    let instances = records.flat_map(|record| &record.instances);
    instances
        .filter(|instance| matches!(instance.stage, Stage::Leaving { .. }))
        .map(|instance| &instance.id)
}

/// An event of type `event` about something that went wrong.
pub(crate) fn trouble(component: &str, tags: Vec<String>, message: &str) -> EventDraft {
    let mut all = vec!["info".to_owned(), format!("{component}:ERROR")];
    all.extend(tags);
    EventDraft {
        tags: all,
        value: message.into(),
        timestamp_ms: now_ms(),
        kind: "event".to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
