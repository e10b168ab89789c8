//! The world of a simulated schedule: storage, a driver, a publisher, agents with requests, and what goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use weir_artifact::{Deployment, Intention, OrReference, Phase, Service, ServiceStatus};

use super::super::harness::running;
use crate::{
    Action, Desired, Held, InFlight, LifeState, Observed, SeenHealth, SeenInstance, ServiceKey,
    ServiceRecord, Settings, StartFailure, StartFailureKind, apply,
    fixtures::{With, breed, deployment, gateway_with_port, scale, service},
    pause, plan,
};

/// A generator of numbers that is the same everywhere (xorshift).
pub(super) struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        (self.roll() >> 11) % limit
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// How often what goes wrong, in percent; each schedule has its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// An instance exits as soon as it runs.
    pub(super) exits_at_once: u64,
    /// An instance never becomes healthy.
    pub(super) never_healthy: u64,
    /// In thousandths of a tick: an instance dies, is removed, renamed or stopped by somebody, or falls ill.
    pub(super) dies_later: u64,
    /// A start fails.
    pub(super) start_fails: u64,
    /// Of those, for good.
    pub(super) undefined: u64,
    /// The driver goes away for some ticks.
    pub(super) driver_down: u64,
    /// Control ends at any step.
    pub(super) killed: u64,
    /// Agents do not look at the store.
    pub(super) silent_agents: u64,
    /// Agents do not tell their requests.
    pub(super) mute_agents: u64,
    /// The store cannot be read by control.
    pub(super) store_away: u64,
    /// Calls of the driver, publications and agents take another tick.
    pub(super) slow: u64,
    /// Somebody changes scale or definition.
    pub(super) changes: u64,
}

impl Faults {
    /// A mixture of its own for each schedule: some faults often, some never.
    pub(super) fn of(dice: &mut Dice) -> Self {
        let mut often = |most: u64| if dice.percent(50) { dice.below(most) + 1 } else { 0 };
        Self {
            exits_at_once: often(40),
            never_healthy: often(30),
            dies_later: often(40),
            start_fails: often(40),
            undefined: often(20),
            driver_down: often(6),
            killed: often(15),
            silent_agents: often(80),
            mute_agents: often(50),
            store_away: often(40),
            slow: often(60),
            changes: often(8),
        }
    }
}

#[derive(Default)]
struct Agent {
    serves: BTreeSet<String>,
    /// Requests by instance, also to those that it no longer serves.
    requests: BTreeMap<String, u64>,
}

pub(super) struct Simulation {
    pub(super) dice: Dice,
    pub(super) faults: Faults,
    pub(super) settings: Settings,
    pub(super) now_ms: u64,
    // What storage holds.
    pub(super) deployments: Vec<Deployment>,
    pub(super) records: BTreeMap<ServiceKey, ServiceRecord>,
    // What the process holds.
    starting: BTreeSet<String>,
    stopping: BTreeSet<String>,
    failures: BTreeMap<String, StartFailure>,
    // What runs, whatever becomes of the process.
    pub(super) driver: BTreeMap<String, SeenInstance>,
    stubborn: BTreeSet<String>,
    driver_away_ticks: u64,
    published: BTreeSet<String>,
    agents: Vec<Agent>,
    ever_stopped: BTreeSet<String>,
    /// When the last agent let an instance go.
    let_go_at_ms: BTreeMap<String, u64>,
    counter: u64,
    /// Steps of control so far: commits and calls.
    steps: u64,
    /// Control ends at this step, once.
    pub(super) killed_at_step: Option<u64>,
    pub(super) log: Vec<String>,
}

pub(super) fn shop() -> Deployment {
    let mut front = service(breed("front:1").port("web", "0").needs("back", "back:1"));
    front.scale = Some(OrReference::Inline(scale(2)));
    let mut back = service(breed("back:1").port("api", "0"));
    back.scale = Some(OrReference::Inline(scale(3)));
    deployment("shop").with("front", front).with("back", back)
}

