//! Bodies both ways: long ones, chunked ones, ones that are answered before they end.

use std::io::Read as _;

use crate::support::{Origin, Peer, World, errors, eventually, header, impatient, one_worker, status};
use weir_proxy::{Config, Limits};

/// Ten million bytes that are all different enough to show a mistake.
fn long() -> Vec<u8> {
    (0..10_000_000_u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x};n=v\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\nDigest: x\r\n\r\n");
    out
}

#[test]
fn long_bodies_pass_unchanged_both_ways() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let body = long();
    let framed = chunked(&body, 70_001);
    for (lines, bytes) in [
        (format!("Content-Length: {}", body.len()), &body),
        ("Transfer-Encoding: chunked".to_owned(), &framed),
    ] {
        let mut client = world.client();
        std::thread::scope(|scope| {
            let mut sender = Peer::new(client.stream.try_clone().unwrap());
            let lines = &lines;
            scope.spawn(move || {
                sender
                    .send(format!(
                        "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{lines}\r\n\r\n"
                    ))
                    .send(bytes);
            });
            let mut server = origin.accept();
            server.head();
            assert!(server.bytes(bytes.len()) == *bytes, "the origin sees the body");
            scope.spawn(move || {
                server
                    .send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{lines}\r\n\r\n"))
                    .send(bytes);
            });
            assert!(client.head().to_lowercase().contains(&lines.to_lowercase()));
            assert!(client.bytes(bytes.len()) == *bytes, "the client sees the body");
            client.expect_end();
        });
    }
    let route = world.settled(2);
    assert_eq!(errors(&route), []);
    assert!(route.bytes_in > 20_000_000 && route.bytes_out > 20_000_000);
}

#[test]
fn a_body_echoed_while_it_comes_passes() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut server = origin.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head();
    for _ in 0..20 {
        client.send("4\r\nping\r\n");
        server.expect("4\r\nping\r\n").send("4\r\npong\r\n");
        client.expect("4\r\npong\r\n");
    }
    client.send("0\r\n\r\n");
    server.expect("0\r\n\r\n").send("0\r\n\r\n");
    client.expect("0\r\n\r\n");
    // Both connections go on.
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    server.head();
    server.send("HTTP/1.1 204 N\r\n\r\n");
    assert_eq!(status(&client.head()), 204);
    world.settled(2);
}

#[test]
fn a_slow_reader_holds_the_sender_back() {
    for client_reads_slowly in [true, false] {
        let origin = Origin::start();
        let world = World::to(&origin);
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n");
        let mut server = origin.accept();
        server.head();
        let mut sender = if client_reads_slowly {
            server.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
            client.head();
            server.stream.try_clone().unwrap()
        } else {
            client.stream.try_clone().unwrap()
        };
        sender.set_nonblocking(true).unwrap();
        // Nobody reads: the sender gets stuck after what the sockets hold and one buffer.
        let piece = vec![b'x'; 64 * 1024];
        let mut stuck = 0;
        let mut sent = 0_u64;
        while stuck < 50 {
            match std::io::Write::write(&mut sender, &piece) {
                Ok(count) => {
                    sent += count as u64;
                    stuck = 0;
                }
                Err(_) => {
                    stuck += 1;
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            }
            assert!(sent < 200_000_000, "nothing holds the sender back");
        }
        // When it is read it moves again.
        let reader = if client_reads_slowly {
            &mut client
        } else {
            &mut server
        };
        let mut seen = 0;
        let mut bytes = vec![0; 1 << 20];
        while seen < sent {
            seen += reader.stream.read(&mut bytes).unwrap() as u64;
        }
        drop((client, server, sender));
        world.settled(1);
    }
}

#[test]
fn trailers_and_extensions_pass_as_they_are() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let body = "5;a=\"b c\"\r\nhello\r\n0;z\r\nDigest: x\r\nEmpty:\r\n\r\n";
    let mut client = world.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: h\r\nTrailer: Digest\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
    ));
    let mut server = origin.accept();
    let head = server.head();
    assert_eq!(header(&head, "trailer"), Some("Digest"));
    server.expect(body);
    server.send(format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
    ));
    client.head();
    client.expect(body);
    assert!(client.is_silent());
}

