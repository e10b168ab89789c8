//! The planner among faults: instances exit at once, die later, never become healthy, are removed, renamed or stopped
//! by somebody, starts are slow or refused, the driver is away, agents are silent, requests last long, the process is
//! killed at any step. After the faults end the world must come to what is wanted; and at no time may a rule be broken
//! (`rules` asserts those). Set `WEIR_SIMULATION_SEEDS` for more schedules than the usual ones.

mod faults;
mod rules;
mod world;

use std::collections::BTreeSet;

use weir_artifact::{Intention, OrReference, Phase};

use self::{
    faults::Faults,
    world::{Simulation, initiate, redefine},
};
use crate::Stage;

/// Schedules of each kind.
fn seeds(usual: u64) -> std::ops::RangeInclusive<u64> {
    let asked = std::env::var("WEIR_SIMULATION_SEEDS").ok();
    1..=asked.and_then(|asked| asked.parse().ok()).unwrap_or(usual)
}

fn recent(simulation: &Simulation) -> Vec<&String> {
    simulation.log.iter().rev().take(20).collect()
}

/// Everything is as wanted, and nothing else is there.
fn assert_settled(simulation: &Simulation, seed: u64) {
    let mut ready = BTreeSet::new();
    let shop = simulation.deployments.first().expect("the deployment is there");
    for (cluster_name, cluster) in &shop.clusters {
        let service = &cluster.services[0];
        let runtime = service.runtime.as_ref().unwrap();
        let context = format!(
            "seed {seed}, {cluster_name}: {runtime:?}\n{:?}",
            recent(simulation)
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
    assert_eq!(running, ready, "seed {seed}: {:?}", recent(simulation));
    let remembered: BTreeSet<String> = simulation
        .records
        .values()
        .flat_map(|record| &record.instances)
        .inspect(|instance| assert!(matches!(instance.stage, Stage::Ready { .. })))
        .map(|instance| instance.id.clone())
        .collect();
    assert_eq!(remembered, ready, "seed {seed}");
    for served in simulation.served() {
        assert_eq!(*served, ready, "seed {seed}");
    }
}

fn converges(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let mut simulation = Simulation::new(seed);
        simulation.run(60);
        simulation.calm();
        // Longer than any wait before an instance is tried again, and than the deadline of draining.
        simulation.run(70);
        let mut failed = Vec::new();
        for service in simulation.services() {
            let status = &service.runtime.as_ref().unwrap().status;
            assert_eq!(status.intention, Intention::Deployment);
            match status.phase {
                Phase::Done => {}
                Phase::Failed => failed.push(status.notification.clone().unwrap_or_default()),
                // Its exit is that of what it waits for, or its time.
                _ if status
                    .notification
                    .as_ref()
                    .is_some_and(|why| why.ends_with("has failed")) => {}
                phase => panic!("seed {seed}: {phase:?} has no exit: {:?}", status.notification),
            }
        }
        for why in &failed {
            let is_for_people = why.contains("exits in a row")
                || why.contains("refused")
                || why.contains("dependency")
                || why.contains("not finished");
            assert!(is_for_people, "seed {seed}: {why}");
        }
        if !failed.is_empty() {
            let now_ms = simulation.now_ms;
            for service in simulation.services() {
                initiate(service, now_ms);
            }
            simulation.run(40);
        }
        assert_settled(&simulation, seed);
    }
}

#[test]
fn converges_after_any_faults() {
    converges(seeds(600));
}

#[test]
fn converges_after_any_other_faults() {
    converges(seeds(600).map(|seed| seed + 1_000_000));
}

#[test]
fn an_undeployment_ends_after_any_faults() {
    for seed in seeds(400) {
        let mut simulation = Simulation::new(seed + 2_000_000);
        simulation.faults.changes = 0;
        simulation.run(40);
        for service in simulation.services() {
            service.runtime.as_mut().unwrap().status.intention = Intention::Undeployment;
        }
        simulation.run(40);
        simulation.calm();
        simulation.run(60);
        assert_eq!(simulation.deployments, [], "seed {seed}");
        assert!(simulation.records.is_empty(), "seed {seed}");
        assert!(simulation.driver.is_empty(), "seed {seed}");
    }
}

/// With everything slow, agents silent and requests long, but nothing broken, no redeployment takes away capacity.
#[test]
fn redeployments_never_have_fewer_ready_than_wanted() {
    for seed in seeds(200) {
        let mut simulation = Simulation::new(seed + 3_000_000);
        simulation.faults = Faults::default();
        simulation.run(30);
        assert_settled(&simulation, seed);
        simulation.faults = Faults {
            silent_agents: 60,
            mute_agents: 30,
            store_away: 20,
            slow: 60,
            killed: 10,
            ..Faults::default()
        };
        for version in 0..6 {
            let now_ms = simulation.now_ms;
            for service in simulation.services() {
                redefine(service, &format!("version {version}"));
                initiate(service, now_ms);
            }
            for _ in 0..15 {
                simulation.run(1);
                let ready = (simulation.ready("front"), simulation.ready("back"));
                assert!(
                    ready.0 >= 2 && ready.1 >= 3,
                    "seed {seed}, version {version}: {ready:?}"
                );
            }
        }
        simulation.calm();
        simulation.run(60);
        assert_settled(&simulation, seed);
    }
}

/// The same schedule again and again, control killed at the first step, at the second, and so on to the last.
#[test]
fn killed_at_every_step_of_a_deployment_control_goes_on() {
    for step in 1.. {
        let mut simulation = Simulation::new(4_000_000);
        simulation.faults = Faults {
            slow: 30,
            ..Faults::default()
        };
        simulation.killed_at_step = Some(step);
        simulation.run(25);
        let now_ms = simulation.now_ms;
        for service in simulation.services() {
            redefine(service, "another version");
            initiate(service, now_ms);
        }
        simulation.run(40);
        let was_killed = simulation.was_killed();
        simulation.calm();
        simulation.run(60);
        assert_settled(&simulation, step);
        if !was_killed {
            assert!(step > 60, "so few steps cannot be all: {step}");
            return;
        }
    }
}
