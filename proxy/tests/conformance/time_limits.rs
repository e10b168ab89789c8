//! Every wait ends.

use std::time::{Duration, Instant};

use crate::support::{Origin, World, errors, eventually, impatient, status};

#[test]
fn a_head_that_takes_too_long_is_408_however_it_drips() {
    let origin = Origin::start();
    let world = World::with(impatient(), &origin);
    let began = Instant::now();
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nA: ");
    client.stream.set_nonblocking(true).unwrap();
    // A byte now and then does not help.
    while began.elapsed() < Duration::from_secs(5) {
        let _ = client.try_send("x");
        let mut byte = [0];
        if matches!(client.stream.peek(&mut byte), Ok(count) if count > 0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    client.stream.set_nonblocking(false).unwrap();
    assert_eq!(status(&client.head()), 408);
    assert!(began.elapsed() < Duration::from_secs(3));
    assert!(!origin.has_visitor());
    eventually("counted", || world.metric("weir_", "request_timeout") >= 1.0);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let origin = Origin::start();
    let world = World::with(impatient(), &origin);
    let mut client = world.client();
    client.expect_end();
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = origin.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.head();
    client.expect_end();
}

#[test]
fn an_origin_that_does_not_answer_is_504() {
    let origin = Origin::start();
    let world = World::with(impatient(), &origin);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = origin.accept();
    server.head();
    assert_eq!(client.response().1, "504 Gateway Timeout: response_timeout\n");
    server.expect_end();
    // The same within a head.
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = origin.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\n");
    assert_eq!(client.response().1, "504 Gateway Timeout: response_timeout\n");
    assert_eq!(errors(&world.settled(2)), [("response_timeout", 2)]);
}

#[test]
fn an_origin_that_stops_within_its_answer_ends_the_connection() {
    let origin = Origin::start();
    let world = World::with(impatient(), &origin);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = origin.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    client.head();
    client.expect("hello");
    client.expect_end();
    let route = world.settled(1);
    assert_eq!(
        (route.outcomes.classes[1], errors(&route)),
        (1, vec![("response_timeout", 1)])
    );
}

#[test]
fn a_body_that_comes_slowly_but_comes_is_waited_for() {
    let origin = Origin::start();
    let world = World::with(impatient(), &origin);
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n");
    let mut server = origin.accept();
    server.head();
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(200));
        client.send("x");
    }
    server
        .expect("xxxxxx")
        .send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
    client.head();
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(200));
        server.send("y");
    }
    client.expect("yyyyyy");
    assert_eq!(errors(&world.settled(1)), []);
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let origin = Origin::start();
    let world = World::with(impatient(), &origin);
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nab");
    let mut server = origin.accept();
    server.head();
    assert_eq!(client.response().1, "408 Request Timeout: request_timeout\n");
    server.expect("ab");
    server.expect_end();
    assert_eq!(errors(&world.settled(1)), [("request_timeout", 1)]);
}
