//! TLS that ends at a gateway.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use rustls::{HandshakeKind, ProtocolVersion};
use weir_model::{Certificate, Protocol, TlsVersion};

use crate::{
    authority::{Authority, Client, apply, connect, connect_after, der, shown, with_tls},
    origin::Automatic,
    support::{
        Origin, Peer, World, eventually, gateway, header, impatient, instance, one_worker, route, status,
    },
};

fn response(client: &mut Client) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
    let mut body = vec![0; length];
    client.read_exact(&mut body).unwrap();
    (head, body)
}

fn get(client: &mut Client, path: &str) -> (String, Vec<u8>) {
    client
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())
        .unwrap();
    response(client)
}

/// One gateway `g` with these certificates that leads to `port`.
fn world(port: u16, certificates: Vec<Certificate>) -> World {
    let world = World::empty(one_worker());
    world.apply(vec![with_tls(world.gateway_to(port), certificates)]);
    world
}

#[test]
fn requests_come_through_both_versions_and_are_told_of_it() {
    let authority = Authority::new();
    let origin = Automatic::start(None);
    let world = world(origin.port, vec![authority.issue(&["a.test"])]);
    for (version, expected) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let config = authority.client(&[version], &["http/1.1"]);
        let mut client = connect(world.port.address(), &config, "a.test").unwrap();
        assert_eq!(client.conn.protocol_version(), Some(expected));
        for _ in 0..2 {
            let (head, body) = get(&mut client, "/echo");
            assert_eq!(status(&head), 200);
            let seen = String::from_utf8(body).unwrap();
            assert_eq!(header(&seen, "x-forwarded-proto"), Some("https"), "{seen}");
        }
    }
    world.settled(4);
}

#[test]
fn an_end_that_means_something_is_said() {
    let authority = Authority::new();
    let origin = Automatic::start(None);
    let world = world(origin.port, vec![authority.issue(&["a.test"])]);
    let mut client = connect(world.port.address(), &authority.any_client(), "a.test").unwrap();
    client
        .write_all(b"GET /close HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let mut all = String::new();
    // Fails if the connection ends without `close_notify`.
    client.read_to_string(&mut all).unwrap();
    assert!(all.ends_with("until the end"), "{all}");
    let mut client = connect(world.port.address(), &authority.any_client(), "a.test").unwrap();
    client.write_all(b"GET /cut HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let (mut bytes, mut all) = ([0; 1024], Vec::new());
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        all.extend_from_slice(&bytes[..count]);
    }
    assert!(all.ends_with(b"half"));
}

#[test]
fn large_bodies_come_whole_both_ways() {
    let authority = Authority::new();
    let origin = Automatic::start(None);
    let world = world(origin.port, vec![authority.issue(&["a.test"])]);
    let mut client = connect(world.port.address(), &authority.any_client(), "a.test").unwrap();
    for size in [1, 70_000, 3_000_000] {
        let body: Vec<u8> = (0..size).map(|index: usize| (index * 31 % 251) as u8).collect();
        write!(
            client,
            "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n"
        )
        .unwrap();
        client.write_all(&body).unwrap();
        let (head, echoed) = response(&mut client);
        assert_eq!(status(&head), 200);
        assert!(echoed.ends_with(&body), "{size} bytes come back");
    }
    // One who reads late: what waits inside the encryption must come all the same.
    client
        .write_all(b"GET /size/4000000 HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    eventually("the answer waits for its reader", || {
        world.route("r").requests == 4
    });
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(response(&mut client).1.len(), 4_000_000);
}

#[test]
fn an_old_version_can_be_refused() {
    let authority = Authority::new();
    let origin = Origin::start();
    let world = World::empty(one_worker());
    let mut strict = with_tls(world.gateway_to(origin.port), vec![authority.issue(&["a.test"])]);
    strict.options.tls.as_mut().unwrap().minimum = TlsVersion::V13;
    world.apply(vec![strict]);
    let old = authority.client(&[&rustls::version::TLS12], &[]);
    assert!(connect(world.port.address(), &old, "a.test").is_err());
    connect(world.port.address(), &authority.any_client(), "a.test").unwrap();
    eventually("it is counted", || world.metric("weir_", "\"handshake\"") >= 1.0);
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let authority = Authority::new();
    let origin = Origin::start();
    let certificates = vec![
        authority.issue(&["first.test"]),
        authority.issue(&["*.wild.test"]),
        authority.issue(&["exact.wild.test", "Other.Test"]),
    ];
    let world = world(origin.port, certificates.clone());
    for (name, expected) in [
        ("first.test", 0),
        ("any.wild.test", 1),
        ("exact.wild.test", 2),
        ("other.test", 2),
        ("EXACT.wild.test", 2),
    ] {
        let client = connect(world.port.address(), &authority.any_client(), name).unwrap();
        assert!(shown(&client) == der(&certificates[expected]), "{name}");
    }
    // One that none stands for gets the first, which it does not take.
    let refused = connect(world.port.address(), &authority.any_client(), "a.b.wild.test").unwrap_err();
    assert!(refused.to_string().contains("first.test"), "{refused}");
}

