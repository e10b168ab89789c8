//! What connections to instances begin with.

use std::sync::atomic::Ordering;

use weir_model::{ProxyProtocol, RouteOptions, UpstreamTls};

use crate::{
    authority::{Authority, apply},
    origin::Automatic,
    support::{Origin, World, errors, gateway, header, instance, one_worker, route, status},
};

fn apply_options(world: &World, port: u16, options: RouteOptions) -> Vec<weir_model::Refusal> {
    let mut route = route("r", 100, vec![instance("i", port)]);
    route.options = options;
    apply(
        &world.proxy,
        1,
        vec![gateway("g", Some(world.port.number), vec![route])],
    )
}

fn tls(server_name: Option<&str>, authority: Option<&str>, insecure: bool) -> RouteOptions {
    RouteOptions {
        tls: Some(UpstreamTls {
            server_name: server_name.map(str::to_owned),
            authority: authority.map(str::to_owned),
            insecure,
            certificate: None,
        }),
        ..RouteOptions::default()
    }
}

const REQUEST: &str = "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn instances_are_spoken_to_by_tls_and_connections_are_kept() {
    let authority = Authority::new();
    let origin = Automatic::start(Some(authority.server(&["in.test"])));
    let world = World::empty(one_worker());
    let options = tls(Some("in.test"), Some(&authority.pem), false);
    assert_eq!(apply_options(&world, origin.port, options), Vec::new());
    let mut client = world.client();
    for _ in 0..3 {
        let (head, body) = client.send(REQUEST).response();
        assert_eq!(status(&head), 200);
        assert!(body.starts_with("GET /echo"), "{body}");
    }
    let body = "x".repeat(300_000);
    client.send(format!(
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert!(client.response().1.ends_with(&body));
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
    world.settled(4);
}

#[test]
fn an_instance_that_cannot_be_trusted_gets_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let origin = Automatic::start(Some(authority.server(&["in.test"])));
    for options in [
        tls(Some("in.test"), Some(&stranger.pem), false),
        tls(Some("other.test"), Some(&authority.pem), false),
        // The host, which the certificate does not name.
        tls(None, Some(&authority.pem), false),
    ] {
        let world = World::empty(one_worker());
        assert_eq!(apply_options(&world, origin.port, options), Vec::new());
        let (head, _) = world.client().send(REQUEST).response();
        assert_eq!(status(&head), 502);
        assert_eq!(errors(&world.settled(1)), [("instance_tls", 1)]);
    }
    assert_eq!(origin.requests.load(Ordering::SeqCst), 0);
    let world = World::empty(one_worker());
    assert_eq!(
        apply_options(&world, origin.port, tls(None, None, true)),
        Vec::new()
    );
    assert_eq!(status(&world.client().send(REQUEST).response().0), 200);
}

#[test]
fn a_connection_of_other_options_is_not_used() {
    let authority = Authority::new();
    let origin = Origin::start();
    let world = World::empty(one_worker());
    assert_eq!(
        apply_options(&world, origin.port, RouteOptions::default()),
        Vec::new()
    );
    let mut client = world.client();
    client.send(REQUEST);
    let mut clear = origin.accept();
    clear.head();
    clear.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.response();
    let options = tls(Some("in.test"), Some(&authority.pem), false);
    assert_eq!(apply_options(&world, origin.port, options), Vec::new());
    client.send(REQUEST);
    // A handshake, not a request.
    assert_eq!(origin.accept().bytes(1), [0x16]);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let authority = Authority::new();
    for (options, part) in [
        (tls(None, Some("/nowhere/ca.pem"), false), "/nowhere/ca.pem"),
        (tls(None, Some("-----BEGIN x"), false), "authority"),
        (
            tls(Some("not a name"), Some(&authority.pem), false),
            "`not a name`",
        ),
    ] {
        let world = World::empty(one_worker());
        let refused = apply_options(&world, 1, options);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].gateway, "g");
        assert!(refused[0].reason.contains("route r: "), "{}", refused[0].reason);
        assert!(refused[0].reason.contains(part), "{}", refused[0].reason);
    }
}

#[test]
fn instances_are_told_of_the_client_before_anything_else() {
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let origin = Origin::start();
        let world = World::empty(one_worker());
        let options = RouteOptions {
            send_proxy_protocol: Some(version),
            ..RouteOptions::default()
        };
        assert_eq!(apply_options(&world, origin.port, options), Vec::new());
        // Each client has connections of its own.
        for _ in 0..2 {
            let mut client = world.client();
            let (from, to) = (
                client.stream.local_addr().unwrap(),
                client.stream.peer_addr().unwrap(),
            );
            client.send(REQUEST);
            let mut instance = origin.accept();
            match version {
                ProxyProtocol::V1 => {
                    instance.expect(format!(
                        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
                        from.port(),
                        to.port()
                    ));
                }
                ProxyProtocol::V2 => {
                    let header = instance.bytes(28);
                    assert_eq!(&header[..12], b"\r\n\r\n\0\r\nQUIT\n");
                    assert_eq!(header[24..26], from.port().to_be_bytes());
                    assert_eq!(header[26..28], to.port().to_be_bytes());
                }
            }
            let head = instance.head();
            assert_eq!(header(&head, "host"), Some("h"));
            instance.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(status(&client.response().0), 200);
        }
    }
}
