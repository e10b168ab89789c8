//! A small world around the planner: storage, a driver and agents, all in memory and stepped by hand.

use std::collections::{BTreeMap, BTreeSet};

use weir_artifact::{Deployment, Gateway, Intention, OrReference, Phase, Service, ServiceStatus};

use crate::{
    Action, Desired, Held, InFlight, LifeState, Observed, SeenHealth, SeenInstance, ServiceKey,
    ServiceRecord, Settings, StartFailure, StartFailureKind, apply,
    fixtures::{With, breed, deployment, scale, service},
    plan,
};

/// Stores what actions say.
pub(super) fn store(
    deployments: &mut Vec<Deployment>,
    records: &mut BTreeMap<ServiceKey, ServiceRecord>,
    actions: &[Action],
) {
    for action in actions {
        for deployment in &mut *deployments {
            apply(deployment, action);
        }
        match action {
            Action::Record(key, record) => {
                records.insert(key.clone(), record.clone());
            }
            Action::Forget(key) => {
                records.remove(key);
            }
            Action::RemoveDeployment(name) => deployments.retain(|d| d.name != *name),
            _ => {}
        }
    }
}

/// The instances that are to have traffic.
pub(super) fn routing(deployments: &[Deployment]) -> BTreeSet<String> {
    let services = deployments
        .iter()
        .flat_map(|deployment| deployment.clusters.values())
        .flat_map(|cluster| &cluster.services);
    services
        .filter_map(|service| service.runtime.as_ref())
        .flat_map(|runtime| &runtime.instances)
        .filter(|instance| instance.deployed)
        .map(|instance| instance.name.clone())
        .collect()
}

pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) now_ms: u64,
    pub(super) deployments: Vec<Deployment>,
    pub(super) gateways: Vec<Gateway>,
    pub(super) records: BTreeMap<ServiceKey, ServiceRecord>,
    pub(super) driver: BTreeMap<String, SeenInstance>,
    pub(super) refuse_starts: Option<StartFailureKind>,
    pub(super) agents_follow: bool,
    pub(super) routing_known: bool,
    /// Instances whose start is under way.
    pub(super) starting: BTreeSet<String>,
    failures: BTreeMap<String, StartFailure>,
    published: BTreeSet<String>,
    /// Instances that agents serve.
    pub(super) acknowledged: BTreeSet<String>,
    /// Types whose driver does not answer.
    pub(super) unknown: BTreeMap<String, String>,
    /// Requests under way by instance; `None`: agents do not tell.
    pub(super) in_flight: Option<BTreeMap<String, u64>>,
    counter: u64,
}

/// A service with one port and so many instances.
pub(super) fn front(instances: u32) -> Service {
    let mut front = service(breed("front:1").port("web", "0"));
    front.scale = Some(OrReference::Inline(scale(instances)));
    front
}

pub(super) fn running() -> SeenInstance {
    SeenInstance {
        of_deployment: true,
        host: "127.0.0.1".to_owned(),
        ports: BTreeMap::from([("web".to_owned(), 31_000)]),
        state: LifeState::Running,
        health: SeenHealth::Unknown,
        message: None,
    }
}

impl World {
    pub(super) fn of(deployment: Deployment) -> Self {
        Self {
            settings: Settings::default(),
            now_ms: 1_000_000,
            deployments: vec![deployment],
            gateways: Vec::new(),
            records: BTreeMap::new(),
            driver: BTreeMap::new(),
            refuse_starts: None,
            agents_follow: true,
            routing_known: true,
            starting: BTreeSet::new(),
            failures: BTreeMap::new(),
            published: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            unknown: BTreeMap::new(),
            in_flight: Some(BTreeMap::new()),
            counter: 0,
        }
    }

    pub(super) fn with(front: Service) -> Self {
        let mut world = Self::of(deployment("shop").with("front", front));
        let status = world.status();
        (status.since_ms, status.phase_since_ms) = (1_000_000, 1_000_000);
        world
    }

    pub(super) fn done(front: Service) -> Self {
        let mut world = Self::with(front);
        world.settle();
        assert_eq!(world.phase(), Phase::Done);
        world
    }

    fn observed(&self) -> Observed {
        Observed {
            instances: self.driver.clone(),
            starting: self.starting.clone(),
            unknown: self.unknown.clone(),
            in_flight: self.in_flight.clone().map(|by_instance| InFlight {
                asked_at_ms: self.now_ms,
                by_instance,
            }),
            start_failures: self.failures.clone(),
            held: if self.routing_known {
                Held::Only(self.published.union(&self.acknowledged).cloned().collect())
            } else {
                Held::Unknown
            },
            ..Observed::default()
        }
    }

