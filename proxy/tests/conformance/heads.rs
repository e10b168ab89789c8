//! What is accepted, what is passed on, what is answered.

use std::time::Duration;

use weir_model::{PathRewrite, Route};

use crate::support::{
    Origin, Peer, World, errors, gateway, header, instance, one_worker, route, status, to_gateway,
};

const ADDED: &str = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_request_and_its_answer_pass() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send("GET /a?b HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\ntraceparent: 00-ab-cd-01\r\n\r\n");
    let mut server = origin.accept();
    server.expect(format!(
        "GET /a?b HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\ntraceparent: 00-ab-cd-01\r\n{ADDED}"
    ));
    server.send("HTTP/1.1 201 Made\r\nX: y\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nhi");
    client.expect("HTTP/1.1 201 Made\r\nX: y\r\nContent-Length: 2\r\n\r\nhi");
    assert!(client.is_silent());
    let route = world.settled(1);
    assert_eq!(route.outcomes.classes, [0, 1, 0, 0, 0]);
    assert_eq!(errors(&route), []);
    let head_in = "GET /a?b HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\ntraceparent: 00-ab-cd-01\r\n\r\n".len();
    let all_out = "HTTP/1.1 201 Made\r\nX: y\r\nContent-Length: 2\r\n\r\nhi".len();
    assert_eq!(
        (route.bytes_in, route.bytes_out),
        (head_in as u64, all_out as u64)
    );
}

#[test]
fn bad_requests_are_answered_and_never_passed_on() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let long = "x".repeat(70_000);
    let many = "A: b\r\n".repeat(100);
    let cases: Vec<(String, u16)> = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n", 400),
        ("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /\tHTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", 400),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1x\r\na\r\n0\r\n\r\n",
            400,
        ),
        ("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 405),
        ("PRI * HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505),
        ("GET /\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\x03\x03\x01", 400),
    ]
    .into_iter()
    .map(|(text, status)| (text.to_owned(), status))
    .chain([
        (
            format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", &long[..17_000]),
            414,
        ),
        (format!("GET /{long}"), 414),
        (format!("GET / HTTP/1.1\r\nHost: h\r\nA: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n"), 431),
    ])
    .collect();
    for (text, expected) in &cases {
        let mut client = world.client();
        client.send(text);
        let shown: String = text.chars().take(80).collect();
        let (head, body) = client.response();
        assert_eq!(status(&head), *expected, "{shown:?}");
        assert_eq!(header(&head, "connection"), Some("close"), "{shown:?}");
        assert!(!body.is_empty());
        client.end_sending();
        client.expect_end();
    }
    assert!(!origin.has_visitor());
    // The one with the bad chunk was routed before its body was seen to be bad.
    assert_eq!(errors(&world.settled(1)), [("request_malformed", 1)]);
}

#[test]
fn a_head_may_come_byte_by_byte_and_after_empty_lines() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut server: Option<Peer> = None;
    // Pauses let each piece arrive alone; where they are differs from round to round.
    for pause in 0..request.len() + 4 {
        let mut client = world.client();
        for (index, byte) in format!("\r\n\r\n{request}").bytes().enumerate() {
            if index == pause || index == pause + 2 {
                std::thread::sleep(Duration::from_millis(2));
            }
            client.send([byte]);
        }
        let server = server.get_or_insert_with(|| origin.accept());
        server.expect(format!("GET / HTTP/1.1\r\nHost: h\r\n{ADDED}"));
        for (index, byte) in OK.bytes().enumerate() {
            if index == pause {
                std::thread::sleep(Duration::from_millis(2));
            }
            server.send([byte]);
        }
        client.expect(OK);
    }
    world.settled(request.len() as u64 + 4);
}

#[test]
fn a_head_as_long_as_allowed_passes() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let filler = |before: &str| format!("{before}A: {}\r\n\r\n", "x".repeat(65_536 - before.len() - 7));
    let request = filler("GET / HTTP/1.1\r\nHost: h\r\n");
    assert_eq!(request.len(), 65_536);
    let mut client = world.client();
    client.send(&request);
    let mut server = origin.accept();
    assert!(server.head().len() > request.len());
    let answer = filler("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n");
    server.send(&answer).send("ok");
    let (head, body) = client.response();
    assert_eq!((head.len(), body.as_str()), (answer.len(), "ok"));
    world.settled(1);
}

