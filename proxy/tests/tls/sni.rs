//! Routes of TCP gateways by the name that a client of TLS asks for.

use std::io::{Read as _, Write as _};

use rustls::{ClientConnection, pki_types::ServerName};
use weir_model::{Gateway, Protocol, Route};

use crate::{
    authority::{Authority, apply, connect, with_tls},
    origin::Automatic,
    support::{Origin, Peer, World, eventually, gateway, impatient, instance, one_worker, route, to_gateway},
};

fn named(name: &str, percent: u64, port: u16, names: &[&str]) -> Route {
    let mut route = route(name, percent, vec![instance(name, port)]);
    route.options.server_names = names.iter().map(|name| (*name).to_owned()).collect();
    route
}

fn tcp(name: &str, port: Option<u16>, routes: Vec<Route>) -> Gateway {
    let mut gateway = gateway(name, port, routes);
    gateway.protocol = Protocol::Tcp;
    gateway
}

/// What a client sends first.
fn hello(authority: &Authority, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(authority.any_client(), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn requests(world: &World, gateway: &str, route: &str) -> u64 {
    let frame = world.frame();
    let gateway = frame
        .gateways
        .iter()
        .find(|one| one.name.as_str() == gateway)
        .unwrap();
    gateway
        .routes
        .iter()
        .find(|one| one.name.as_str() == route)
        .unwrap()
        .requests
}

#[test]
fn connections_are_passed_through_to_who_has_the_name() {
    let authority = Authority::new();
    let origins =
        ["a.test", "x.b.test", "c.test"].map(|name| Automatic::start(Some(authority.server(&[name]))));
    let world = World::empty(one_worker());
    world.apply(vec![
        tcp(
            "g",
            Some(world.port.number),
            vec![
                named("wild", 0, origins[1].port, &["*.b.test", "*.test"]),
                named("a", 0, origins[0].port, &["a.test"]),
                to_gateway("inner", 0, "i"),
                named("rest", 100, 1, &[]),
            ]
            .into_iter()
            .map(|mut route| {
                if route.name.as_str() == "inner" {
                    route.options.server_names = vec!["c.test".to_owned()];
                }
                route
            })
            .collect(),
        ),
        tcp("i", None, vec![named("c", 100, origins[2].port, &[])]),
    ]);
    // The certificate that is shown is for the name: only the right instance has one.
    for (name, gateway, route) in [
        ("a.test", "g", "a"),
        ("x.b.test", "g", "wild"),
        ("c.test", "i", "c"),
    ] {
        let mut client = connect(world.port.address(), &authority.any_client(), name).unwrap();
        client
            .write_all(b"GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut head = [0; 12];
        client.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        assert_eq!(requests(&world, gateway, route), 1, "{name}");
    }
    let frame = world.frame();
    let chosen: u64 = frame.gateways[0]
        .routes
        .iter()
        .map(|route| route.by_condition)
        .sum();
    assert_eq!(chosen, 3);
    assert_eq!(requests(&world, "g", "rest"), 0);
}

#[test]
fn every_byte_arrives_as_it_was_sent_however_it_comes() {
    let authority = Authority::new();
    let (named_origin, rest) = (Origin::start(), Origin::start());
    let world = World::empty(one_worker());
    world.apply(vec![tcp(
        "g",
        Some(world.port.number),
        vec![
            named("a", 0, named_origin.port, &["a.test"]),
            named("rest", 100, rest.port, &[]),
        ],
    )]);
    let bytes = hello(&authority, "a.test");
    let mut client = world.client();
    for byte in &bytes {
        client.send([*byte]);
    }
    client.send("and more");
    named_origin
        .accept()
        .expect([&bytes[..], b"and more"].concat())
        .send("answer");
    client.expect("answer");
    // Another name, no TLS.
    let other = hello(&authority, "b.test");
    world.client().send(&other);
    rest.accept().expect(&other);
    let mut ssh = world.client();
    ssh.send("SSH-2.0-x\r\n");
    rest.accept().expect("SSH-2.0-x\r\n");
    assert_eq!(requests(&world, "g", "rest"), 2);
}

#[test]
fn a_hello_that_is_wrong_or_late_reaches_nobody() {
    let authority = Authority::new();
    let origin = Origin::start();
    let world = World::empty(impatient());
    world.apply(vec![tcp(
        "g",
        Some(world.port.number),
        vec![named("a", 100, origin.port, &["a.test"])],
    )]);
    let good = hello(&authority, "a.test");
    let spoilt = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for bytes in [
        spoilt(1, 2),
        spoilt(3, 0xff),
        spoilt(5, 2),
        spoilt(6, 0xff),
        spoilt(43, 0xff),
    ] {
        let mut client = world.client();
        client.send(&bytes);
        client.rest_or_reset();
    }
    assert!(world.metric("weir_rejected_total", "\"handshake\"") >= 5.0);
    // One that is never whole, and one that never begins.
    let mut half = world.client();
    half.send(&good[..40]);
    let mut silent: Peer = world.client();
    half.rest_or_reset();
    silent.rest_or_reset();
    eventually("both are counted", || {
        world.metric("weir_rejected_total", "handshake_timeout") == 2.0
    });
    assert!(!origin.has_visitor());
    // Without a name nobody waits for anything.
    assert_eq!(requests(&world, "g", "a"), 0);
}

#[test]
fn a_gateway_that_ends_tls_knows_the_name_as_well() {
    let authority = Authority::new();
    let (a, b) = (Origin::start(), Origin::start());
    let world = World::empty(one_worker());
    world.apply(vec![with_tls(
        tcp(
            "g",
            Some(world.port.number),
            vec![named("a", 0, a.port, &["a.test"]), named("b", 100, b.port, &[])],
        ),
        vec![authority.issue(&["a.test", "b.test"])],
    )]);
    for (name, origin) in [("a.test", &a), ("b.test", &b)] {
        let mut client = connect(world.port.address(), &authority.any_client(), name).unwrap();
        client.write_all(name.as_bytes()).unwrap();
        client.flush().unwrap();
        origin.accept().expect(name);
    }
}

#[test]
fn names_are_for_tcp_gateways() {
    let world = World::empty(one_worker());
    let http = gateway(
        "g",
        Some(world.port.number),
        vec![named("a", 100, 1, &["a.test"])],
    );
    let refused = apply(&world.proxy, 1, vec![http.clone()]);
    assert!(refused[0].reason.contains("TCP gateways"), "{refused:?}");
    // As a document it is read and written.
    let document = weir_model::document::write(&[tcp("g", Some(1), http.routes)]);
    let again = weir_model::document::read(document).unwrap();
    assert_eq!(again[0].routes[0].options.server_names, ["a.test"]);
}