    /// Plans twice: the same inputs give the same actions.
    pub(super) fn plan(&mut self) -> Vec<Action> {
        let observed = self.observed();
        let desired = Desired {
            deployments: &self.deployments,
            gateways: &self.gateways,
            records: &self.records,
            settings: &self.settings,
        };
        let run = |mut counter: u64| {
            let mut unique = || {
                counter += 1;
                counter.to_string()
            };
            let actions = plan(&desired, &observed, self.now_ms, &mut unique);
            (actions, counter)
        };
        let first = run(self.counter);
        assert_eq!(first, run(self.counter));
        self.counter = first.1;
        first.0
    }

    /// The driver does not answer.
    pub(super) fn pause(&mut self, reason: &str) -> Vec<Action> {
        let desired = Desired {
            deployments: &self.deployments,
            gateways: &self.gateways,
            records: &self.records,
            settings: &self.settings,
        };
        let actions = crate::pause(&desired, reason, self.now_ms);
        self.store(&actions);
        actions
    }

    pub(super) fn store(&mut self, actions: &[Action]) {
        store(&mut self.deployments, &mut self.records, actions);
    }

    pub(super) fn publish(&mut self) {
        self.published = routing(&self.deployments);
        if self.agents_follow {
            self.acknowledged = self.published.clone();
        }
    }

    pub(super) fn tick(&mut self) -> Vec<Action> {
        let actions = self.plan();
        self.store(&actions);
        self.publish();
        self.failures.clear();
        for action in &actions {
            match action {
                Action::Start(launch) => match self.refuse_starts {
                    None => {
                        self.driver.insert(launch.id.clone(), running());
                    }
                    Some(kind) => {
                        let message = "refused".to_owned();
                        self.failures
                            .insert(launch.id.clone(), StartFailure { kind, message });
                    }
                },
                Action::Stop { id, .. } => {
                    self.driver.remove(id);
                }
                _ => {}
            }
        }
        actions
    }

    pub(super) fn tick_after(&mut self, elapsed_ms: u64) -> Vec<Action> {
        self.now_ms += elapsed_ms;
        self.tick()
    }

    /// Lets everything become healthy and end.
    pub(super) fn settle(&mut self) {
        for _ in 0..12 {
            self.tick_after(500);
            self.healthy();
        }
    }

    pub(super) fn healthy(&mut self) {
        for seen in self.driver.values_mut() {
            if seen.state == LifeState::Running {
                seen.health = SeenHealth::Healthy;
            }
        }
    }

    pub(super) fn exit(&mut self, id: &str, message: &str) {
        let seen = self.driver.get_mut(id).expect("it is there");
        seen.state = LifeState::Exited(Some(1));
        seen.message = Some(message.to_owned());
    }

    pub(super) fn launch_stranger(&mut self, id: &str, of_deployment: bool) {
        let stranger = SeenInstance {
            of_deployment,
            ..running()
        };
        self.driver.insert(id.to_owned(), stranger);
    }

    pub(super) fn driver_ids(&self) -> Vec<String> {
        self.driver.keys().cloned().collect()
    }

    pub(super) fn service(&self) -> &Service {
        &self.deployments[0].clusters["front"].services[0]
    }

    pub(super) fn service_mut(&mut self) -> &mut Service {
        &mut self.deployments[0].clusters["front"].services[0]
    }

    pub(super) fn status(&mut self) -> &mut ServiceStatus {
        &mut self.service_mut().runtime.as_mut().unwrap().status
    }

    pub(super) fn scale(&mut self, instances: u32) {
        self.service_mut().scale = Some(OrReference::Inline(scale(instances)));
        let now_ms = self.now_ms;
        *self.status() = ServiceStatus {
            intention: Intention::Deployment,
            since_ms: now_ms,
            phase: Phase::Initiated,
            phase_since_ms: now_ms,
            notification: None,
        };
    }

    pub(super) fn record(&self) -> &ServiceRecord {
        &self.records[&ServiceKey::new("shop", "front", "front:1")]
    }

    pub(super) fn phase(&self) -> Phase {
        self.service().runtime.as_ref().unwrap().status.phase
    }

    pub(super) fn notification(&self) -> String {
        let runtime = self.service().runtime.as_ref().unwrap();
        runtime.status.notification.clone().unwrap_or_default()
    }

    pub(super) fn shown(&self) -> usize {
        self.service().runtime.as_ref().unwrap().instances.len()
    }

    pub(super) fn ready(&self) -> usize {
        let runtime = self.service().runtime.as_ref().unwrap();
        runtime
            .instances
            .iter()
            .filter(|instance| instance.deployed)
            .count()
    }

    /// Ids of the instances that the deployment shows.
    pub(super) fn ids(&self) -> Vec<String> {
        let runtime = self.service().runtime.as_ref().unwrap();
        runtime
            .instances
            .iter()
            .map(|instance| instance.name.clone())
            .collect()
    }
}
