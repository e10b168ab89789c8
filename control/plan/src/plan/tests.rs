//! Scenarios, one rule each. `harness` is a small world: a driver, agents and storage in memory.

mod harness;
mod leaving;
mod simulation;

use weir_artifact::{Intention, OrReference, Phase};

use self::harness::{World, front, running};
use super::{LifeState, SeenHealth, StartFailureKind};
use crate::{
    Action, ServiceKey, Stage, Synchronization,
    fixtures::{With, breed, deployment, gateway_with_port, scale, service},
};

fn starts(actions: &[Action]) -> usize {
    actions
        .iter()
        .filter(|action| matches!(action, Action::Start(_)))
        .count()
}

fn stops(actions: &[Action]) -> Vec<&str> {
    let stops = actions.iter().filter_map(|action| match action {
        Action::Stop { id, .. } => Some(id.as_str()),
        _ => None,
    });
    stops.collect()
}

fn announced(actions: &[Action]) -> Vec<Synchronization> {
    let announced = actions.iter().filter_map(|action| match action {
        Action::Announce(_, what) => Some(*what),
        _ => None,
    });
    announced.collect()
}

#[test]
fn starts_what_is_missing_and_is_done_when_all_is_ready() {
    let mut world = World::with(front(2));
    let actions = world.tick();
    assert_eq!(starts(&actions), 2);
    assert_eq!(world.phase(), Phase::Updating);
    assert_eq!(world.shown(), 0);
    assert_eq!(starts(&world.tick()), 0, "one start for each");
    assert_eq!(world.shown(), 2);
    assert_eq!(world.ready(), 0, "not healthy yet, so not in the routing");
    assert!(world.notification().contains("0 of 2 instances are ready"));
    world.healthy();
    let actions = world.tick();
    assert_eq!(announced(&actions), [Synchronization::Deployed]);
    assert_eq!((world.phase(), world.ready()), (Phase::Done, 2));
    assert_eq!(world.tick(), [], "nothing to do");
}

#[test]
fn the_record_stands_before_the_start() {
    let mut world = World::with(front(1));
    let actions = world.plan();
    let place = |wanted: fn(&Action) -> bool| actions.iter().position(wanted).unwrap();
    let record = place(|action| matches!(action, Action::Record(..)));
    let start = place(|action| matches!(action, Action::Start(_)));
    assert!(record < start);
    let Action::Record(_, record) = &actions[record] else {
        panic!()
    };
    let Action::Start(launch) = &actions[start] else {
        panic!()
    };
    assert_eq!(record.instances[0].id, launch.id);
}

#[test]
fn waits_for_dependencies_and_then_knows_their_address() {
    let back = service(breed("back:1").port("api", "9090/http"));
    let mut needy = service(
        breed("front:1")
            .needs("backend", "back:*")
            .variable("BACKEND", Some("$backend.host:$backend.ports.api")),
    );
    let runtime = needy.runtime.as_mut().unwrap();
    runtime
        .dependencies
        .insert("backend".to_owned(), "back".to_owned());
    let mut world = World::of(deployment("shop").with("front", needy).with("back", back));
    let actions = world.tick();
    assert_eq!(starts(&actions), 1, "the dependency alone");
    assert!(world.notification().contains("`backend` (back:*)"));
    world.settle();
    assert_eq!(
        world.phase(),
        Phase::Updating,
        "the dependency has no address yet"
    );
    world.gateways.push(gateway_with_port("shop/back/api", 40_005));
    let actions = world.tick();
    let Some(Action::Start(launch)) = actions.iter().find(|a| matches!(a, Action::Start(_))) else {
        panic!("started")
    };
    assert_eq!(launch.environment["BACKEND"], "127.0.0.1:40005");
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    world.gateways[0] = gateway_with_port("shop/back/api", 41_000);
    assert_eq!(world.tick(), [], "what was resolved stays");
}

#[test]
fn an_instance_that_exits_is_replaced_under_a_new_id() {
    let mut world = World::done(front(1));
    let first = world.ids().remove(0);
    world.exit(&first, "no such table");
    let actions = world.tick();
    assert_eq!(announced(&actions), [Synchronization::Redeploy]);
    assert_eq!(starts(&actions), 1);
    assert_eq!(world.ready(), 0, "out of the routing at once");
    assert!(world.notification().contains("exited with code 1: no such table"));
    world.settle();
    assert_eq!((world.phase(), world.ready()), (Phase::Done, 1));
    assert_ne!(world.ids(), [first]);
    assert_eq!(world.driver.len(), 1, "the dead one was forgotten by the driver");
}

