//! The planner among faults: instances die, vanish or never become healthy, starts are slow or refused,
//! agents are late, the process is killed between any two steps. After the faults end the world must come
//! to what is wanted; and at no time may a rule be broken.

use std::collections::{BTreeMap, BTreeSet};

use weir_artifact::{Deployment, Intention, OrReference, Phase, Service, ServiceStatus};

use super::harness::running;
use crate::{
    Action, Desired, Held, LifeState, Observed, SeenHealth, SeenInstance, ServiceKey, ServiceRecord,
    Settings, Stage, StartFailure, StartFailureKind, apply,
    fixtures::{With, breed, deployment, gateway_with_port, scale, service},
    plan,
};

/// A generator of numbers that is the same everywhere (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.roll() >> 11) % limit
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

#[derive(Default)]
struct Agent {
    serves: BTreeSet<String>,
}

struct Simulation {
    dice: Dice,
    faults: bool,
    settings: Settings,
    now_ms: u64,
    // What storage holds.
    deployments: Vec<Deployment>,
    records: BTreeMap<ServiceKey, ServiceRecord>,
    // What the process holds.
    starting: BTreeSet<String>,
    stopping: BTreeSet<String>,
    failures: BTreeMap<String, StartFailure>,
    // What runs, whatever becomes of the process.
    driver: BTreeMap<String, SeenInstance>,
    published: BTreeSet<String>,
    agents: Vec<Agent>,
    ever_stopped: BTreeSet<String>,
    counter: u64,
    log: Vec<String>,
}

