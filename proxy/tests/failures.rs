//! What a client sees when something goes wrong on either side of the proxy, or before it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::string_slice, reason = "the texts are ASCII")]
#![allow(unreachable_pub, reason = "the support module is shared by suites")]

mod support;

use std::time::{Duration, Instant};

use support::{
    Origin, Peer, Port, World, errors, eventually, gateway, header, instance, on_condition, one_worker,
    route, status,
};
use weir_model::{Balance, EndpointState, Gateway, Millis, Protocol, RouteTimeouts};
use weir_proxy::{Announce, Config, ErrorPage, Proxy, RetryBudget, StartError};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn short() -> Option<Millis> {
    Some(Millis::new(400).unwrap())
}

/// One route to the origin with these bounds; the configuration's are far away.
fn timed(origin: &Origin, timeouts: RouteTimeouts) -> World {
    let world = World::empty(one_worker());
    let mut only = route("r", 100, vec![instance("i", origin.port)]);
    only.options.timeouts = timeouts;
    world.apply_routes(vec![only]);
    world
}

/// Bounds are exact to a quarter of a second; a busy machine adds to that.
#[track_caller]
fn took_about(begun: Instant, ms: u64) {
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(ms.saturating_sub(260)) && took < Duration::from_secs(5),
        "{took:?} for {ms} ms"
    );
}

#[test]
fn the_first_byte_of_an_answer_has_a_bound_of_its_route() {
    let origin = Origin::start();
    let world = timed(
        &origin,
        RouteTimeouts {
            first_byte: short(),
            ..RouteTimeouts::default()
        },
    );
    let mut client = world.client();
    let begun = Instant::now();
    client.send(GET);
    let mut server = origin.accept();
    server.head();
    assert_eq!(client.response().1, "504 Gateway Timeout: response_timeout\n");
    took_about(begun, 400);
    assert!(!origin.has_visitor(), "what was sent is not sent again");
}

#[test]
fn a_body_that_stops_has_a_bound_of_its_route() {
    let origin = Origin::start();
    let world = timed(
        &origin,
        RouteTimeouts {
            idle: short(),
            ..RouteTimeouts::default()
        },
    );
    // The instance's.
    let mut client = world.client();
    client.send(GET);
    let mut server = origin.accept();
    server.head();
    let begun = Instant::now();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    assert_eq!(status(&client.head()), 200);
    let (seen, _) = client.rest_or_reset();
    assert_eq!(seen, b"ab", "the client sees that it is a part by the length");
    took_about(begun, 400);
    // The client's.
    let mut client = world.client();
    let begun = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab");
    let mut server = origin.accept();
    server.head();
    assert_eq!(client.response().1, "408 Request Timeout: request_timeout\n");
    took_about(begun, 400);
}

