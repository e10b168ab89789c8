//! What frames tell of instances that left.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the support module is shared by suites")]

mod support;

use support::{Origin, World, instance, one_worker, route};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Instance and requests in flight of each that left and is still busy.
fn departed(world: &World) -> Vec<(String, u64)> {
    let departed = world.frame().departed.unwrap();
    departed
        .into_iter()
        .map(|departed| (departed.instance.to_string(), departed.in_flight))
        .collect()
}

#[test]
fn an_instance_that_left_is_told_until_its_last_request_ends() {
    let (old, new) = (Origin::start(), Origin::start());
    let world = World::empty(one_worker());
    let routes = |instances| vec![route("r", 100, instances)];
    world.apply_routes(routes(vec![instance("old", old.port)]));
    let mut first = world.client();
    first.send(GET);
    let mut server = old.accept();
    server.head();
    assert_eq!(departed(&world), [], "it is in the table");

    world.apply_routes(routes(vec![instance("new", new.port)]));
    assert_eq!(departed(&world), [("old".to_owned(), 1)]);
    world.apply_routes(routes(vec![instance("old", old.port), instance("new", new.port)]));
    assert_eq!(departed(&world), [], "it is back");
    world.apply(Vec::new());
    assert_eq!(
        departed(&world),
        [("old".to_owned(), 1)],
        "its gateway is gone altogether"
    );

    server.send(ANSWER);
    first.response();
    support::eventually("its last request has ended", || departed(&world).is_empty());
}