fn shop() -> Deployment {
    let mut front = service(breed("front:1").port("web", "0").needs("back", "back:1"));
    front.scale = Some(OrReference::Inline(scale(2)));
    let mut back = service(breed("back:1").port("api", "0"));
    back.scale = Some(OrReference::Inline(scale(3)));
    deployment("shop").with("front", front).with("back", back)
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            faults: true,
            settings: Settings::default(),
            now_ms: 1_000,
            deployments: vec![shop()],
            records: BTreeMap::new(),
            starting: BTreeSet::new(),
            stopping: BTreeSet::new(),
            failures: BTreeMap::new(),
            driver: BTreeMap::new(),
            published: BTreeSet::new(),
            agents: vec![Agent::default(), Agent::default()],
            ever_stopped: BTreeSet::new(),
            counter: 0,
            log: Vec::new(),
        }
    }

    fn services(&mut self) -> impl Iterator<Item = &mut Service> {
        self.deployments
            .iter_mut()
            .flat_map(|deployment| deployment.clusters.values_mut())
            .flat_map(|cluster| &mut cluster.services)
    }

    fn somebody_changes_something(&mut self) {
        let pick = usize::try_from(self.dice.below(2)).unwrap();
        let instances = u32::try_from(self.dice.below(5)).unwrap();
        let rewrite = self.dice.percent(30);
        let version = self.dice.below(3);
        let now_ms = self.now_ms;
        if let Some(service) = self.services().nth(pick) {
            service.scale = Some(OrReference::Inline(scale(instances)));
            if let OrReference::Inline(breed) = &mut service.breed
                && rewrite
            {
                breed.deployable.definition = format!("version {version}");
            }
            initiate(service, now_ms);
        }
    }

    fn world_happens(&mut self) {
        let calls: Vec<String> = self.starting.iter().cloned().collect();
        for id in calls {
            if !self.faults || self.dice.percent(50) {
                self.starting.remove(&id);
                if self.faults && self.dice.percent(15) {
                    let kind = match self.dice.below(2) {
                        0 => StartFailureKind::PortTaken,
                        _ => StartFailureKind::Unavailable,
                    };
                    let message = "refused".to_owned();
                    self.failures.insert(id, StartFailure { kind, message });
                } else {
                    self.launched(id);
                }
            }
        }
        let calls: Vec<String> = self.stopping.iter().cloned().collect();
        for id in calls {
            if !self.faults || self.dice.percent(50) {
                self.stopping.remove(&id);
                self.driver.remove(&id);
                self.ever_stopped.insert(id);
            }
        }
        let ids: Vec<String> = self.driver.keys().cloned().collect();
        for id in ids {
            let chance = self.dice.below(1_000);
            let Some(seen) = self.driver.get_mut(&id) else {
                continue;
            };
            if seen.state != LifeState::Running {
                continue;
            }
            match chance {
                0..10 if self.faults => seen.state = LifeState::Exited(Some(3)),
                10..15 if self.faults => {
                    self.driver.remove(&id);
                }
                15..20 if self.faults => seen.state = LifeState::Stopping,
                20..40 if self.faults => seen.health = SeenHealth::Unhealthy,
                40..400 => seen.health = SeenHealth::Healthy,
                _ if !self.faults => seen.health = SeenHealth::Healthy,
                _ => {}
            }
        }
        if !self.faults || self.dice.percent(60) {
            self.published = self.desired_routing();
        }
        for agent in &mut self.agents {
            if !self.faults || self.dice.percent(40) {
                agent.serves.clone_from(&self.published);
            }
        }
    }

    fn launched(&mut self, id: String) {
        assert!(
            !self.ever_stopped.contains(&id),
            "{id} runs again after it was stopped"
        );
        self.driver.entry(id).or_insert_with(running);
    }

    fn desired_routing(&self) -> BTreeSet<String> {
        let services = self
            .deployments
            .iter()
            .flat_map(|d| d.clusters.values())
            .flat_map(|c| &c.services);
        services
            .filter_map(|service| service.runtime.as_ref())
            .flat_map(|runtime| &runtime.instances)
            .filter(|instance| instance.deployed)
            .map(|instance| instance.name.clone())
            .collect()
    }

    fn control_runs(&mut self) {
        let mut held: BTreeSet<String> = self.published.union(&self.desired_routing()).cloned().collect();
        for agent in &self.agents {
            held.extend(agent.serves.iter().cloned());
        }
        let known = !self.faults || self.dice.percent(90);
        let observed = Observed {
            instances: self.driver.clone(),
            starting: self.starting.clone(),
            stopping: self.stopping.clone(),
            start_failures: std::mem::take(&mut self.failures),
            held: if known { Held::Only(held) } else { Held::Unknown },
        };
        let gateways = [gateway_with_port("shop/back/api", 40_000)];
        let desired = Desired {
            deployments: &self.deployments,
            gateways: &gateways,
            records: &self.records,
            settings: &self.settings,
        };
        let mut counter = self.counter;
        let mut unique = || {
            counter += 1;
            counter.to_string()
        };
        let actions = plan(&desired, &observed, self.now_ms, &mut unique);
        self.counter = counter;
        if self.faults && self.dice.percent(5) {
            self.log.push("killed before the commit".to_owned());
            return self.restart();
        }
        for action in &actions {
            for deployment in &mut self.deployments {
                apply(deployment, action);
            }
            match action {
                Action::Record(key, record) => {
                    self.records.insert(key.clone(), record.clone());
                }
                Action::Forget(key) => {
                    self.records.remove(key);
                }
                Action::RemoveDeployment(name) => self.deployments.retain(|d| d.name != *name),
                _ => {}
            }
        }
        for action in actions {
            if self.faults && self.dice.percent(2) {
                self.log.push("killed between two calls".to_owned());
                return self.restart();
            }
            match action {
                Action::Start(launch) => {
                    self.log.push(format!("{} start {}", self.now_ms, launch.id));
                    assert!(
                        self.starting.insert(launch.id.clone()),
                        "{} is started while it starts",
                        launch.id
                    );
                }
                Action::Stop { id, .. } => {
                    self.log.push(format!("{} stop {id}", self.now_ms));
                    for agent in &self.agents {
                        assert!(
                            !agent.serves.contains(&id),
                            "{id} is stopped while an agent serves it"
                        );
                    }
                    assert!(
                        !self.published.contains(&id),
                        "{id} is stopped while it is published"
                    );
                    assert!(self.stopping.insert(id), "stopped twice at a time");
                }
                _ => {}
            }
        }
        self.check();
    }

    /// What must hold at any time.
    fn check(&self) {
        let mut ids = BTreeSet::new();
        for (key, record) in &self.records {
            let cluster = self.deployments.iter().find_map(|d| d.clusters.get(&key.cluster));
            let service = cluster.and_then(|c| c.services.iter().find(|s| s.name() == key.service));
            let target = match service.and_then(|service| service.scale.clone()) {
                Some(OrReference::Inline(scale)) => scale.instances as usize,
                _ => 0,
            };
            let mut forms: BTreeMap<&str, usize> = BTreeMap::new();
            for instance in &record.instances {
                assert!(ids.insert(&instance.id), "{} is there twice", instance.id);
                if instance.stage.is_current() {
                    *forms.entry(&instance.fingerprint).or_default() += 1;
                }
            }
            let failed = service
                .and_then(|service| service.runtime.as_ref())
                .is_none_or(|runtime| runtime.status.phase == Phase::Failed);
            for (form, count) in forms {
                assert!(
                    failed || count <= target,
                    "{key}: {count} of {form} instead of {target}"
                );
            }
        }
    }

    /// The process ends and begins again: a call under way was executed or not, nobody remembers.
    fn restart(&mut self) {
        for id in std::mem::take(&mut self.starting) {
            if self.dice.percent(50) {
                self.launched(id);
            }
        }
        for id in std::mem::take(&mut self.stopping) {
            if self.dice.percent(50) {
                self.driver.remove(&id);
                self.ever_stopped.insert(id);
            }
        }
        self.failures.clear();
    }

    fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.now_ms += 1 + self.dice.below(2_000);
            if self.faults && self.dice.percent(4) {
                self.somebody_changes_something();
            }
            self.world_happens();
            self.control_runs();
        }
    }

    fn settle(&mut self) {
        self.faults = false;
        self.restart();
        let now_ms = self.now_ms;
        for service in self.services() {
            initiate(service, now_ms);
        }
        self.run(120);
    }
}