#[test]
fn lines_for_one_hop_are_taken_out_both_ways() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send(
        "GET http://real/x HTTP/1.1\r\nHost: other\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
         Proxy-Connection: close\r\nTE: trailers, gzip\r\nUpgrade: foo\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n",
    );
    let mut server = origin.accept();
    server.expect(
        "GET /x HTTP/1.1\r\nHost: real\r\nX-Forwarded-For: 9.9.9.9\r\nConnection: TE\r\nTE: trailers\r\n\
         X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\r\n",
    );
    server.send(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nUpgrade: bar\r\nContent-Length: 0\r\n\r\n",
    );
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn answers_that_have_more_than_one_reading_become_502() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(70_000));
    let many = format!(
        "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
        "A: b\r\n".repeat(100)
    );
    let flood = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(17);
    let answers = [
        "garbage\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2000 Long\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        &long,
        &many,
    ];
    for answer in answers {
        let mut client = world.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut server = origin.accept();
        server.head();
        // The proxy may have seen enough before all is sent.
        let _ = server.try_send(answer);
        let shown: String = answer.chars().take(80).collect();
        let (head, body) = client.response();
        assert_eq!(
            (status(&head), body.as_str()),
            (502, "502 Bad Gateway: response_malformed\n"),
            "{shown:?}"
        );
        server.expect_end();
        // The client's connection goes on.
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut server = origin.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(status(&client.head()), 200);
    }
    let mut client = world.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let mut server = origin.accept();
    server.head();
    let _ = server.try_send(&flood);
    assert_eq!(status(&client.head()), 502);
    let route = world.settled(answers.len() as u64 * 2 + 1);
    assert_eq!(errors(&route), [("response_malformed", answers.len() as u64 + 1)]);
}

#[test]
fn a_host_that_nobody_serves_and_a_gateway_without_weight_are_503_and_go_on() {
    let origin = Origin::start();
    let world = World::empty(one_worker());
    world.apply_routes(vec![crate::support::route(
        "r",
        0,
        vec![crate::support::instance("i", origin.port)],
    )]);
    let mut client = world.client();
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(status(&client.head()), 503);
        let (head, body) = client.response();
        assert_eq!(
            (status(&head), body.as_str()),
            (503, "503 Service Unavailable: no_route\n")
        );
    }
    assert_eq!(world.frame().gateways[0].unrouted, 4);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
    let (head, _) = client.response();
    assert_eq!(header(&head, "connection"), Some("close"), "its body is not read");
    client.send("abc").end_sending();
    client.expect_end();
    world.apply_routes(vec![crate::support::route("r", 100, Vec::new())]);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response().1, "503 Service Unavailable: no_instance\n");
}

#[test]
fn rewrites_of_the_routes_on_the_way_change_the_path() {
    let origin = Origin::start();
    let world = World::empty(one_worker());
    let rewriting = |mut route: Route, rewrites: &[&str]| {
        let parsed = rewrites.iter().map(|text| PathRewrite::parse(text).unwrap());
        route.options.rewrites = parsed.collect();
        route
    };
    world.apply(vec![
        gateway(
            "g",
            Some(world.port.number),
            vec![rewriting(
                to_gateway("way", 100, "inner"),
                &[
                    "/outer%[path] if path_beg /a",
                    "%[path,lower] if { path_end .JPG }",
                ],
            )],
        ),
        gateway(
            "inner",
            None,
            vec![rewriting(
                route("r", 100, vec![instance("i", origin.port)]),
                &["/inner%[path]/%[req.hdr(x-v)] if { path_beg /outer } !{ method POST }"],
            )],
        ),
    ]);
    let mut client = world.client();
    for (request, passed_on) in [
        (
            "GET /a/B?q=1 HTTP/1.1\r\nHost: h\r\nX-V: 2 ?\r\n\r\n",
            "GET /inner/outer/a/B/2%20%3F?q=1 HTTP/1.1",
        ),
        (
            "GET http://h/X.JPG HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /x.jpg HTTP/1.1",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            "POST /outer/a HTTP/1.1",
        ),
        ("GET /b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /b HTTP/1.1"),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1"),
    ] {
        client.send(request);
        let mut server = origin.accept();
        let head = server.head();
        assert_eq!(head.lines().next(), Some(passed_on), "{request}");
        assert_eq!(header(&head, "host"), Some("h"));
        server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        client.expect(OK);
    }
}