#[test]
fn an_instance_that_vanishes_is_replaced() {
    let mut world = World::done(front(2));
    let gone = world.ids().remove(0);
    world.driver.remove(&gone);
    assert_eq!(starts(&world.tick()), 1);
    world.settle();
    assert_eq!((world.phase(), world.ready()), (Phase::Done, 2));
}

#[test]
fn exits_in_a_row_wait_longer_and_then_fail() {
    let mut world = World::with(front(1));
    let mut started_at_s = Vec::new();
    for second in 0..60 {
        let actions = world.tick_after(1_000);
        if starts(&actions) > 0 {
            started_at_s.push(second);
        }
        for id in world.driver_ids() {
            world.exit(&id, "boom");
        }
    }
    // Started, seen dead a second later, then 0, 1, 2 and 4 s of waiting.
    assert_eq!(started_at_s, [0, 1, 3, 6, 11]);
    assert_eq!(world.phase(), Phase::Failed);
    let text = world.notification();
    assert!(
        text.contains("5 exits in a row") && text.contains("boom"),
        "{text}"
    );
    assert!(world.driver.is_empty());

    world.status().phase = Phase::Initiated;
    assert_eq!(
        starts(&world.tick()),
        1,
        "somebody changed it, so it is tried again"
    );
    assert_eq!(world.phase(), Phase::Updating);
}

#[test]
fn an_exit_after_a_stable_time_begins_a_new_count() {
    let mut world = World::done(front(1));
    for _ in 0..10 {
        world.tick_after(world.settings.stable_ms);
        let id = world.ids().remove(0);
        world.exit(&id, "killed");
        assert_eq!(starts(&world.tick()), 1, "at once");
        world.settle();
        assert_eq!(world.phase(), Phase::Done);
    }
}

#[test]
fn several_exits_at_one_time_count_once() {
    let mut world = World::with(front(6));
    world.tick();
    for id in world.driver_ids() {
        world.exit(&id, "host went away");
    }
    world.tick();
    assert_eq!(world.record().exits, 1);
    assert_eq!(world.phase(), Phase::Updating);
}

#[test]
fn a_definition_that_cannot_run_fails_at_once() {
    let mut world = World::with(front(1));
    world.refuse_starts = Some(StartFailureKind::Definition);
    world.tick();
    assert_eq!(starts(&world.tick()), 0);
    assert_eq!(world.phase(), Phase::Failed);
    assert!(world.notification().contains("refused"));
}