#[test]
fn the_whole_request_has_a_bound_of_its_route_however_lively_it_is() {
    let origin = Origin::start();
    let world = timed(
        &origin,
        RouteTimeouts {
            request: short(),
            ..RouteTimeouts::default()
        },
    );
    // Before an answer.
    let mut client = world.client();
    client.send(GET);
    let mut server = origin.accept();
    server.head();
    assert_eq!(client.response().1, "504 Gateway Timeout: response_timeout\n");
    // Within one: bytes come all the time.
    let mut client = world.client();
    let begun = Instant::now();
    client.send(GET);
    let mut server = origin.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    assert_eq!(status(&client.head()), 200);
    let dripping = std::thread::spawn(move || {
        while server.try_send("x").is_ok() && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let (seen, _) = client.rest_or_reset();
    assert!(!seen.is_empty());
    took_about(begun, 400);
    dripping.join().unwrap();
}

#[test]
fn a_tunnel_has_a_bound_of_its_route() {
    let origin = Origin::start();
    let world = World::empty(one_worker());
    let mut only = route("r", 100, vec![instance("i", origin.port)]);
    only.options.timeouts.tunnel = short();
    let tcp = Gateway {
        protocol: Protocol::Tcp,
        ..gateway("g", Some(world.port.number), vec![only])
    };
    world.apply(vec![tcp]);
    let mut client = world.client();
    let begun = Instant::now();
    client.send("ping");
    let mut server = origin.accept();
    server.expect("ping");
    client.expect_end();
    took_about(begun, 400);
    assert_eq!(errors(&world.settled(1)), [("tunnel_idle", 1)]);
}

#[test]
fn a_connection_has_a_bound_of_its_route() {
    // Its queue is full, so that the system answers no further attempt.
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = full.local_addr().unwrap();
    socket2::SockRef::from(&full).listen(0).unwrap();
    let fillers: Vec<_> = (0..8)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            // In progress: that is what it is for.
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    let world = World::empty(Config {
        retries: 0,
        ..one_worker()
    });
    let mut only = route("r", 100, vec![instance("i", address.port())]);
    only.options.timeouts.connect = short();
    world.apply_routes(vec![only]);
    let mut client = world.client();
    let begun = Instant::now();
    client.send(GET);
    assert_eq!(client.response().1, "503 Service Unavailable: connect_timeout\n");
    took_about(begun, 400);
    drop(fillers);
}

#[test]
fn a_request_that_may_have_had_an_effect_is_never_sent_twice() {
    let (one, two) = (Origin::start(), Origin::start());
    let world = World::empty(one_worker());
    let mut first = route("r", 100, vec![instance("a", one.port), instance("b", two.port)]);
    first.balance = Balance::First;
    world.apply_routes(vec![first]);
    for request in [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
        "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
    ] {
        let mut client = world.client();
        client.send(request);
        let mut server = one.accept();
        server.head();
        drop(server);
        assert_eq!(client.response().1, "502 Bad Gateway: response_closed\n");
        assert!(!one.has_visitor() && !two.has_visitor(), "{request}");
    }
}

#[test]
fn a_harmless_request_whose_instance_closed_goes_to_another_once() {
    let (one, two) = (Origin::start(), Origin::start());
    let world = World::empty(one_worker());
    let mut first = route("r", 100, vec![instance("a", one.port), instance("b", two.port)]);
    first.balance = Balance::First;
    world.apply_routes(vec![first]);
    let mut client = world.client();
    client.send(GET);
    one.accept().head();
    let mut server = two.accept();
    server.head();
    server.send(OK);
    assert_eq!(status(&client.head()), 200);
    client.send(GET);
    one.accept().head();
    two.accept().head();
    assert_eq!(client.response().1, "502 Bad Gateway: response_closed\n");
    let route = world.settled(2);
    assert_eq!(errors(&route), [("response_closed", 1)]);
}

#[test]
fn retries_end_with_their_budget() {
    let nobody = Port::reserve();
    let world = World::empty(Config {
        retries: 3,
        retry_budget: RetryBudget {
            percent: 0,
            per_second: 0,
        },
        ..one_worker()
    });
    world.apply_routes(vec![route("r", 100, vec![instance("i", nobody.number)])]);
    let mut client = world.client();
    client.send(GET);
    assert_eq!(client.response().1, "503 Service Unavailable: connect_refused\n");
    assert_eq!(world.settled(1).retries, 0);
    assert_eq!(world.metric("weir_retries_denied_total", "").to_string(), "1");
}

#[test]
fn an_instance_that_cannot_be_reached_is_ejected_and_tried_by_one_request_after_a_pause() {
    let port = Port::reserve();
    let other = Origin::start();
    let world = World::empty(one_worker());
    let mut first = route(
        "r",
        100,
        vec![instance("gone", port.number), instance("other", other.port)],
    );
    first.balance = Balance::First;
    world.apply_routes(vec![first]);
    let mut server = None;
    let mut ask = |world: &World| {
        let mut client = world.client();
        client.send(GET);
        let server = server.get_or_insert_with(|| other.accept());
        server.head();
        server.send(OK);
        assert_eq!(status(&client.head()), 200);
    };
    for _ in 0..3 {
        ask(&world);
    }
    world.settled(3);
    let state = |world: &World| world.route("r").instances[0].state;
    assert_eq!(state(&world), EndpointState::Ejected);
    let tried = world.route("r").retries;
    ask(&world);
    assert_eq!(world.settled(4).retries, tried, "it is passed over");
    eventually("the pause ends", || state(&world) == EndpointState::Unknown);
    let back = std::net::TcpListener::bind(port.address());
    // The reservation holds the port; listening on it through another socket needs its leave.
    let back = back.unwrap_or_else(|_| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&port.address().into()).unwrap();
        socket.listen(16).unwrap();
        socket.into()
    });
    // The workers' clock is up to a quarter of a second behind.
    let deadline = Instant::now() + Duration::from_secs(10);
    back.set_nonblocking(true).unwrap();
    let (probe, mut client) = loop {
        assert!(Instant::now() < deadline, "it is never tried again");
        let mut client = world.client();
        client.send(GET);
        std::thread::sleep(Duration::from_millis(20));
        if let Ok((stream, _)) = back.accept() {
            stream.set_nonblocking(false).unwrap();
            break (stream, client);
        }
        let server = server.as_mut().unwrap();
        server.head();
        server.send(OK);
        client.head();
    };
    let mut probe = Peer::new(probe);
    probe.head();
    probe.send(OK);
    assert_eq!(status(&client.head()), 200);
    assert_eq!(state(&world), EndpointState::Unknown);
}

