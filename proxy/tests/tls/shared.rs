//! Connections to instances that requests share: their bounds, their ends, what is repeated.

use std::{sync::atomic::Ordering, time::Duration};

use http::Method;
use weir_proxy::{Config, Timeouts};

use crate::{
    frames::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, SETTINGS, fields, frame, next},
    grpc::{http2, world_with},
    http2::{Client, call, request},
    multiplexed::{Habits, Multiplexed, nobody},
    support::{Origin, Peer, errors, eventually, impatient, one_worker, status},
};

const GET: &str = "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn many_requests_share_one_connection_and_more_get_another() {
    let origin = Multiplexed::start(None, Habits::default());
    let world = world_with(one_worker(), &[origin.port], http2());
    let clients = [
        Client::clear(world.port.address()),
        Client::clear(world.port.address()),
    ];
    let calls = clients.iter().flat_map(|client| {
        (0..45usize).map(|index| {
            let asked = request(Method::POST, &format!("/echo?{index}"));
            let body = vec![b'a' + (index % 26) as u8; 1 + index * 37];
            let expected = body.clone();
            let send = client.send.clone();
            async move { (call(send, asked, Some(body), None).await, expected) }
        })
    });
    let runtime = crate::http2::runtime();
    for (answer, body) in runtime.block_on(futures_util::future::join_all(calls)) {
        assert!(answer.unwrap().body == body);
    }
    assert_eq!(origin.seen.connections.load(Ordering::SeqCst), 1);
    // More than one connection takes.
    let held: Vec<Peer> = (0..120)
        .map(|_| {
            let mut peer = world.client();
            peer.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
            peer
        })
        .collect();
    eventually("all are under way", || {
        origin.seen.open.load(Ordering::SeqCst) == 120
    });
    assert_eq!(origin.seen.connections.load(Ordering::SeqCst), 2);
    origin.seen.go_on.notify_one();
    for mut peer in held {
        assert_eq!(status(&peer.response().0), 200);
    }
    world.settled(210);
}

#[test]
fn an_instance_has_no_more_streams_than_it_wants() {
    let origin = Multiplexed::start(
        None,
        Habits {
            streams_max: 2,
            ..Habits::default()
        },
    );
    let world = world_with(one_worker(), &[origin.port], http2());
    // The bound is known once the instance has said it.
    assert_eq!(status(&world.client().send(GET).response().0), 200);
    let client = Client::clear(world.port.address());
    let calls = (0..60).map(|_| call(client.send.clone(), request(Method::GET, "/echo"), None, None));
    for answer in client.runtime.block_on(futures_util::future::join_all(calls)) {
        assert_eq!(answer.unwrap().head.status(), 200);
    }
    let connections = origin.seen.connections.load(Ordering::SeqCst);
    assert!(connections <= 8, "{connections}");
    assert!(origin.seen.most_open.load(Ordering::SeqCst) <= 2 * connections);
    assert_eq!(errors(&world.settled(61)), []);
}

#[test]
fn a_connection_that_the_instance_closes_gets_no_more_requests() {
    let origin = Multiplexed::start(
        None,
        Habits {
            leaves_after: 3,
            ..Habits::default()
        },
    );
    let world = world_with(one_worker(), &[origin.port], http2());
    let mut client = world.client();
    for _ in 0..10 {
        // Not repeatable: it must find a connection that takes it.
        client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
        let (head, body) = client.response();
        assert_eq!((status(&head), body.as_str()), (200, "hi"));
    }
    assert!(origin.seen.connections.load(Ordering::SeqCst) >= 3);
    assert_eq!(errors(&world.settled(10)), []);
}