fn initiate(service: &mut Service, now_ms: u64) {
    let Some(runtime) = &mut service.runtime else {
        return;
    };
    runtime.status = ServiceStatus {
        intention: Intention::Deployment,
        since_ms: now_ms,
        phase: Phase::Initiated,
        phase_since_ms: now_ms,
        notification: None,
    };
}

#[test]
fn converges_after_any_faults() {
    for seed in 1..=100 {
        let mut simulation = Simulation::new(seed);
        simulation.run(150);
        simulation.settle();
        let recent =
            |simulation: &Simulation| simulation.log.iter().rev().take(20).cloned().collect::<Vec<_>>();
        let mut ready = BTreeSet::new();
        let shop = simulation.deployments.first().expect("the deployment is there");
        for (cluster_name, cluster) in &shop.clusters {
            let service = &cluster.services[0];
            let runtime = service.runtime.as_ref().unwrap();
            let context = format!(
                "seed {seed}, {cluster_name}: {runtime:?}\n{:?}",
                recent(&simulation)
            );
            assert_eq!(runtime.status.phase, Phase::Done, "{context}");
            let Some(OrReference::Inline(wanted)) = service.scale else {
                panic!()
            };
            assert_eq!(runtime.instances.len(), wanted.instances as usize, "{context}");
            for instance in &runtime.instances {
                assert!(instance.deployed, "{context}");
                ready.insert(instance.name.clone());
            }
        }
        let running: BTreeSet<String> = simulation.driver.keys().cloned().collect();
        assert_eq!(running, ready, "seed {seed}: {:?}", recent(&simulation));
        let remembered: BTreeSet<String> = simulation
            .records
            .values()
            .flat_map(|record| &record.instances)
            .inspect(|instance| assert!(matches!(instance.stage, Stage::Ready { .. })))
            .map(|instance| instance.id.clone())
            .collect();
        assert_eq!(remembered, ready, "seed {seed}");
        for agent in &simulation.agents {
            assert_eq!(agent.serves, ready, "seed {seed}");
        }
    }
}

#[test]
fn an_undeployment_ends_after_any_faults() {
    for seed in 1..=100 {
        let mut simulation = Simulation::new(seed + 5_000);
        simulation.run(60);
        for service in simulation.services() {
            service.runtime.as_mut().unwrap().status.intention = Intention::Undeployment;
        }
        for _ in 0..60 {
            simulation.now_ms += 700;
            simulation.world_happens();
            simulation.control_runs();
        }
        simulation.faults = false;
        simulation.restart();
        simulation.run(40);
        assert_eq!(simulation.deployments, [], "seed {seed}");
        assert!(simulation.records.is_empty(), "seed {seed}");
        assert!(simulation.driver.is_empty(), "seed {seed}");
    }
}