#[test]
fn certificates_are_swapped_when_their_files_change_and_bad_ones_are_not() {
    let authority = Authority::new();
    let origin = Origin::start();
    let folder = tempfile::tempdir().unwrap();
    let paths = Certificate {
        certificate: folder.path().join("c.pem").to_str().unwrap().to_owned(),
        key: folder.path().join("k.pem").to_str().unwrap().to_owned(),
    };
    let write = |pair: &Certificate| {
        std::fs::write(&paths.certificate, &pair.certificate).unwrap();
        std::fs::write(&paths.key, &pair.key).unwrap();
    };
    let (first, second) = (
        authority.issue(&["a.test"]),
        authority.issue(&["a.test", "b.test"]),
    );
    write(&first);
    let world = world(origin.port, vec![paths.clone()]);
    let seen = || shown(&connect(world.port.address(), &authority.any_client(), "a.test").unwrap());
    assert!(seen() == der(&first));
    write(&second);
    eventually("the second is served", || seen() == der(&second));

    std::fs::write(&paths.certificate, "no certificate").unwrap();
    let gateways = || vec![with_tls(world.gateway_to(origin.port), vec![paths.clone()])];
    let mut generation = 10;
    let deadline = Instant::now() + Duration::from_secs(10);
    let refused = loop {
        generation += 1;
        let refused = apply(&world.proxy, generation, gateways());
        if !refused.is_empty() {
            break refused;
        }
        assert!(Instant::now() < deadline, "bad content is told");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(refused[0].gateway, "g");
    assert!(refused[0].reason.contains("c.pem"), "{}", refused[0].reason);
    assert!(seen() == der(&second), "the one before is still served");
    write(&first);
    eventually("the first is served again", || seen() == der(&first));
    assert_eq!(apply(&world.proxy, 999, gateways()), Vec::new());
}

#[test]
fn what_cannot_be_served_is_refused_by_name_and_the_rest_serves() {
    let authority = Authority::new();
    let origin = Automatic::start(None);
    let world = World::empty(one_worker());
    let (good, other) = (authority.issue(&["a.test"]), authority.issue(&["b.test"]));
    let port = || crate::support::Port::reserve();
    let (bad_port, served_port) = (port(), port());
    let routes = || vec![route("r", 100, vec![instance("i", origin.port)])];
    for (bad, part) in [
        (
            Certificate {
                certificate: "-----BEGIN garbage".to_owned(),
                key: good.key.clone(),
            },
            "no PEM certificate",
        ),
        (
            Certificate {
                certificate: good.certificate.clone(),
                key: other.key.clone(),
            },
            "belongs to another certificate",
        ),
        (
            Certificate {
                certificate: "/nowhere/c.pem".to_owned(),
                key: good.key.clone(),
            },
            "/nowhere/c.pem cannot be read",
        ),
        (
            Certificate {
                certificate: good.certificate.clone(),
                key: good.certificate.clone(),
            },
            "no PEM private key",
        ),
    ] {
        let refused = apply(
            &world.proxy,
            1,
            vec![
                with_tls(gateway("bad", Some(bad_port.number), routes()), vec![bad.clone()]),
                with_tls(
                    gateway("g", Some(world.port.number), routes()),
                    vec![good.clone()],
                ),
            ],
        );
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!(refused[0].gateway, "bad");
        assert!(refused[0].reason.contains(part), "{}", refused[0].reason);
        assert!(!refused[0].reason.contains("PRIVATE"), "{}", refused[0].reason);
        let mut client = connect(world.port.address(), &authority.any_client(), "a.test").unwrap();
        assert_eq!(status(&get(&mut client, "/echo").0), 200);
        assert!(std::net::TcpStream::connect(bad_port.address()).is_err());
        drop(refused);

        // One that was served keeps its last good form.
        let served = gateway("served", Some(served_port.number), routes());
        assert_eq!(
            apply(
                &world.proxy,
                2,
                vec![with_tls(served.clone(), vec![good.clone()])]
            ),
            Vec::new()
        );
        let refused = apply(&world.proxy, 3, vec![with_tls(served, vec![bad])]);
        assert_eq!(refused.len(), 1);
        let client = connect(served_port.address(), &authority.any_client(), "a.test").unwrap();
        assert!(shown(&client) == der(&good));
    }
}

#[test]
fn sessions_are_resumed_also_after_other_parts_of_the_gateway_changed() {
    let authority = Authority::new();
    let origin = Automatic::start(None);
    let certificate = authority.issue(&["a.test"]);
    let world = world(origin.port, vec![certificate.clone()]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = authority.client(&[version], &[]);
        let shake = || {
            let mut client = connect(world.port.address(), &config, "a.test").unwrap();
            // Tickets come with the first answer.
            get(&mut client, "/echo");
            client.conn.handshake_kind()
        };
        assert_eq!(shake(), Some(HandshakeKind::Full));
        assert_eq!(shake(), Some(HandshakeKind::Resumed));
        world.apply(vec![with_tls(
            gateway(
                "g",
                Some(world.port.number),
                vec![
                    route("r", 60, vec![instance("i", origin.port)]),
                    route("s", 40, vec![instance("i", origin.port)]),
                ],
            ),
            vec![certificate.clone()],
        )]);
        assert_eq!(shake(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn an_expired_certificate_is_served() {
    let authority = Authority::new();
    let origin = Origin::start();
    let expired = authority.issue_with(&["a.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let world = world(origin.port, vec![expired]);
    let error = connect(world.port.address(), &authority.any_client(), "a.test").unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn raw_connections_are_decrypted_and_their_ends_passed_on() {
    let authority = Authority::new();
    let origin = Origin::start();
    let world = World::empty(one_worker());
    let mut tcp = with_tls(world.gateway_to(origin.port), vec![authority.issue(&["a.test"])]);
    tcp.protocol = Protocol::Tcp;
    world.apply(vec![tcp]);
    let config = authority.client(rustls::ALL_VERSIONS, &[]);
    let mut client = connect(world.port.address(), &config, "a.test").unwrap();
    client.write_all(b"ping").unwrap();
    let mut instance = origin.accept();
    instance.expect("ping").send("pong");
    let mut bytes = [0; 4];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"pong");
    client.conn.send_close_notify();
    client.conn.complete_io(&mut client.sock).unwrap();
    instance.expect_end();
    instance.send("last").end_sending();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "last");
    world.settled(1);
}

#[test]
fn the_proxy_protocol_comes_before_the_handshake() {
    let authority = Authority::new();
    let origin = Automatic::start(None);
    let world = World::empty(one_worker());
    let mut gateway = with_tls(world.gateway_to(origin.port), vec![authority.issue(&["a.test"])]);
    gateway.options.accept_proxy_protocol = true;
    world.apply(vec![gateway]);
    let header_of_proxy = b"PROXY TCP4 192.0.2.7 192.0.2.8 5000 443\r\n";
    let config = authority.any_client();
    let mut client = connect_after(header_of_proxy, world.port.address(), &config, "a.test").unwrap();
    let (_, body) = get(&mut client, "/echo");
    let seen = String::from_utf8(body).unwrap();
    assert_eq!(header(&seen, "x-forwarded-for"), Some("192.0.2.7"), "{seen}");
    assert!(connect(world.port.address(), &config, "a.test").is_err());
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    let authority = Authority::new();
    let origin = Origin::start();
    let world = World::empty(impatient());
    world.apply(vec![with_tls(
        world.gateway_to(origin.port),
        vec![authority.issue(&["a.test"])],
    )]);
    let mut silent = Peer::connect(world.port.address());
    silent.expect_end();
    let mut babbling = Peer::connect(world.port.address());
    babbling.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let (_alert, _) = babbling.rest_or_reset();
    eventually("both are counted", || {
        world.metric("weir_", "\"handshake_timeout\"") >= 1.0 && world.metric("weir_", "\"handshake\"") >= 1.0
    });
}
