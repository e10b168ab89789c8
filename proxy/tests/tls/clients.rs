//! Certificates of clients, at a gateway and towards instances.

use std::io::{Read as _, Write as _};

use weir_model::{Gateway, RouteOptions, Tls, UpstreamTls};

use crate::{
    authority::{Authority, apply, connect},
    origin::Automatic,
    support::{World, errors, eventually, gateway, impatient, instance, one_worker, route, status},
};

const REQUEST: &str = "GET /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

fn guarded(world: &World, port: u16, own: &Authority, client_ca: &str, optional: bool) -> Gateway {
    let mut gateway = world.gateway_to(port);
    gateway.options.tls = Some(Tls {
        certificates: vec![own.issue(&["a.test"])],
        client_ca: Some(client_ca.to_owned()),
        client_certificate_optional: optional,
        ..Tls::default()
    });
    gateway
}

/// The answer, or nothing.
fn answer(world: &World, config: &std::sync::Arc<rustls::ClientConfig>) -> Option<String> {
    let mut client = connect(world.port.address(), config, "a.test").ok()?;
    client.write_all(REQUEST.as_bytes()).ok()?;
    let mut text = String::new();
    // TLS 1.3 tells of a refusal only here.
    client.read_to_string(&mut text).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

#[test]
fn only_clients_that_the_authority_knows_come_in() {
    let (own, known, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let origin = Automatic::start(None);
    for optional in [false, true] {
        let world = World::empty(one_worker());
        world.apply(vec![guarded(&world, origin.port, &own, &known.pem, optional)]);
        let with = answer(&world, &own.client_with(&known.issue(&["client.test"]))).unwrap();
        assert!(with.starts_with("HTTP/1.1 200"), "{with}");
        assert_eq!(
            answer(&world, &own.client_with(&stranger.issue(&["client.test"]))),
            None
        );
        assert_eq!(answer(&world, &own.any_client()).is_some(), optional);
        let expired = known.issue_with(&["client.test"], |params| {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        });
        assert_eq!(answer(&world, &own.client_with(&expired)), None);
        // In TLS 1.3 the client is done before the server has looked.
        eventually("two were refused", || {
            world.metric("weir_rejected_total", "handshake") >= 2.0
        });
        world.settled(if optional { 2 } else { 1 });
    }
}

#[test]
fn an_authority_that_is_none_is_refused_by_name() {
    let own = Authority::new();
    for (client_ca, part) in [
        ("/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("-----BEGIN x", "client_ca"),
    ] {
        let world = World::empty(one_worker());
        let refused = apply(&world.proxy, 1, vec![guarded(&world, 1, &own, client_ca, false)]);
        assert_eq!(refused.len(), 1);
        assert!(refused[0].reason.contains(part), "{}", refused[0].reason);
    }
}

#[test]
fn instances_may_ask_for_a_certificate() {
    let authority = Authority::new();
    let origin = Automatic::start(Some(authority.server_for_known(&["in.test"])));
    let options = |certificate| RouteOptions {
        tls: Some(UpstreamTls {
            server_name: Some("in.test".to_owned()),
            authority: Some(authority.pem.clone()),
            certificate,
            ..UpstreamTls::default()
        }),
        ..RouteOptions::default()
    };
    let world = World::empty(impatient());
    let set = |generation, certificate| {
        let mut to_origin = route("r", 100, vec![instance("i", origin.port)]);
        to_origin.options = options(certificate);
        apply(
            &world.proxy,
            generation,
            vec![gateway("g", Some(world.port.number), vec![to_origin])],
        )
    };
    assert_eq!(set(1, Some(authority.issue(&["weir.test"]))), Vec::new());
    assert_eq!(status(&world.client().send(REQUEST).response().0), 200);
    assert_eq!(set(2, None), Vec::new());
    assert_eq!(status(&world.client().send(REQUEST).response().0), 502);
    let route = world.settled(2);
    let errors = errors(&route);
    assert!(
        matches!(errors[..], [("instance_tls" | "response_closed", 1)]),
        "{errors:?}"
    );
    // A key of another certificate.
    let mut mixed = authority.issue(&["weir.test"]);
    mixed.key = authority.issue(&["weir.test"]).key;
    let refused = set(3, Some(mixed));
    assert!(
        refused[0].reason.contains("certificate for instances"),
        "{refused:?}"
    );
}