#[test]
fn pages_of_ones_own_stand_for_the_texts() {
    let page = ErrorPage {
        content_type: "text/html".to_owned(),
        body: "<p>back soon</p>".into(),
    };
    let world = World::empty(Config {
        error_pages: [(503, page.clone())].into(),
        ..one_worker()
    });
    world.apply_routes(vec![route("r", 100, vec![])]);
    let mut client = world.client();
    client.send(GET);
    let (head, body) = client.response();
    assert_eq!((status(&head), body.as_str()), (503, "<p>back soon</p>"));
    assert_eq!(header(&head, "content-type"), Some("text/html"));
    for (status, page) in [
        (200, page.clone()),
        (
            503,
            ErrorPage {
                body: vec![b'x'; ErrorPage::BYTES_MAX + 1].into(),
                ..page.clone()
            },
        ),
        (
            503,
            ErrorPage {
                content_type: "a\r\nb: c".to_owned(),
                ..page
            },
        ),
    ] {
        let refused = Proxy::start(Config {
            error_pages: [(status, page)].into(),
            ..one_worker()
        });
        assert!(matches!(refused, Err(StartError::ErrorPage { .. })));
    }
}

/// What the origin sees of one request.
fn forwarded(world: &World, origin: &Origin, request: &str) -> String {
    let mut client = world.client();
    client.send(request);
    let mut server = origin.accept();
    let head = server.head();
    server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(status(&client.head()), 200);
    head
}

fn all(head: &str, name: &str) -> Vec<String> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.to_owned())
        .collect()
}

const TOLD: &str = "GET / HTTP/1.1\r\nHost: h:80\r\nX-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nX-Forwarded-Proto: https\r\n\
                    X-Forwarded-Host: shown\r\nX-Forwarded-Port: 443\r\nForwarded: for=6.6.6.6\r\n\r\n";

#[test]
fn what_is_said_of_the_way_of_a_request_counts_by_who_says_it() {
    let names = [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "Forwarded",
    ];
    let kept: [&[&str]; 5] = [
        &["6.6.6.6, 1.2.3.4", "127.0.0.1"],
        &["https"],
        &["shown"],
        &["443"],
        &["for=6.6.6.6"],
    ];
    let removed: [&[&str]; 5] = [&["127.0.0.1"], &["http"], &[], &[], &[]];
    for (trusted, expected, by_source) in [
        (vec![], kept, "told"),
        (vec!["127.0.0.0/8".parse().unwrap()], kept, "client"),
        (vec!["10.0.0.0/8".parse().unwrap()], removed, "told"),
    ] {
        let (client, told) = (Origin::start(), Origin::start());
        let world = World::empty(Config {
            trusted_proxies: trusted.clone(),
            ..one_worker()
        });
        // By the address of the client: the one told of if a trusted proxy tells it.
        world.apply_routes(vec![
            on_condition(
                route("client", 0, vec![instance("c", client.port)]),
                "src 1.2.3.4",
                100,
            ),
            route("told", 100, vec![instance("t", told.port)]),
        ]);
        let origin = if by_source == "client" { &client } else { &told };
        let head = forwarded(&world, origin, TOLD);
        for (name, expected) in names.iter().zip(expected) {
            assert_eq!(all(&head, name), expected, "{name} with {trusted:?}");
        }
    }
}

