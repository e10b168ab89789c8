//! Several requests on a connection: who gets which answer, and when it ends.

use std::time::Duration;

use crate::support::{Origin, Peer, World, errors, header, status};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Reads a request and answers it with its path.
fn answer_path(server: &mut Peer) {
    let head = server.head();
    let path = head.split(' ').nth(1).unwrap();
    server.send(ok(path));
}

#[test]
fn both_sides_are_used_again() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send(get("/0"));
    let mut server = origin.accept();
    answer_path(&mut server);
    assert_eq!(client.response().1, "/0");
    for number in 1..50 {
        let path = format!("/{number}");
        client.send(get(&path));
        answer_path(&mut server);
        assert_eq!(client.response().1, path);
    }
    // Another client takes over the connection to the origin.
    drop(client);
    let mut client = world.client();
    client.send(get("/other"));
    answer_path(&mut server);
    assert_eq!(client.response().1, "/other");
    assert!(!origin.has_visitor());
    assert_eq!(world.settled(51).outcomes.classes, [0, 51, 0, 0, 0]);
}

#[test]
fn pipelined_requests_are_answered_one_after_the_other() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    let mut all = String::new();
    for number in 0..20 {
        all += &get(&format!("/{number}"));
        all += &format!("POST /{number}p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
        all += &format!(
            "PUT /{number}c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        );
    }
    client.send(&all);
    let mut server = origin.accept();
    for number in 0..20 {
        let head = server.head();
        assert!(number > 0 || server.is_silent(), "one request at a time");
        server.send(ok(head.split(' ').nth(1).unwrap()));
        assert!(server.head().starts_with(&format!("POST /{number}p ")));
        server.expect("abc");
        server.send(ok("p"));
        let head = server.head();
        assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
        server.expect("3\r\nabc\r\n0\r\n\r\n");
        server.send(ok("c"));
    }
    for number in 0..20 {
        assert_eq!(client.response().1, format!("/{number}"));
        assert_eq!(client.response().1, "p");
        assert_eq!(client.response().1, "c");
    }
    world.settled(60);
}

#[test]
fn head_204_and_304_have_no_body_whatever_they_say() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = origin.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    for (answer, expected) in [
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: x\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 500\r\n\r\n",
        ),
    ] {
        client.send(get("/b"));
        server.head();
        server.send(answer);
        client.expect(expected);
    }
    client.send("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
    server.head();
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(get("/c"));
    answer_path(&mut server);
    assert_eq!(client.response().1, "/c");
    world.settled(5);
}

#[test]
fn what_an_origin_says_unasked_is_nobodys_answer() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    for (method, answer) in [
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\nwrong"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nwrong",
        ),
    ] {
        client.send(format!("{method} /a HTTP/1.1\r\nHost: h\r\n\r\n"));
        let mut server = origin.accept();
        server.head();
        server.send(answer);
        let head = client.head();
        let body = if method == "HEAD" || status(&head) != 200 {
            String::new()
        } else if header(&head, "content-length").is_some() {
            client.text(2)
        } else {
            client.text(5)
        };
        assert!(!body.contains("wrong"));
        server.expect_end();
    }
    // What comes later than the answer is seen before the connection is used again.
    client.send(get("/late"));
    let mut server = origin.accept();
    answer_path(&mut server);
    assert_eq!(client.response().1, "/late");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
    server.expect_end();
    client.send(get("/next"));
    let mut server = origin.accept();
    answer_path(&mut server);
    assert_eq!(client.response().1, "/next");
    world.settled(7);
}

#[test]
fn a_connection_ends_when_either_side_says_so() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let mut server = origin.accept();
    answer_path(&mut server);
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n/");
    client.expect_end();

    // That the client's connection ends does not end the origin's.
    let mut client = world.client();
    client.send(get("/a"));
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    server.expect_end();

    // Nor the other way round.
    client.send(get("/b"));
    let mut server = origin.accept();
    server.head();
    server.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    server.expect_end();
    client.send(get("/c"));
    let mut server = origin.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    drop(server);
    client.expect("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    assert_eq!(client.rest(), b"until the end");
    assert_eq!(errors(&world.settled(4)), []);
}

#[test]
fn clients_of_http_1_0_are_served_in_their_way() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let mut server = origin.accept();
    let head = server.head();
    assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
    assert_eq!(
        header(&head, "host"),
        Some(world.port.address().to_string().as_str())
    );
    server.send(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n",
    );
    client.expect("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
    server.send("2\r\nde\r\n0\r\nT: v\r\n\r\n");
    assert_eq!(client.rest(), b"de");

    let mut client = world.client();
    client.send("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
    server.head();
    server.send(ok("ok"));
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok");
    client.send("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
    server.head();
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    client.expect("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    client.expect_end();
    world.settled(3);
}

#[test]
fn a_connection_that_the_origin_closed_is_not_a_failure() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    let mut pooled = {
        client.send(get("/a"));
        let mut server = origin.accept();
        answer_path(&mut server);
        client.response();
        server
    };
    // It closes in the moment in which it gets the next request: repeated on a fresh one.
    client.send(get("/b"));
    pooled.head();
    drop(pooled);
    let mut server = origin.accept();
    answer_path(&mut server);
    assert_eq!(client.response().1, "/b");
    // The same with a reset.
    client.send(get("/c"));
    server.head();
    server.reset();
    let mut server = origin.accept();
    answer_path(&mut server);
    assert_eq!(client.response().1, "/c");
    // But not a request that may have had an effect...
    client.send("POST /d HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab");
    server.head();
    drop(server);
    assert_eq!(client.response().1, "502 Bad Gateway: response_closed\n");
    // ...nor one for a second time over a fresh connection.
    client.send(get("/e"));
    for _ in 0..2 {
        let mut server = origin.accept();
        assert!(server.head().starts_with("GET /e"));
        drop(server);
    }
    assert_eq!(client.response().1, "502 Bad Gateway: response_closed\n");
    let route = world.settled(5);
    assert_eq!((route.retries, errors(&route)), (3, vec![("response_closed", 2)]));
}

#[test]
fn a_request_that_must_not_be_repeated_takes_no_connection_that_waited_long() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send(get("/a"));
    let mut old = origin.accept();
    answer_path(&mut old);
    client.response();
    let post = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
    // Just used: good for anything.
    client.send(post);
    old.head();
    old.send(ok("p"));
    client.response();
    std::thread::sleep(Duration::from_millis(1_600));
    client.send(post);
    let mut fresh = origin.accept();
    fresh.head();
    fresh.send(ok("p"));
    client.response();
    assert!(old.is_silent(), "it is kept for others");
}

#[test]
fn leave_is_taken_from_idle_and_busy_clients() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut idle = world.client();
    idle.send(get("/idle"));
    let mut server = origin.accept();
    answer_path(&mut server);
    idle.response();
    let mut busy = world.client();
    busy.send(get("/busy"));
    assert!(server.head().starts_with("GET /busy"));
    std::thread::scope(|scope| {
        let leaving = scope.spawn(|| world.proxy.clone());
        let proxy = leaving.join().unwrap();
        let ended = scope.spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(proxy.shutdown(Duration::from_secs(10)))
        });
        idle.expect_end();
        server.send(ok("busy"));
        let (head, body) = busy.response();
        assert_eq!(
            (header(&head, "connection"), body.as_str()),
            (Some("close"), "busy")
        );
        busy.end_sending();
        busy.expect_end();
        assert_eq!(ended.join().unwrap().cut, 0);
    });
}
