//! Control without its API, and agents that do as the test says.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use weir_artifact::{Artifact, Deployment, Gateway, Kind, Phase, read, read::DeployRequest};
use weir_driver::fake::Fake;
use weir_model::{Acknowledgement, AgentId, Refusal, Snapshot, Target, wire};
use weir_persist::{EventQuery, Page, Persistence, memory::Memory};
use weir_store::{LeaseId, Store, protocol};

use crate::{
    Config,
    error::OperationError,
    reconcile::{self, tests::alone::merge},
    state::State,
};

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const PREFIX: &str = "vamp/default";

/// Control without its API.
pub(crate) struct Rig {
    pub(crate) state: Arc<State>,
    pub(crate) driver: Fake,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let driver = Fake::new();
        Self::on(
            Arc::new(Memory::new()),
            driver,
            Arc::new(weir_store::memory::Memory::new()),
        )
    }

    /// With settings of its own.
    pub(crate) fn with(set: impl FnOnce(&mut Config)) -> Self {
        let store = Arc::new(weir_store::memory::Memory::new());
        Self::set_up(Arc::new(Memory::new()), Fake::new(), store, set)
    }

    pub(crate) fn on(persist: Arc<dyn Persistence>, driver: Fake, store: Arc<dyn Store>) -> Self {
        Self::set_up(persist, driver, store, |_| {})
    }

    fn set_up(
        persist: Arc<dyn Persistence>,
        driver: Fake,
        store: Arc<dyn Store>,
        set: impl FnOnce(&mut Config),
    ) -> Self {
        // What was logged is shown with a test that fails.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let mut config = Config::new("unused", store);
        config.reconcile_period = Duration::from_millis(100);
        config.default_deployable_type = "command".to_owned();
        // Agents of a test do not tell how many requests they have.
        config.drain_timeout = Duration::from_secs(2);
        config.sla_period = Duration::from_millis(100);
        set(&mut config);
        let state = Arc::new(State::new(config, persist, Arc::new(driver.clone())));
        let stop = CancellationToken::new();
        let task = reconcile::start(Arc::clone(&state), stop.clone());
        let traffic = crate::traffic::start(Arc::clone(&state), stop.clone());
        Self {
            state,
            driver,
            stop,
            tasks: vec![task, traffic],
        }
    }

    /// The process ends, and another begins on what is stored and what runs.
    pub(crate) async fn restart(self) -> Self {
        let parts = (
            Arc::clone(&self.state.persist),
            self.driver.reopened(),
            Arc::clone(&self.state.store),
        );
        self.end().await;
        Self::on(parts.0, parts.1, parts.2)
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }

    pub(crate) async fn deploy(&self, yaml: &str) -> Result<Deployment, OperationError> {
        merge(&self.state, None, request(yaml), false).await
    }

    pub(crate) async fn deployment(&self) -> Option<Deployment> {
        self.state.deployment("shop").await.unwrap()
    }

    /// Phase and notification of a service of cluster `front`.
    pub(crate) async fn status(&self, service: &str) -> (Phase, String) {
        let deployment = self.deployment().await.unwrap();
        let services = &deployment.clusters["front"].services;
        let service = services.iter().find(|other| other.name() == service).unwrap();
        let status = &service.runtime.as_ref().unwrap().status;
        (status.phase, status.notification.clone().unwrap_or_default())
    }

    pub(crate) async fn done(&self, service: &str) {
        eventually(async || self.status(service).await.0 == Phase::Done).await;
    }

    pub(crate) async fn published(&self) -> Option<Snapshot> {
        published(&*self.state.store).await
    }

    /// How many instances a route of the published snapshot has.
    pub(crate) async fn routed(&self, gateway: &str, route: &str) -> Option<usize> {
        let snapshot = self.published().await?;
        let route = snapshot
            .gateway(gateway)?
            .routes
            .iter()
            .find(|other| other.name.as_str() == route)?;
        match &route.target {
            Target::Instances(instances) => Some(instances.len()),
            Target::Gateway(_) => None,
        }
    }

    pub(crate) async fn events(&self, tags: &[&str]) -> u64 {
        let query = EventQuery {
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..EventQuery::default()
        };
        self.state.persist.events(&query, Page::ALL).await.unwrap().1
    }

    pub(crate) fn running(&self) -> usize {
        self.driver
            .started()
            .iter()
            .filter(|spec| self.driver.spec(&spec.id).is_some())
            .count()
    }
}

pub(crate) async fn published(store: &dyn Store) -> Option<Snapshot> {
    let published = protocol::read(store, PREFIX).await.unwrap()?;
    Some(wire::v1::read(&published.bytes).unwrap().snapshot)
}

/// An agent that acknowledges what it is told to.
pub(crate) struct Agent {
    id: AgentId,
    lease: LeaseId,
    admin: Option<String>,
}

impl Agent {
    pub(crate) async fn join(store: &dyn Store, id: &str, admin: Option<String>) -> Self {
        Self {
            id: AgentId::new(id).unwrap(),
            lease: store.grant(Duration::from_secs(60)).await.unwrap(),
            admin,
        }
    }

    pub(crate) async fn acknowledge(&self, store: &dyn Store, snapshot: Option<&Snapshot>) {
        self.refuse(store, snapshot, Vec::new()).await;
    }

    /// Acknowledges what it took, and tells what it did not.
    pub(crate) async fn refuse(&self, store: &dyn Store, snapshot: Option<&Snapshot>, refused: Vec<Refusal>) {
        let generation = snapshot.map(Snapshot::generation).unwrap_or_default();
        let acknowledgement = Acknowledgement {
            agent: self.id.clone(),
            admin: self.admin.clone(),
            generation,
            digest: snapshot.map(Snapshot::digest),
            seen: generation,
            refused,
            version: "0".to_owned(),
            started_at_ms: 1,
            at_ms: 2,
            stale_ms: 0,
        };
        protocol::acknowledge(store, PREFIX, &self.lease, &acknowledgement)
            .await
            .unwrap();
    }
}

/// Polls until it holds; the deadline is an error of the test.
pub(crate) async fn eventually(holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "it does not come to hold");
        sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn request(yaml: &str) -> DeployRequest {
    read::deploy_request(yaml).unwrap_or_else(|problems| panic!("{problems:?}"))
}

pub(crate) fn gateway(yaml: &str) -> Gateway {
    match read::one(Kind::Gateway, yaml) {
        Ok(Artifact::Gateway(gateway)) => gateway,
        other => panic!("{other:?}"),
    }
}

/// One service with one port behind an external gateway.
pub(crate) fn front(version: u32, instances: u32) -> String {
    format!(
        "name: shop
gateways: {{9050: front/web}}
clusters:
  front:
    services:
      breed: {{name: 'front:{version}', deployable: run-{version}, ports: {{web: 0/http}}}}
      scale: {{cpu: 0.1, memory: 16MB, instances: {instances}}}
"
    )
}
