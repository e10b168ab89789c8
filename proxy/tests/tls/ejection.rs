//! Checks that speak as requests do, and instances that are passed over because of their answers.

use std::sync::atomic::Ordering;

use weir_model::{
    EndpointState, HealthCheck, HealthProtocol, Millis, ProxyProtocol, RouteOptions, UpstreamTls,
};
use weir_proxy::Config;

use crate::{
    authority::Authority,
    grpc::http2,
    multiplexed::{Habits, Multiplexed},
    origin::Automatic,
    support::{World, eventually, instance, one_worker, route, status},
};

fn check(path: &str) -> Option<HealthCheck> {
    Some(HealthCheck {
        protocol: HealthProtocol::Http,
        path: path.to_owned(),
        interval: Millis::new(50).unwrap(),
        fall: 1,
        rise: 1,
        ..HealthCheck::tcp()
    })
}

fn checked(port: u16, options: RouteOptions) -> World {
    let world = World::empty(Config {
        health: None,
        ..one_worker()
    });
    let mut route = route("r", 100, vec![instance("i", port)]);
    route.options = options;
    world.apply_routes(vec![route]);
    world
}

fn becomes(world: &World, state: EndpointState, saw: &str) {
    eventually("the check says so", || {
        let route = world.route("r");
        route.instances[0].state == state
            && route.instances[0]
                .last_check
                .as_deref()
                .is_some_and(|text| text.contains(saw))
    });
}

#[test]
fn an_http_check_speaks_as_requests_do() {
    let authority = Authority::new();
    let tls = Some(UpstreamTls {
        server_name: Some("in.test".to_owned()),
        authority: Some(authority.pem.clone()),
        ..UpstreamTls::default()
    });
    let secret = Automatic::start(Some(authority.server(&["in.test"])));
    let world = checked(
        secret.port,
        RouteOptions {
            health: check("/echo"),
            tls: tls.clone(),
            ..RouteOptions::default()
        },
    );
    becomes(&world, EndpointState::Up, "status 200");
    secret.is_failing.store(true, Ordering::SeqCst);
    becomes(&world, EndpointState::Down, "status 500");
    // A certificate that is not trusted.
    let stranger = Automatic::start(Some(Authority::new().server(&["in.test"])));
    let world = checked(
        stranger.port,
        RouteOptions {
            health: check("/echo"),
            tls: tls.clone(),
            ..RouteOptions::default()
        },
    );
    becomes(&world, EndpointState::Down, "TLS handshake");

    for tls in [None, tls] {
        let server = tls.as_ref().map(|_| authority.server_with(&["in.test"], &["h2"]));
        let origin = Multiplexed::start(server, Habits::default());
        let with = |path| RouteOptions {
            health: check(path),
            tls: tls.clone(),
            ..http2()
        };
        let world = checked(origin.port, with("/echo"));
        becomes(&world, EndpointState::Up, "status 200");
        assert!(origin.seen.uris.lock().unwrap()[0].ends_with("/echo"));
        becomes(
            &checked(origin.port, with("/cancelled")),
            EndpointState::Down,
            "HTTP/2",
        );
    }
    // What speaks HTTP/1.1 is no instance of HTTP/2.
    let plain = Automatic::start(None);
    let options = RouteOptions {
        health: check("/echo"),
        ..http2()
    };
    let world = checked(plain.port, options);
    eventually("it is down", || {
        world.route("r").instances[0].state == EndpointState::Down
    });
}

#[test]
fn a_check_after_a_proxy_protocol_header_begins_with_one() {
    let origin = crate::support::Origin::start();
    let _world = checked(
        origin.port,
        RouteOptions {
            health: check("/h"),
            send_proxy_protocol: Some(ProxyProtocol::V1),
            ..RouteOptions::default()
        },
    );
    let mut peer = origin.accept();
    peer.expect("PROXY TCP4 127.0.0.1 127.0.0.1 ");
    let head = peer.head();
    assert!(head.contains("GET /h HTTP/1.1\r\n"), "{head}");
}

#[test]
fn errors_in_a_row_eject_an_instance_until_a_request_finds_it_well() {
    let (good, bad) = (Automatic::start(None), Automatic::start(None));
    bad.is_failing.store(true, Ordering::SeqCst);
    let world = World::empty(one_worker());
    let apply = |ejects: bool| {
        let mut route = route(
            "r",
            100,
            vec![instance("good", good.port), instance("bad", bad.port)],
        );
        if ejects {
            route.options = serde_json::from_str(r#"{"ejection": {"errors": 3, "pause": "1s"}}"#).unwrap();
        }
        world.apply_routes(vec![route]);
    };
    apply(false);
    let mut client = world.client();
    let mut ask = |count: usize| {
        (0..count)
            .filter(|_| status(&client.send("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n").response().0) == 500)
            .count()
    };
    // Without the option errors are what a release is judged by.
    assert_eq!(ask(20), 10);
    apply(true);
    assert_eq!(ask(20), 3, "three in a row, then none");
    assert_eq!(world.route("r").instances[1].state, EndpointState::Ejected);
    // A swap changes nothing of it.
    apply(true);
    assert_eq!(world.route("r").instances[1].state, EndpointState::Ejected);
    // The probe fails, and it is out for longer.
    let failed = std::cell::Cell::new(0);
    let asker = std::cell::RefCell::new(&mut ask);
    eventually("a request tries it", || {
        failed.set(failed.get() + (asker.borrow_mut())(1));
        failed.get() > 0
    });
    assert_eq!((asker.borrow_mut())(10), 0, "one probe, then none");
    bad.is_failing.store(false, Ordering::SeqCst);
    let before = bad.requests.load(Ordering::SeqCst);
    eventually("it is back", || {
        (asker.borrow_mut())(1);
        bad.requests.load(Ordering::SeqCst) > before
    });
    let before = bad.requests.load(Ordering::SeqCst);
    assert_eq!((asker.borrow_mut())(20), 0);
    assert_eq!(bad.requests.load(Ordering::SeqCst), before + 10, "its full share");
}
