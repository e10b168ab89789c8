//! Gateways that carry raw TCP.

use weir_model::Protocol;
use weir_proxy::Config;

use crate::support::{Origin, Port, World, errors, impatient, one_worker};

fn world(config: Config, port: u16) -> World {
    let world = World::empty(config);
    let mut tcp = world.gateway_to(port);
    tcp.protocol = Protocol::Tcp;
    world.apply(vec![tcp]);
    world
}

#[test]
fn bytes_pass_both_ways_and_each_side_ends_on_its_own() {
    let origin = Origin::start();
    let world = world(one_worker(), origin.port);
    let mut client = world.client();
    let mut server = origin.accept();
    // The origin may speak first.
    server.send("hello\n");
    client.expect("hello\n").send("ping");
    server.expect("ping").send("pong");
    client.expect("pong").send("last").end_sending();
    server.expect("last");
    server.expect_end();
    server.send("still here");
    client.expect("still here");
    drop(server);
    client.expect_end();
    let route = world.settled(1);
    assert_eq!(
        (route.outcomes.classes, errors(&route)),
        ([0, 1, 0, 0, 0], vec![])
    );
    assert_eq!((route.bytes_in, route.bytes_out), (8, 20));
}

#[test]
fn a_million_bytes_are_echoed() {
    let origin = Origin::start();
    let world = world(one_worker(), origin.port);
    let body: Vec<u8> = (0..3_000_000_u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut client = world.client();
    let server = origin.accept();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut from, mut to) = (&server.stream, &server.stream);
            std::io::copy(&mut from, &mut to).unwrap();
            server.stream.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut sender = crate::support::Peer::new(client.stream.try_clone().unwrap());
        let sent = &body;
        scope.spawn(move || sender.send(sent).end_sending().stream.peer_addr().is_ok());
        assert!(client.rest() == body);
    });
    world.settled(1);
}

#[test]
fn an_origin_that_cannot_be_reached_ends_the_connection() {
    let nobody = Port::reserve();
    let world = world(one_worker(), nobody.number);
    let mut client = world.client();
    client.expect_end();
    let route = world.settled(1);
    assert_eq!((route.retries, errors(&route)), (3, vec![("connect_refused", 1)]));
}

#[test]
fn silence_and_resets_end_both_sides() {
    let origin = Origin::start();
    let world = world(impatient(), origin.port);
    let mut client = world.client();
    let mut server = origin.accept();
    client.expect_end();
    server.expect_end();
    let mut client = world.client();
    let server = origin.accept();
    server.reset();
    assert_eq!(client.rest_or_reset(), (Vec::new(), false));
    let client = world.client();
    let mut server = origin.accept();
    client.reset();
    server.expect_end();
    assert_eq!(
        errors(&world.settled(3)),
        [("client_aborted", 1), ("response_closed", 1), ("tunnel_idle", 1)]
    );
}
