//! Switching protocols.

use crate::support::{Origin, Peer, World, errors, header, impatient, status};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn switched(world: &World, origin: &Origin) -> (Peer, Peer) {
    let mut client = world.client();
    client.send(ASK);
    let mut server = origin.accept();
    let head = server.head();
    assert_eq!(
        (header(&head, "upgrade"), header(&head, "connection")),
        (Some("websocket"), Some("upgrade"))
    );
    (client, server)
}

#[test]
fn after_101_all_bytes_pass_both_ways() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let (mut client, mut server) = switched(&world, &origin);
    // What comes with the answer belongs to the new protocol, as does what looks like HTTP.
    server.send(SWITCH).send([0x81, 0x02, b'h', b'i']);
    let head = client.head();
    assert_eq!(status(&head), 101);
    assert_eq!(
        (header(&head, "upgrade"), header(&head, "connection")),
        (Some("websocket"), Some("upgrade"))
    );
    client.expect([0x81, 0x02, b'h', b'i']);
    client.send("GET / HTTP/1.1\r\n\r\n");
    server.expect("GET / HTTP/1.1\r\n\r\n");
    for number in 0..50_u8 {
        client.send([number; 3_000]);
        server.expect([number; 3_000]).send([number; 5_000]);
        client.expect([number; 5_000]);
    }
    assert_eq!(world.route("r").in_flight, 1);
    // One side ends, the other may still speak.
    client.end_sending();
    server.expect_end();
    server.send("bye");
    drop(server);
    assert_eq!(client.rest(), b"bye");
    let route = world.settled(1);
    assert_eq!(
        (route.outcomes.classes, errors(&route)),
        ([1, 0, 0, 0, 0], vec![])
    );
    assert!(route.bytes_in > 150_000 && route.bytes_out > 250_000);
}

#[test]
fn bytes_sent_before_the_switch_are_passed_on_after_it() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send(ASK).send("eager");
    let mut server = origin.accept();
    server.head();
    assert!(server.is_silent(), "the origin has not agreed yet");
    server.send(SWITCH);
    client.head();
    server.expect("eager");
}

#[test]
fn an_origin_that_does_not_switch_answers_as_usual() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let (mut client, mut server) = switched(&world, &origin);
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(client.response().1, "no");
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    server.head();
    server.send("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n");
    let head = client.head();
    assert_eq!(
        (status(&head), header(&head, "upgrade")),
        (426, Some("websocket"))
    );
    world.settled(2);
}

#[test]
fn a_tunnel_that_is_reset_or_falls_silent_ends() {
    let origin = Origin::start();
    let world = World::with(impatient(), &origin);
    let (mut client, mut server) = switched(&world, &origin);
    server.send(SWITCH);
    client.head();
    server.reset();
    assert_eq!(client.rest_or_reset(), (Vec::new(), false));
    let (mut client, mut server) = switched(&world, &origin);
    server.send(SWITCH);
    client.head();
    client.expect_end();
    server.expect_end();
    let (mut client, mut server) = switched(&world, &origin);
    server.send(SWITCH);
    client.head();
    client.reset();
    server.expect_end();
    assert_eq!(
        errors(&world.settled(3)),
        [("client_aborted", 1), ("response_closed", 1), ("tunnel_idle", 1)]
    );
}

#[test]
fn http_2_is_not_switched_to() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n");
    let mut server = origin.accept();
    let head = server.head();
    assert_eq!(
        (
            header(&head, "upgrade"),
            header(&head, "connection"),
            header(&head, "http2-settings")
        ),
        (None, None, None)
    );
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(status(&client.head()), 200);
}