#[test]
fn a_driver_that_is_away_is_tried_again_and_never_counts_as_exits() {
    let mut world = World::with(front(1));
    world.refuse_starts = Some(StartFailureKind::Unavailable);
    for _ in 0..100 {
        world.tick_after(1_000);
    }
    assert_eq!(world.phase(), Phase::Updating);
    assert_eq!(world.record().exits, 0);
    world.refuse_starts = None;
    for _ in 0..35 {
        world.tick_after(1_000);
    }
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn what_takes_too_long_fails() {
    let mut world = World::with(front(1));
    world.tick_after(0);
    world.tick_after(world.settings.timeout_ms);
    assert_eq!(world.phase(), Phase::Updating);
    world.tick_after(1);
    assert_eq!(world.phase(), Phase::Failed);
    let text = world.notification();
    assert!(text.contains("600 s") && text.contains("0 of 1"), "{text}");
}

#[test]
fn an_unhealthy_instance_stays_once_it_was_ready() {
    let mut world = World::done(front(1));
    let id = world.ids().remove(0);
    world.driver.get_mut(&id).unwrap().health = SeenHealth::Unhealthy;
    world.tick();
    assert_eq!((world.phase(), world.ready()), (Phase::Done, 1));
    let health = world.service().runtime.as_ref().unwrap().health;
    assert_eq!((health.running, health.healthy, health.unhealthy), (1, 0, 1));
}

#[test]
fn fewer_instances_drain_before_they_stop() {
    let mut world = World::done(front(3));
    world.agents_follow = false;
    world.scale(1);
    assert_eq!(stops(&world.tick()), [""; 0]);
    assert_eq!((world.phase(), world.ready()), (Phase::Done, 1));
    assert_eq!(
        stops(&world.tick_after(60_000)),
        [""; 0],
        "agents still send requests"
    );
    world.agents_follow = true;
    world.tick();
    assert_eq!(
        stops(&world.tick_after(0)),
        [""; 0],
        "released, now the drain time"
    );
    assert_eq!(stops(&world.tick_after(499)), [""; 0]);
    assert_eq!(stops(&world.tick_after(1)).len(), 2);
    world.settle();
    assert_eq!(world.driver.len(), 1);
    assert_eq!(world.record().instances.len(), 1);
}

#[test]
fn instances_that_are_not_ready_go_first() {
    let mut world = World::done(front(2));
    let ready = world.ids();
    world.scale(3);
    world.tick();
    world.tick();
    world.scale(2);
    let actions = world.tick();
    assert_eq!(
        stops(&actions).len(),
        1,
        "never in the routing, so stopped at once"
    );
    assert_eq!(world.ids(), ready);
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn an_unknown_routing_stops_nothing_that_was_ready() {
    let mut world = World::done(front(1));
    world.routing_known = false;
    world.status().intention = Intention::Undeployment;
    for _ in 0..10 {
        assert_eq!(stops(&world.tick_after(10_000)), [""; 0]);
    }
    assert!(
        world
            .notification()
            .contains("until no gateway agent sends them requests")
    );
}

#[test]
fn undeployment_ends_with_nothing() {
    let mut world = World::done(front(2));
    world.status().intention = Intention::Undeployment;
    world.status().phase = Phase::Initiated;
    let mut all = Vec::new();
    for _ in 0..6 {
        all.extend(world.tick_after(1_000));
    }
    assert_eq!(announced(&all), [Synchronization::Undeployed]);
    assert!(
        world.deployments.is_empty(),
        "the deployment went with its last service"
    );
    assert!(world.records.is_empty());
    assert!(world.driver.is_empty());
    assert_eq!(world.tick(), []);
}

#[test]
fn a_failed_undeployment_goes_on() {
    let mut world = World::done(front(1));
    world.agents_follow = false;
    world.status().intention = Intention::Undeployment;
    world.status().phase = Phase::Initiated;
    world.tick();
    world.tick_after(world.settings.timeout_ms + 1);
    assert_eq!(world.phase(), Phase::Failed);
    world.agents_follow = true;
    for _ in 0..6 {
        world.tick_after(1_000);
    }
    assert!(world.deployments.is_empty());
}

#[test]
fn a_new_form_is_ready_before_the_old_one_leaves() {
    let mut world = World::done(front(2));
    let old = world.ids();
    let OrReference::Inline(breed) = &mut world.service_mut().breed else {
        panic!()
    };
    breed.deployable.definition = "another".to_owned();
    world.status().phase = Phase::Initiated;
    let actions = world.tick();
    assert_eq!((starts(&actions), stops(&actions).len()), (2, 0));
    assert_eq!(world.ready(), 2, "the old ones serve");
    world.tick();
    let first_new = world
        .driver_ids()
        .into_iter()
        .find(|id| !old.contains(id))
        .unwrap();
    world.driver.get_mut(&first_new).unwrap().health = SeenHealth::Healthy;
    world.tick();
    assert_eq!(world.ready(), 2, "one of each");
    world.settle();
    assert_eq!((world.phase(), world.ready()), (Phase::Done, 2));
    assert!(world.ids().iter().all(|id| !old.contains(id)));
    assert_eq!(world.driver.len(), 2);
}

#[test]
fn the_old_form_gives_way_when_it_holds_the_port() {
    let mut world = World::done(front(1));
    let OrReference::Inline(breed) = &mut world.service_mut().breed else {
        panic!()
    };
    breed.deployable.definition = "another".to_owned();
    world.refuse_starts = Some(StartFailureKind::PortTaken);
    world.tick();
    world.tick();
    assert_eq!(world.ready(), 0);
    world.refuse_starts = None;
    for _ in 0..40 {
        world.tick_after(1_000);
    }
    world.settle();
    assert_eq!(
        (world.phase(), world.ready(), world.driver.len()),
        (Phase::Done, 1, 1)
    );
}

#[test]
fn instances_without_owner_are_stopped_and_strangers_are_not() {
    let mut world = World::done(front(1));
    world.launch_stranger("orphan", true);
    world.launch_stranger("workflow", false);
    assert_eq!(stops(&world.tick()), ["orphan"]);
    world.settle();
    assert!(world.driver.contains_key("workflow"));
}

#[test]
fn records_without_deployment_are_wound_up() {
    let mut world = World::done(front(2));
    world.deployments.clear();
    world.publish();
    for _ in 0..6 {
        world.tick_after(1_000);
    }
    assert!(world.driver.is_empty() && world.records.is_empty());
}

#[test]
fn a_start_that_is_lost_with_the_process_is_made_again() {
    let mut world = World::with(front(1));
    let actions = world.plan();
    world.store(&actions);
    // The process ends here: nothing was started.
    let again = world.tick();
    let id = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Start(launch) => Some(launch.id.clone()),
            _ => None,
        })
    };
    assert!(id(&again).is_some());
    assert_eq!(id(&again), id(&actions), "the same instance, not another one");
}

