//! Draining, illness, and drivers that are away.

use std::collections::BTreeMap;

use weir_artifact::{Intention, OrReference, Phase};

use super::{
    announced,
    harness::{World, front},
    starts, stops,
};
use crate::{
    Synchronization,
    fixtures::{With, breed, deployment, service},
    plan::{InFlight, SeenHealth},
};

#[test]
fn requests_under_way_end_before_their_instance_does() {
    let mut world = World::done(front(2));
    let [busy, idle] = <[String; 2]>::try_from(world.ids()).unwrap();
    world.in_flight = Some([(busy.clone(), 3)].into());
    world.scale(0);
    world.tick();
    world.tick();
    assert_eq!(stops(&world.tick_after(500)), [idle]);
    world.tick_after(20_000);
    assert_eq!(world.driver_ids(), std::slice::from_ref(&busy));
    world.in_flight = Some(BTreeMap::new());
    assert_eq!(stops(&world.tick_after(1)), [busy]);
}

#[test]
fn requests_that_never_end_are_cut_at_the_deadline() {
    for told in [true, false] {
        let mut world = World::done(front(1));
        let id = world.ids().remove(0);
        world.in_flight = told.then(|| [(id.clone(), 1)].into());
        world.status().intention = Intention::Undeployment;
        world.tick();
        world.tick_after(0);
        assert_eq!(stops(&world.tick_after(29_999)), [""; 0]);
        let text = world.notification();
        let said = if told {
            "wait for 1 requests to end"
        } else {
            "are draining"
        };
        assert!(text.contains(said), "{text}");
        assert_eq!(stops(&world.tick_after(1)), [id]);
    }
}

#[test]
fn a_reading_from_before_the_release_says_nothing() {
    let told = InFlight {
        asked_at_ms: 99,
        by_instance: BTreeMap::new(),
    };
    assert_eq!(told.to("x", 100), None);
    assert_eq!(told.to("x", 99), Some(0));
}

#[test]
fn an_instance_whose_checks_fail_for_long_is_replaced_before_it_leaves() {
    let mut world = World::done(front(1));
    let id = world.ids().remove(0);
    world.driver.get_mut(&id).unwrap().health = SeenHealth::Unhealthy;
    world.tick();
    assert_eq!(starts(&world.tick_after(59_999)), 0);
    assert_eq!(starts(&world.tick_after(1)), 1);
    assert_eq!((world.phase(), world.ready()), (Phase::Updating, 1));
    let text = world.notification();
    assert!(text.contains("have failed for 60 s"), "{text}");
    for (other, seen) in &mut world.driver {
        if *other != id {
            seen.health = SeenHealth::Healthy;
        }
    }
    world.tick();
    world.tick();
    assert_eq!((world.phase(), world.ready()), (Phase::Done, 1));
    assert_ne!(world.ids(), [id]);
    assert_eq!(world.record().exits, 0, "an illness is no exit");
}

#[test]
fn an_instance_that_recovers_while_its_successor_starts_stays() {
    let mut world = World::done(front(1));
    let id = world.ids().remove(0);
    world.driver.get_mut(&id).unwrap().health = SeenHealth::Unhealthy;
    world.tick();
    assert_eq!(starts(&world.tick_after(60_000)), 1);
    world.driver.get_mut(&id).unwrap().health = SeenHealth::Healthy;
    world.tick();
    world.tick();
    assert_eq!(world.ids(), std::slice::from_ref(&id));
    assert_eq!((world.phase(), world.driver_ids()), (Phase::Done, vec![id]));
}

#[test]
fn a_failed_service_that_comes_to_be_as_wanted_is_done() {
    let mut world = World::with(front(1));
    world.tick();
    world.tick_after(world.settings.timeout_ms + 1);
    world.tick();
    assert_eq!(world.phase(), Phase::Failed);
    world.healthy();
    assert_eq!(announced(&world.tick()), [Synchronization::Deployed]);
    assert_eq!((world.phase(), world.notification().as_str()), (Phase::Done, ""));
}

#[test]
fn while_the_driver_is_away_services_say_so_and_their_time_stands_still() {
    let mut world = World::with(front(1));
    world.tick();
    let actions = world.pause("connection refused");
    assert_eq!((starts(&actions), stops(&actions).len()), (0, 0));
    assert_eq!(world.phase(), Phase::Updating);
    assert!(world.notification().contains("connection refused"));
    world.now_ms += 10 * world.settings.timeout_ms;
    assert_eq!(world.pause("connection refused"), [], "said once");
    world.tick();
    assert_eq!(
        world.phase(),
        Phase::Updating,
        "that time was not the service's own"
    );
    assert!(world.notification().contains("0 of 1"));
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    world.pause("again");
    assert_eq!(world.phase(), Phase::Done);
    assert!(world.notification().contains("again"));
    world.tick();
    assert_eq!(world.notification(), "");
}

#[test]
fn of_two_drivers_one_that_is_away_does_not_hold_up_the_other() {
    let mut command = service(breed("front:1").port("web", "0"));
    let OrReference::Inline(inline) = &mut command.breed else {
        panic!()
    };
    inline.deployable.kind = Some("command".to_owned());
    let container = service(breed("back:1").port("api", "0"));
    let mut world = World::of(deployment("shop").with("front", command).with("back", container));
    world.settle();
    let all = world.driver.clone();
    assert_eq!(all.len(), 2);

    // The engine of the containers is gone, and with it all that it would tell.
    world.unknown = [("container/docker".to_owned(), "connection refused".to_owned())].into();
    world.driver.retain(|id, _| id.contains("front"));
    world.scale(2);
    assert_eq!(starts(&world.tick_after(1_000)), 1, "of the one that answers");
    world.settle();
    assert_eq!((world.phase(), world.ready()), (Phase::Done, 2));
    let back = |world: &World| {
        let runtime = world.deployments[0].clusters["back"].services[0].runtime.clone();
        runtime.unwrap()
    };
    assert!(
        back(&world)
            .status
            .notification
            .unwrap()
            .contains("connection refused")
    );
    assert_eq!(back(&world).instances.len(), 1, "it stays in the routing");

    world.unknown.clear();
    world.driver.extend(all);
    assert_eq!(starts(&world.tick_after(1_000)), 0, "nothing was lost");
    assert_eq!(back(&world).status.notification, None);
}