#[test]
fn what_an_instance_refuses_is_sent_again_once() {
    let origin = Multiplexed::start(None, Habits::default());
    let world = world_with(one_worker(), &[origin.port], http2());
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
    let mut client = world.client();
    let (head, body) = client.send(post("/refused")).response();
    assert_eq!(
        (status(&head), body.as_str()),
        (200, "hi"),
        "even if it may not be repeated otherwise"
    );
    assert_eq!(origin.seen.requests.load(Ordering::SeqCst), 2);
    assert_eq!(status(&client.send(post("/refused-always")).response().0), 502);
    let after = origin.seen.requests.load(Ordering::SeqCst);
    assert!((4..=5).contains(&after), "{after}");
    // It may have had an effect.
    assert_eq!(status(&client.send(post("/cancelled")).response().0), 502);
    assert_eq!(origin.seen.requests.load(Ordering::SeqCst), after + 1);
    let route = world.settled(3);
    assert_eq!(errors(&route), [("response_closed", 2)]);
}

/// An instance by hand: accepts, and reads up to the first request.
fn first_request(origin: &Origin) -> Peer {
    let mut peer = origin.accept();
    peer.expect("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    peer.send(frame(SETTINGS, 0, 0, &[]));
    assert_eq!(next(&mut peer, &[HEADERS]).unwrap().0, HEADERS);
    peer
}

fn ok(stream: u32) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        stream,
        &fields(&[(":status", "204")]),
    )
}

/// Last stream that was begun, and NO_ERROR.
fn leave(last: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
}

#[test]
fn a_stream_beyond_the_last_one_goes_elsewhere_and_one_before_it_is_not_repeated() {
    let origin = Origin::start();
    let world = world_with(one_worker(), &[origin.port], http2());
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
    let mut first = first_request(&origin);
    first.send(leave(0));
    let mut second = first_request(&origin);
    second.send(ok(1));
    assert_eq!(status(&client.head()), 204);
    // The instance has begun with it: nobody knows what came of it.
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(next(&mut second, &[HEADERS]).unwrap().1, 3);
    second.send(leave(3));
    drop(second);
    assert_eq!(status(&client.response().0), 502);
    let route = world.settled(2);
    assert_eq!((errors(&route), route.retries), (vec![("response_closed", 1)], 1));
}

#[test]
fn an_answer_that_is_none_is_malformed() {
    for (what, answer) in [
        ("no status", fields(&[("x", "y")])),
        (
            "a connection field",
            fields(&[(":status", "200"), ("connection", "close")]),
        ),
        (
            "two lengths",
            fields(&[
                (":status", "200"),
                ("content-length", "1"),
                ("content-length", "2"),
            ]),
        ),
        ("an odd status", fields(&[(":status", "99")])),
        ("101", fields(&[(":status", "101")])),
    ] {
        let origin = Origin::start();
        let world = world_with(impatient(), &[origin.port], http2());
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
        let mut instance = first_request(&origin);
        instance.send(frame(HEADERS, END_HEADERS, 1, &answer));
        assert_eq!(status(&client.response().0), 502, "{what}");
        let route = world.settled(1);
        let errors = errors(&route);
        assert!(
            matches!(errors[..], [("response_malformed" | "response_closed", 1)]),
            "{what}: {errors:?}"
        );
    }
}

