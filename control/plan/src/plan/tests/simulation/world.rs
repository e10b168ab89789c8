//! The world of a simulated schedule: storage, a driver, a publisher, agents with requests, and what goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use weir_artifact::{Deployment, Intention, OrReference, Phase, Service, ServiceStatus};

use super::{
    super::harness::{routing, running, store},
    faults::{Dice, Faults},
};
use crate::{
    Action, Desired, Held, InFlight, LifeState, Observed, SeenHealth, SeenInstance, ServiceKey,
    ServiceRecord, Settings, StartFailure, StartFailureKind,
    fixtures::{With, breed, deployment, gateway_with_port, scale, service},
    pause, plan,
};

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
        let mut dice = Dice::new(seed);
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
            self.published = routing(&self.deployments);
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

    fn observed(&mut self) -> Observed {
        let mut held: BTreeSet<String> = self
            .published
            .union(&routing(&self.deployments))
            .cloned()
            .collect();
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
            store(&mut self.deployments, &mut self.records, &actions);
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
        store(&mut self.deployments, &mut self.records, &actions);
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
