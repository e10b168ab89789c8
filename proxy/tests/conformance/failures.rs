//! Instances that cannot be reached.

use crate::support::{Origin, Port, World, errors, instance, one_worker, route, status};

#[test]
fn an_instance_that_refuses_is_tried_again_and_then_503() {
    let nobody = Port::reserve();
    let world = World::empty(one_worker());
    world.apply_routes(vec![route("r", 100, vec![instance("i", nobody.number)])]);
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab");
    assert_eq!(client.response().1, "503 Service Unavailable: connect_refused\n");
    let route = world.settled(1);
    assert_eq!(route.retries, 3);
    assert_eq!(errors(&route), [("connect_refused", 1)]);
    // The connection goes on: the small body was read.
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status(&client.head()), 503);
}

#[test]
fn another_instance_of_the_route_takes_over_whatever_the_request() {
    let nobody = Port::reserve();
    let origin = Origin::start();
    let world = World::empty(one_worker());
    world.apply_routes(vec![route(
        "r",
        100,
        vec![instance("a", nobody.number), instance("b", origin.port)],
    )]);
    let mut server = None;
    for number in 0..10 {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab");
        let server = server.get_or_insert_with(|| origin.accept());
        server.head();
        server
            .expect("ab")
            .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(status(&client.head()), 200, "request {number}");
    }
    let route = world.settled(10);
    assert_eq!(
        (route.outcomes.classes, errors(&route)),
        ([0, 10, 0, 0, 0], vec![])
    );
    assert!(route.retries >= 1);
}

#[test]
fn there_is_no_other_route_for_a_route_that_is_down() {
    let nobody = Port::reserve();
    let origin = Origin::start();
    let world = World::empty(one_worker());
    world.apply_routes(vec![
        route("down", 50, vec![instance("a", nobody.number)]),
        route("up", 50, vec![instance("b", origin.port)]),
    ]);
    let answers = std::thread::spawn(move || {
        let mut server = origin.accept();
        for _ in 0..5 {
            server.head();
            server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut client = world.client();
    let mut seen = Vec::new();
    for _ in 0..10 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        seen.push(status(&client.response().0));
    }
    answers.join().unwrap();
    assert_eq!(seen.iter().filter(|status| **status == 503).count(), 5);
    assert_eq!(seen.iter().filter(|status| **status == 200).count(), 5);
}

#[test]
fn a_name_that_does_not_resolve_is_503() {
    let world = World::empty(one_worker());
    let mut nowhere = instance("i", 80);
    nowhere.host = "nowhere.invalid".to_owned();
    world.apply_routes(vec![route("r", 100, vec![nowhere])]);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response().1, "503 Service Unavailable: unresolved\n");
}