impl Simulation {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let faults = Faults::of(&mut dice);
        Self {
            dice,
            faults,
            settings: Settings::default(),
            now_ms: 1_000,
            deployments: vec![shop()],
            records: BTreeMap::new(),
            starting: BTreeSet::new(),
            stopping: BTreeSet::new(),
            failures: BTreeMap::new(),
            driver: BTreeMap::new(),
            stubborn: BTreeSet::new(),
            driver_away_ticks: 0,
            published: BTreeSet::new(),
            agents: vec![Agent::default(), Agent::default()],
            ever_stopped: BTreeSet::new(),
            let_go_at_ms: BTreeMap::new(),
            counter: 0,
            steps: 0,
            killed_at_step: None,
            log: Vec::new(),
        }
    }

    pub(super) fn services(&mut self) -> impl Iterator<Item = &mut Service> {
        self.deployments
            .iter_mut()
            .flat_map(|deployment| deployment.clusters.values_mut())
            .flat_map(|cluster| &mut cluster.services)
    }

    fn somebody_changes_something(&mut self) {
        let pick = usize::try_from(self.dice.below(2)).unwrap();
        let instances = u32::try_from(self.dice.below(5)).unwrap();
        let rewrite = self.dice.percent(40);
        let version = self.dice.below(4);
        let now_ms = self.now_ms;
        if let Some(service) = self.services().nth(pick) {
            service.scale = Some(OrReference::Inline(scale(instances)));
            if rewrite {
                redefine(service, &format!("version {version}"));
            }
            initiate(service, now_ms);
        }
    }

    fn world_happens(&mut self) {
        let faults = self.faults;
        self.driver_away_ticks = match self.driver_away_ticks {
            0 if self.dice.percent(faults.driver_down) => 1 + self.dice.below(12),
            ticks => ticks.saturating_sub(1),
        };
        if self.driver_away_ticks == 0 {
            self.calls_end();
        }
        let ids: Vec<String> = self.driver.keys().cloned().collect();
        for id in ids {
            self.life_of(id);
        }
        if !self.dice.percent(faults.slow) {
            self.published = self.desired_routing();
        }
        for index in 0..self.agents.len() {
            self.agent_works(index);
        }
    }

    fn calls_end(&mut self) {
        let faults = self.faults;
        let calls: Vec<String> = self.starting.iter().cloned().collect();
        for id in calls {
            if self.dice.percent(faults.slow) {
                continue;
            }
            self.starting.remove(&id);
            if self.dice.percent(faults.start_fails) {
                let kind = match self.dice.below(100) {
                    chance if chance < faults.undefined => StartFailureKind::Definition,
                    chance if chance % 2 == 0 => StartFailureKind::PortTaken,
                    _ => StartFailureKind::Unavailable,
                };
                let message = "refused".to_owned();
                self.failures.insert(id, StartFailure { kind, message });
            } else {
                self.launched(id);
            }
        }
        let calls: Vec<String> = self.stopping.iter().cloned().collect();
        for id in calls {
            if !self.dice.percent(faults.slow) {
                self.stopping.remove(&id);
                self.ended(&id);
                self.ever_stopped.insert(id);
            }
        }
    }

    fn ended(&mut self, id: &str) {
        self.driver.remove(id);
        for agent in &mut self.agents {
            agent.requests.remove(id);
        }
    }

    fn launched(&mut self, id: String) {
        assert!(
            !self.ever_stopped.contains(&id),
            "{id} runs again after it was stopped"
        );
        let mut instance = running();
        if self.dice.percent(self.faults.exits_at_once) {
            instance.state = LifeState::Exited(Some(2));
            instance.message = Some("no configuration".to_owned());
        }
        if self.dice.percent(self.faults.never_healthy) {
            self.stubborn.insert(id.clone());
        }
        self.driver.entry(id).or_insert(instance);
    }

    fn life_of(&mut self, id: String) {
        let is_hit = self.dice.below(1_000) < self.faults.dies_later;
        let (how, chance) = (self.dice.below(5), self.dice.below(100));
        let is_stubborn = self.stubborn.contains(&id);
        let Some(seen) = self.driver.get_mut(&id) else {
            return;
        };
        if seen.state != LifeState::Running {
            return;
        }
        match how {
            0 if is_hit => seen.state = LifeState::Exited(Some(3)),
            1 if is_hit => {
                self.log.push(format!("{} {id} is removed by hand", self.now_ms));
                self.ended(&id);
            }
            2 if is_hit => {
                // A name is not what an instance is known by, but a driver may not have anything better.
                let renamed = format!("{id}-renamed");
                let seen = seen.clone();
                self.log.push(format!("{} {id} is renamed", self.now_ms));
                self.ended(&id);
                self.driver.insert(renamed, seen);
            }
            3 if is_hit => seen.state = LifeState::Stopping,
            4 if is_hit => seen.health = SeenHealth::Unhealthy,
            _ if is_stubborn && chance < 40 => seen.health = SeenHealth::Unhealthy,
            _ if is_stubborn => {}
            _ if self.faults.slow == 0 || chance < 40 => seen.health = SeenHealth::Healthy,
            _ => {}
        }
    }

    /// Follows what is published, and carries requests.
    fn agent_works(&mut self, index: usize) {
        let (is_silent, load) = (self.dice.percent(self.faults.silent_agents), self.dice.below(3));
        let ends = self.dice.below(4);
        let Some(agent) = self.agents.get_mut(index) else {
            return;
        };
        if !is_silent {
            agent.serves.clone_from(&self.published);
        }
        agent.requests.retain(|_, requests| {
            *requests = requests.saturating_sub(ends);
            *requests > 0
        });
        let alive = |id: &&String| {
            self.driver
                .get(*id)
                .is_some_and(|seen| seen.state == LifeState::Running)
        };
        for id in agent.serves.iter().filter(alive) {
            *agent.requests.entry(id.clone()).or_default() += load;
        }
        let served: BTreeSet<&String> = self.agents.iter().flat_map(|agent| &agent.serves).collect();
        for id in self.driver.keys() {
            if served.contains(id) || self.published.contains(id) {
                self.let_go_at_ms.remove(id);
            } else {
                self.let_go_at_ms.entry(id.clone()).or_insert(self.now_ms);
            }
        }
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

    fn observed(&mut self) -> Observed {
        let mut held: BTreeSet<String> = self.published.union(&self.desired_routing()).cloned().collect();
        let mut by_instance: BTreeMap<String, u64> = BTreeMap::new();
        for agent in &self.agents {
            held.extend(agent.serves.iter().cloned());
            for (id, requests) in &agent.requests {
                *by_instance.entry(id.clone()).or_default() += requests;
            }
        }
        let is_known = !self.dice.percent(self.faults.store_away);
        let is_told = !self.dice.percent(self.faults.mute_agents);
        Observed {
            instances: self.driver.clone(),
            starting: self.starting.clone(),
            stopping: self.stopping.clone(),
            start_failures: std::mem::take(&mut self.failures),
            unknown: BTreeMap::new(),
            held: if is_known { Held::Only(held) } else { Held::Unknown },
            in_flight: is_told.then_some(InFlight {
                asked_at_ms: self.now_ms,
                by_instance,
            }),
        }
    }

    /// One run of control: observe, plan, store, act. It may end at any step.
    fn control_runs(&mut self) {
        let gateways = [gateway_with_port("shop/back/api", 40_000)];
        let desired = Desired {
            deployments: &self.deployments.clone(),
            gateways: &gateways,
            records: &self.records.clone(),
            settings: &self.settings.clone(),
        };
        if self.driver_away_ticks > 0 {
            let actions = pause(&desired, "connection refused", self.now_ms);
            self.store(&actions);
            return;
        }
        let observed = self.observed();
        let run = |mut counter: u64, now_ms| {
            let mut unique = || {
                counter += 1;
                counter.to_string()
            };
            let actions = plan(&desired, &observed, now_ms, &mut unique);
            (actions, counter)
        };
        let (actions, counter) = run(self.counter, self.now_ms);
        if counter.is_multiple_of(7) {
            assert_eq!(
                run(self.counter, self.now_ms).0,
                actions,
                "the same inputs give the same actions"
            );
        }
        self.counter = counter;
        self.success_was_observed(&actions, &observed);
        if self.is_killed() {
            self.log.push("killed before the commit".to_owned());
            return self.restart();
        }
        self.store(&actions);
        for action in actions {
            let call = matches!(action, Action::Start(_) | Action::Stop { .. });
            if call && self.is_killed() {
                self.log.push("killed before a call".to_owned());
                return self.restart();
            }
            match action {
                Action::Start(launch) => {
                    self.log.push(format!("{} start {}", self.now_ms, launch.id));
                    assert!(
                        !self.driver.contains_key(&launch.id) && self.starting.insert(launch.id.clone()),
                        "{} is started twice",
                        launch.id
                    );
                }
                Action::Stop { id, .. } => self.stops(id),
                _ => {}
            }
        }
        self.check();
    }

    fn stops(&mut self, id: String) {
        self.log.push(format!("{} stop {id}", self.now_ms));
        let is_served = self.agents.iter().any(|agent| agent.serves.contains(&id));
        assert!(!is_served, "{id} is stopped while an agent serves it");
        assert!(
            !self.published.contains(&id),
            "{id} is stopped while it is published"
        );
        let requests: u64 = self
            .agents
            .iter()
            .filter_map(|agent| agent.requests.get(&id))
            .sum();
        let lives = self
            .driver
            .get(&id)
            .is_some_and(|seen| seen.state == LifeState::Running);
        if requests > 0 && lives && !id.ends_with("-renamed") {
            let let_go_ms = self.let_go_at_ms.get(&id).copied().unwrap_or(self.now_ms);
            assert!(
                self.now_ms - let_go_ms >= self.settings.drain_max_ms,
                "{id} is stopped with {requests} requests before the deadline"
            );
        }
        assert!(self.stopping.insert(id), "stopped twice at a time");
    }

    fn store(&mut self, actions: &[Action]) {
        for action in actions {
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
    }

    fn is_killed(&mut self) -> bool {
        self.steps += 1;
        if self.killed_at_step == Some(self.steps) {
            self.killed_at_step = None;
            return true;
        }
        // So many steps in a tick that each has only a part of the chance.
        self.dice.below(400) < self.faults.killed
    }

    /// Whether control was killed at the step that was asked for.
    pub(super) fn was_killed(&self) -> bool {
        self.killed_at_step.is_none()
    }

    /// Nothing is said to be done but what the driver showed to be so.
    fn success_was_observed(&self, actions: &[Action], observed: &Observed) {
        for action in actions {
            let Action::Runtime(key, runtime) = action else {
                continue;
            };
            let why = &runtime.status.notification;
            match runtime.status.phase {
                Phase::Done => {
                    assert_eq!(*why, None, "{key}");
                    assert_eq!(runtime.instances.len(), self.target(key), "{key}");
                    for instance in &runtime.instances {
                        let seen = observed.instances.get(&instance.name);
                        assert!(
                            instance.deployed && seen.is_some_and(|seen| seen.state == LifeState::Running),
                            "{key} is done without {}: {seen:?}",
                            instance.name
                        );
                    }
                }
                Phase::Updating | Phase::Failed => {
                    assert!(
                        why.as_ref().is_some_and(|why| !why.is_empty()),
                        "{key} says no reason"
                    );
                }
                Phase::Initiated => panic!("{key}: nothing was done, yet it was stored"),
            }
        }
    }

    fn target(&self, key: &ServiceKey) -> usize {
        let cluster = self.deployments.iter().find_map(|d| d.clusters.get(&key.cluster));
        let service = cluster.and_then(|c| c.services.iter().find(|s| s.name() == key.service));
        match service.and_then(|service| service.scale.clone()) {
            Some(OrReference::Inline(scale)) => scale.instances as usize,
            _ => 0,
        }
    }

    /// What must hold at any time.
    fn check(&self) {
        let mut ids = BTreeSet::new();
        for (key, record) in &self.records {
            let target = self.target(key);
            let mut forms: BTreeMap<&str, usize> = BTreeMap::new();
            for instance in &record.instances {
                assert!(ids.insert(&instance.id), "{} is there twice", instance.id);
                if instance.stage.is_current() && !instance.ill {
                    *forms.entry(&instance.fingerprint).or_default() += 1;
                }
            }
            let failed = self.deployments.iter().all(|deployment| {
                deployment
                    .clusters
                    .get(&key.cluster)
                    .and_then(|cluster| cluster.services.iter().find(|s| s.name() == key.service))
                    .and_then(|service| service.runtime.as_ref())
                    .is_none_or(|runtime| runtime.status.phase == Phase::Failed)
            });
            // An ill one that recovers stands beside its successor until the next run.
            let recovering = record
                .instances
                .iter()
                .any(|instance| instance.unhealthy_since_ms.is_some());
            for (form, count) in forms {
                assert!(
                    failed || recovering || count <= target,
                    "{key}: {count} of {form} instead of {target}"
                );
            }
        }
    }

    /// The process ends and begins again: a call under way was executed or not, nobody remembers.
    pub(super) fn restart(&mut self) {
        for id in std::mem::take(&mut self.starting) {
            if self.dice.percent(50) && !self.driver.contains_key(&id) {
                self.launched(id);
            }
        }
        for id in std::mem::take(&mut self.stopping) {
            if self.dice.percent(50) {
                self.ended(&id);
                self.ever_stopped.insert(id);
            }
        }
        self.failures.clear();
    }

    pub(super) fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.now_ms += 1 + self.dice.below(2_000);
            if self.dice.percent(self.faults.changes) {
                self.somebody_changes_something();
            }
            self.world_happens();
            self.control_runs();
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm(&mut self) {
        self.faults = Faults::default();
        self.driver_away_ticks = 0;
        self.stubborn.clear();
        self.restart();
    }

    /// Ids that agents serve, each agent's.
    pub(super) fn served(&self) -> impl Iterator<Item = &BTreeSet<String>> {
        self.agents.iter().map(|agent| &agent.serves)
    }

    /// Instances that take requests of everyone.
    pub(super) fn ready(&self, cluster: &str) -> usize {
        let records = self.records.iter().filter(|(key, _)| key.cluster == cluster);
        records
            .flat_map(|(_, record)| &record.instances)
            .filter(|instance| instance.stage.is_ready())
            .count()
    }
}

pub(super) fn redefine(service: &mut Service, definition: &str) {
    if let OrReference::Inline(breed) = &mut service.breed {
        definition.clone_into(&mut breed.deployable.definition);
    }
}

/// Somebody changed it.
pub(super) fn initiate(service: &mut Service, now_ms: u64) {
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
