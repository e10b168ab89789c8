//! An origin that closes at every byte of its answer.

use weir_proxy::Config;

use crate::support::{Origin, World, one_worker, status};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// Plays the answer cut at each byte. The client must see the answer whole, or an error, or a part that it can
/// tell is one; and the next client must get its own answer.
fn cut_everywhere(answer: &str, is_whole: impl Fn(usize) -> bool) {
    let origin = Origin::start();
    // Each answer is seen once: nothing is repeated.
    let config = Config {
        retries: 0,
        ..one_worker()
    };
    let world = World::with(config, &origin);
    let head_length = answer.find("\r\n\r\n").unwrap() + 4;
    for cut in 0..=answer.len() {
        for reset in [false, cut < answer.len()] {
            let mut client = world.client();
            client.send(get("/cut"));
            let mut server = origin.accept();
            server.head();
            server.send(&answer[..cut]);
            if reset {
                server.reset();
            } else {
                drop(server);
            }
            // A reset may overtake what was sent before it, so what the client has may be less than the cut.
            let (seen, orderly) = client.end_sending().rest_or_reset();
            let seen = String::from_utf8(seen).unwrap();
            let at = format!("{answer:?} cut at {cut}, reset {reset}: {seen:?}");
            if is_whole(cut) && !reset {
                assert!(
                    orderly && seen.ends_with(&answer[head_length..cut]) && status(&seen) == 200,
                    "{at}"
                );
            } else if cut < head_length {
                assert_eq!(status(&seen), 502, "{at}");
            } else if !seen.is_empty() && status(&seen) == 200 {
                let body = seen
                    .split_once("\r\n\r\n")
                    .map(|(_, body)| body)
                    .unwrap_or_default();
                assert!(answer[head_length..cut].starts_with(body), "{at}");
                assert!(
                    !orderly || seen.contains("Content-Length") || seen.contains("chunked"),
                    "the client cannot tell that this is a part: {at}"
                );
            } else {
                assert!(seen.is_empty() || status(&seen) == 502, "{at}");
            }
        }
        let mut client = world.client();
        client.send(get("/next"));
        let mut server = origin.accept();
        assert!(server.head().starts_with("GET /next"));
        server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnext");
        assert_eq!(client.response().1, "next");
    }
    world.settled(3 * (answer.len() as u64 + 1));
}

#[test]
fn with_a_length() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
    cut_everywhere(answer, |cut| cut == answer.len());
}

#[test]
fn in_chunks() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: v\r\n\r\n";
    cut_everywhere(answer, |cut| cut == answer.len());
}

#[test]
fn until_the_close() {
    let answer = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n0123456789";
    cut_everywhere(answer, |cut| cut >= "HTTP/1.1 200 OK\r\nA: b\r\n\r\n".len());
}

#[test]
fn after_an_interim_one() {
    let origin = Origin::start();
    let world = World::to(&origin);
    for cut in [
        "HTTP/1.1 103 E",
        "HTTP/1.1 103 E\r\n\r\n",
        "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\n",
    ] {
        let mut client = world.client();
        client.send(get("/"));
        let mut server = origin.accept();
        server.head();
        server.send(cut);
        drop(server);
        if cut.contains("\r\n\r\n") {
            client.expect("HTTP/1.1 103 E\r\n\r\n");
        }
        assert_eq!(status(&client.head()), 502);
    }
    world.settled(3);
}

#[test]
fn a_request_cut_at_every_byte_is_never_passed_on_whole() {
    let origin = Origin::start();
    let world = World::to(&origin);
    let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    let head_length = request.len() - 5;
    for cut in 0..request.len() {
        let mut client = world.client();
        client.send(&request[..cut]).end_sending();
        if cut >= head_length {
            let mut server = origin.accept();
            server.head();
            let (seen, _) = server.rest_or_reset();
            assert_eq!(seen, request.as_bytes()[head_length..cut]);
        }
        client.expect_end();
    }
    assert!(!origin.has_visitor());
    let route = world.settled(5);
    assert_eq!(route.outcomes.errors.get("client_aborted"), Some(&5));
}