#[test]
fn a_malformed_value_fails_with_its_place() {
    let mut given = front(1);
    let OrReference::Inline(breed) = &mut given.breed else {
        panic!()
    };
    let variable = weir_artifact::EnvironmentVariable {
        alias: None,
        value: Some("${a b}".to_owned()),
    };
    breed.environment_variables.insert("X".to_owned(), variable);
    let mut world = World::with(given);
    world.tick();
    assert_eq!(world.phase(), Phase::Failed);
    assert!(
        world.notification().contains("character 1"),
        "{}",
        world.notification()
    );
}

#[test]
fn nothing_runs_at_scale_zero() {
    let mut world = World::with(front(0));
    assert_eq!(announced(&world.tick()), [Synchronization::Deployed]);
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn a_service_that_is_stopped_by_others_comes_back() {
    let mut world = World::done(front(1));
    let id = world.ids().remove(0);
    world.driver.get_mut(&id).unwrap().state = LifeState::Stopping;
    assert_eq!(starts(&world.tick()), 1);
    let key = ServiceKey::new("shop", "front", "front:1");
    assert_eq!(world.records[&key].exits, 0);
    assert!(matches!(
        world.records[&key].instances[0].stage,
        Stage::Leaving { dead: false, .. }
    ));
}

#[test]
fn scale_of_a_running_service() {
    let mut world = World::done(front(1));
    let OrReference::Inline(now) = world.service().scale.clone().unwrap() else {
        panic!()
    };
    assert_eq!(now, scale(1));
    world.scale(4);
    assert_eq!(starts(&world.tick()), 3);
    world.settle();
    assert_eq!((world.phase(), world.ready()), (Phase::Done, 4));
}

#[test]
fn a_start_under_way_is_waited_for_before_it_is_forgotten() {
    let mut world = World::with(front(1));
    let actions = world.plan();
    world.store(&actions);
    let id = world.record().instances[0].id.clone();
    world.starting.insert(id.clone());
    world.scale(0);
    assert_eq!(stops(&world.tick()), [""; 0], "nothing to stop yet");
    assert_eq!(world.record().instances[0].stage, Stage::Stopping);
    world.tick();
    assert_eq!(world.record().instances.len(), 1, "it may still come up");
    world.starting.clear();
    world.driver.insert(id.clone(), running());
    assert_eq!(stops(&world.tick()), [id]);
    world.tick();
    assert!(world.record().instances.is_empty());
}

#[test]
fn an_old_form_is_not_what_is_wanted_while_the_new_one_waits() {
    let mut world = World::done(front(1));
    let OrReference::Inline(breed) = &mut world.service_mut().breed else {
        panic!()
    };
    breed.deployable.definition = "another".to_owned();
    world.status().phase = Phase::Initiated;
    world.refuse_starts = Some(StartFailureKind::Unavailable);
    for _ in 0..50 {
        world.tick_after(200);
        assert_eq!((world.phase(), world.ready()), (Phase::Updating, 1));
    }
}

#[test]
fn an_instance_without_owner_that_agents_serve_is_not_stopped() {
    let mut world = World::done(front(1));
    world.launch_stranger("orphan", true);
    world.agents_follow = false;
    world.acknowledged.insert("orphan".to_owned());
    assert_eq!(stops(&world.tick()), [""; 0]);
    world.acknowledged.remove("orphan");
    assert_eq!(stops(&world.tick()), ["orphan"]);
}