#[test]
fn more_is_announced_if_it_is_wanted() {
    let origin = Origin::start();
    let world = World::with(
        Config {
            announce: Announce {
                forwarded: true,
                host_and_port: true,
                via: true,
                begin_trace: true,
            },
            ..one_worker()
        },
        &origin,
    );
    let head = forwarded(&world, &origin, "GET / HTTP/1.1\r\nHost: shop:80\r\n\r\n");
    assert_eq!(
        all(&head, "Forwarded"),
        ["for=127.0.0.1;host=\"shop:80\";proto=http"]
    );
    assert_eq!(all(&head, "X-Forwarded-Host"), ["shop:80"]);
    assert_eq!(all(&head, "X-Forwarded-Port"), [world.port.number.to_string()]);
    assert_eq!(all(&head, "Via"), ["1.1 weir"]);
    let trace = all(&head, "traceparent").remove(0);
    let parts: Vec<&str> = trace.split('-').collect();
    assert_eq!(
        parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
        [2, 32, 16, 2]
    );
    assert_eq!((parts[0], parts[3]), ("00", "01"));
    let other = forwarded(&world, &origin, "GET / HTTP/1.1\r\nHost: shop:80\r\n\r\n");
    assert_ne!(
        all(&other, "traceparent"),
        [trace],
        "each request is a trace of its own"
    );
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let head = forwarded(
        &world,
        &origin,
        &format!("GET / HTTP/1.1\r\nHost: h\r\ntraceparent: {given}\r\nX-Forwarded-Host: shown\r\n\r\n"),
    );
    assert_eq!(all(&head, "traceparent"), [given]);
    assert_eq!(all(&head, "X-Forwarded-Host"), ["shown"]);
}

fn behind_a_relay(origin: &Origin) -> World {
    let world = World::empty(one_worker());
    let mut listening = gateway(
        "g",
        Some(world.port.number),
        vec![
            on_condition(
                route("r", 0, vec![instance("i", origin.port)]),
                "src 192.0.2.7",
                100,
            ),
            route("other", 100, vec![]),
        ],
    );
    listening.options.accept_proxy_protocol = true;
    world.apply(vec![listening]);
    world
}

#[test]
fn a_proxy_protocol_header_tells_the_client() {
    let origin = Origin::start();
    let world = behind_a_relay(&origin);
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 8443\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f".to_vec();
    v2.extend_from_slice(&[192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0x20, 0xfb]);
    // An extension that is passed over.
    v2.extend_from_slice(&[4, 0, 0]);
    for header in [v1, v2] {
        // All at once, and cut anywhere.
        for cut in [0, 1, 7, 20, header.len()] {
            let mut client = world.client();
            client.send(&header[..cut]);
            if cut > 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            client.send([&header[cut..], GET.as_bytes()].concat());
            let mut server = origin.accept();
            let head = server.head();
            assert_eq!(all(&head, "X-Forwarded-For"), ["192.0.2.7"], "cut at {cut}");
            server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(status(&client.head()), 200);
            // It is said once for the connection.
            client.send(GET);
            let mut server = origin.accept();
            assert_eq!(all(&server.head(), "X-Forwarded-For"), ["192.0.2.7"]);
            server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(status(&client.head()), 200);
        }
    }
}

#[test]
fn a_relay_may_speak_for_itself_and_nobody_may_leave_the_header_out() {
    let origin = Origin::start();
    let world = behind_a_relay(&origin);
    let mut local = world.client();
    local.send([b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", GET.as_bytes()].concat());
    assert_eq!(
        local.response().1,
        "503 Service Unavailable: no_instance\n",
        "it is not 192.0.2.7"
    );
    for bytes in [GET, "PROXY TCP4 nonsense\r\n", "\r\n\r\n\0\r\nQUIT\nxxxxxxxxxxxx"] {
        let mut client = world.client();
        client.send(bytes);
        client.expect_end();
    }
    assert_eq!(
        world
            .metric("weir_rejected_total", "reason=\"proxy_header\"")
            .to_string(),
        "3"
    );
}