#[test]
fn an_early_answer_is_relayed_and_ends_the_connection() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nsome");
    let mut server = origin.accept();
    server.head();
    server.expect("some");
    server.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    client.expect("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    // The rest of the body is read and dropped, so that the answer is not lost.
    let _ = client.try_send(vec![b'x'; 50_000]);
    client.end_sending();
    client.expect_end();
    server.expect_end();
    let route = world.settled(1);
    assert_eq!(
        (route.outcomes.classes, errors(&route)),
        ([0, 0, 0, 1, 0], vec![])
    );
}

#[test]
fn an_answer_of_an_origin_that_then_closes_is_relayed_though_the_body_cannot_be_sent() {
    let origin = Origin::start();
    let world = World::to(&origin);
    for _ in 0..20 {
        let mut client = world.client();
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n");
        let mut server = origin.accept();
        server.head();
        server
            .send("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
            .end_sending();
        let (head, body) = client.response();
        assert_eq!((status(&head), body.as_str()), (401, "no"));
    }
    world.settled(20);
}

#[test]
fn leave_to_send_is_asked_for_and_given() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    let ask = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(ask);
    let mut server = origin.accept();
    assert_eq!(header(&server.head(), "expect"), Some("100-continue"));
    assert!(client.is_silent(), "only the origin can give leave");
    server.send("HTTP/1.1 100 Continue\r\n\r\n");
    client.expect("HTTP/1.1 100 Continue\r\n\r\n");
    server.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n");
    client.expect("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    client.send("hello");
    server
        .expect("hello")
        .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(status(&client.head()), 200);
    // Without leave the body is not sent, and the connection is of no more use.
    client.send(ask);
    server.head();
    server.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
    let head = client.head();
    assert_eq!((status(&head), header(&head, "connection")), (417, Some("close")));
    client.end_sending();
    client.expect_end();
    server.expect_end();
    world.settled(2);
}

#[test]
fn a_body_longer_than_allowed_is_refused() {
    let origin = Origin::start();
    let limits = Limits {
        body_bytes_max: Some(10),
        ..Limits::default()
    };
    let world = World::with(
        Config {
            limits,
            ..one_worker()
        },
        &origin,
    );
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world");
    assert_eq!(status(&client.head()), 413);
    assert!(!origin.has_visitor());
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello worl");
    let mut server = origin.accept();
    server.head();
    server.expect("hello worl").send("HTTP/1.1 204 N\r\n\r\n");
    assert_eq!(status(&client.head()), 204);
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n");
    server.head();
    client.send("hello\r\n5\r\nhello\r\n");
    assert_eq!(status(&client.head()), 413);
    assert_eq!(errors(&world.settled(2)), [("body_too_large", 1)]);
}

#[test]
fn a_body_that_turns_out_bad_is_400_and_the_origin_sees_no_end_of_it() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut server = origin.accept();
    server.head();
    client.send("5\r\nhello\r\n");
    server.expect("5\r\nhello\r\n");
    client.send("5\r\nhelloGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status(&client.head()), 400);
    let (seen, _) = server.rest_or_reset();
    assert!(!String::from_utf8_lossy(&seen).contains("GET"));
    assert_eq!(errors(&world.settled(1)), [("request_malformed", 1)]);
}

#[test]
fn a_client_that_goes_away_is_accounted_so() {
    let origin = Origin::start();
    let world = World::to(&origin);
    // Within its body.
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello");
    let mut server = origin.accept();
    server.head();
    server.expect("hello");
    drop(client);
    server.expect_end();
    eventually("counted", || errors(&world.route("r")) == [("client_aborted", 1)]);
    // Within the answer.
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut server = origin.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nx");
    client.head();
    client.reset();
    while server.try_send(vec![b'x'; 100_000]).is_ok() {}
    assert_eq!(errors(&world.settled(2)), [("client_aborted", 2)]);
}

#[test]
fn a_client_that_ends_its_sending_still_gets_its_answer() {
    let origin = Origin::start();
    let world = World::with(impatient(), &origin);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").end_sending();
    let mut server = origin.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.expect_end();
    assert_eq!(errors(&world.settled(1)), []);
}