#[test]
fn times_are_kept_and_streams_are_taken_back() {
    let origin = Multiplexed::start(None, Habits::default());
    let world = world_with(impatient(), &[origin.port], http2());
    let mut client = world.client();
    assert_eq!(
        status(&client.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").response().0),
        504
    );
    eventually("the instance is told", || {
        origin.seen.reset.load(Ordering::SeqCst) == 1
    });
    // The connection is as good as before.
    assert_eq!(status(&world.client().send(GET).response().0), 200);
    assert_eq!(origin.seen.connections.load(Ordering::SeqCst), 1);
    assert_eq!(errors(&world.settled(2)), [("response_timeout", 1)]);
    let nowhere = world_with(impatient(), &[nobody().port()], http2());
    assert_eq!(status(&nowhere.client().send(GET).response().0), 503);
    assert_eq!(errors(&nowhere.settled(1)), [("connect_refused", 1)]);
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    let origin = Multiplexed::start(None, Habits::default());
    let world = world_with(one_worker(), &[origin.port], http2());
    let mut client = world.client();
    client.send("GET /broken HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.head();
    assert_eq!(status(&head), 200);
    origin.seen.go_on.notify_one();
    let (rest, _) = client.rest_or_reset();
    assert!(!String::from_utf8_lossy(&rest).contains("0\r\n\r\n"), "{rest:?}");
    // To a client of HTTP/2 it is a reset.
    let client = Client::clear(world.port.address());
    let broken = async {
        let mut send = client.send.clone().ready().await?;
        let (response, _) = send.send_request(request(Method::GET, "/broken"), true)?;
        let mut body = response.await?.into_body();
        origin.seen.go_on.notify_one();
        while let Some(data) = body.data().await {
            data?;
        }
        Ok::<(), h2::Error>(())
    };
    let error = client.runtime.block_on(broken).unwrap_err();
    assert!(error.is_reset(), "{error}");
    // An answer before the end of the request is one.
    let answer = client
        .call(request(Method::POST, "/early"), Some(vec![b'x'; 1_000_000]))
        .unwrap();
    assert_eq!(
        (answer.head.status().as_u16(), answer.body.as_slice()),
        (413, &b"no"[..])
    );
    let route = world.settled(3);
    assert_eq!(errors(&route), [("response_closed", 2)]);
}

#[test]
fn a_client_that_takes_nothing_holds_up_only_itself() {
    let origin = Multiplexed::start(None, Habits::default());
    let world = world_with(
        Config {
            workers: 1,
            ..one_worker()
        },
        &[origin.port],
        http2(),
    );
    let lazy: Vec<Peer> = (0..10)
        .map(|_| {
            let mut peer = world.client();
            peer.send("GET /pour HTTP/1.1\r\nHost: h\r\n\r\n");
            peer.head();
            peer
        })
        .collect();
    // Buffers of sockets fill up, then nothing more is asked for.
    let last = std::cell::Cell::new((0, std::time::Instant::now()));
    eventually("the instance is held back", || {
        let poured = origin.seen.poured.load(Ordering::SeqCst);
        if poured != last.get().0 {
            last.set((poured, std::time::Instant::now()));
        }
        last.get().1.elapsed() > Duration::from_millis(300)
    });
    let poured = origin.seen.poured.load(Ordering::SeqCst);
    assert!(poured < 10 * 16 * 1024 * 1024, "{poured}");
    assert_eq!(
        status(&world.client().send(GET).response().0),
        200,
        "others are served on the same connection"
    );
    assert_eq!(origin.seen.connections.load(Ordering::SeqCst), 1);
    drop(lazy);
    eventually("the instance is told that nobody wants them", || {
        origin.seen.reset.load(Ordering::SeqCst) == 10
    });
}

#[test]
fn an_instance_that_falls_silent_gets_no_more_requests_on_that_connection() {
    let origin = Origin::start();
    let config = Config {
        timeouts: Timeouts {
            server: Duration::from_millis(1_500),
            ..Timeouts::default()
        },
        ..one_worker()
    };
    let world = world_with(config, &[origin.port], http2());
    let mut client = world.client();
    client.send(GET);
    let mut silent = first_request(&origin);
    silent.send(ok(1));
    assert_eq!(status(&client.head()), 204);
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
    let waiting: Vec<Peer> = [GET, post]
        .into_iter()
        .map(|text| {
            let mut peer = world.client();
            peer.send(text);
            assert_eq!(next(&mut silent, &[HEADERS]).unwrap().0, HEADERS);
            peer
        })
        .collect();
    for mut peer in waiting {
        assert_eq!(status(&peer.response().0), 504);
    }
    client.send(GET);
    let mut second = first_request(&origin);
    second.send(ok(1));
    assert_eq!(status(&client.head()), 204);
    // Nobody waits for it any more.
    silent.rest_or_reset();
    assert_eq!(errors(&world.settled(4)), [("response_timeout", 2)]);
}
