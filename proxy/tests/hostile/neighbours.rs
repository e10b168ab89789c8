//! Those who misbehave slowly or in numbers, and the others who are served all along.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    all_is_well,
    reading::answers,
    requests::ask,
    server::{Reply, Server, echo},
    support::{Peer, World, eventually, impatient, instance, route, status},
};

const GOOD: &[u8] = b"GET /good HTTP/1.1\r\nHost: h\r\n\r\n";

fn world(server: &Server) -> World {
    let world = World::empty(impatient());
    world.apply_routes(vec![route("r", 100, vec![instance("i", server.port)])]);
    world
}

/// Sends a byte to each until all of them are ended; others are served meanwhile.
#[track_caller]
fn drip(world: &World, slow: &mut Vec<Peer>, at_most: Duration) {
    let began = Instant::now();
    for round in 0.. {
        assert!(
            began.elapsed() < at_most,
            "{} connections are still open after {at_most:?}",
            slow.len()
        );
        slow.retain_mut(|peer| {
            peer.stream.set_nonblocking(true).unwrap();
            let mut byte = [0];
            let ended = match peer.stream.peek(&mut byte) {
                Ok(_) => true,
                Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
            };
            peer.stream.set_nonblocking(false).unwrap();
            !ended && peer.try_send([b'a' + u8::try_from(round % 26).unwrap()]).is_ok()
        });
        assert_eq!(ask(world, &[GOOD]), ["200 GET /good h"]);
        if slow.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn slow_heads_end_in_time_and_disturb_nobody() {
    let server = Server::echoing();
    let world = world(&server);
    let mut slow: Vec<Peer> = (0..100).map(|_| world.client()).collect();
    for peer in &mut slow {
        peer.send("GET /slow HTTP/1.1\r\nHost: h\r\nX-");
    }
    drip(&world, &mut slow, Duration::from_secs(5));
    assert_eq!(world.metric("weir_rejected_total", "request_timeout"), 100.0);
    all_is_well(&world);
}

#[test]
fn bodies_that_do_not_come_and_answers_that_are_not_taken_end_in_time() {
    // More than the buffers of four sockets take; made once, for an instance that is slow to answer fails the test.
    let mut large = b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n".to_vec();
    large.resize(large.len() + 30_000_000, b'x');
    let large = Bytes::from(large);
    let server = Server::answering(move |message| {
        Some(if message.summary.starts_with("GET /large ") {
            Reply {
                bytes: large.clone(),
                close: true,
            }
        } else {
            echo(message)
        })
    });
    let world = world(&server);
    let mut unsent: Vec<Peer> = (0..20).map(|_| world.client()).collect();
    for peer in &mut unsent {
        peer.send("POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nab");
    }
    let mut untaken: Vec<Peer> = (0..3).map(|_| world.client()).collect();
    for peer in &mut untaken {
        peer.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for peer in &mut unsent {
        assert_eq!(status(&peer.head()), 408);
        assert_eq!(ask(&world, &[GOOD]), ["200 GET /good h"]);
    }
    drop(unsent);
    // Accounted and let go of while the clients still hold their ends.
    eventually("those who take nothing are ended", || {
        world.route("r").in_flight == 0
    });
    for peer in &mut untaken {
        let (seen, _) = peer.rest_or_reset();
        let answers = answers(&seen, false);
        assert!(
            answers[0].starts_with("cut 200"),
            "{}",
            answers[0].get(..200).unwrap_or(&answers[0])
        );
    }
    drop(untaken);
    all_is_well(&world);
}

#[test]
fn origins_that_are_silent_at_any_byte_are_given_up() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";
    let server = Server::answering(move |message| {
        // `/cut/N`: so many bytes, then nothing.
        let cut = message
            .summary
            .strip_prefix("GET /cut/")
            .and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
        Some(match cut {
            Some(cut) => Reply {
                bytes: Bytes::copy_from_slice(&answer.as_bytes()[..cut]),
                close: false,
            },
            None => echo(message),
        })
    });
    let world = world(&server);
    let mut clients: Vec<(usize, Peer)> = (0..answer.len()).map(|cut| (cut, world.client())).collect();
    for (cut, client) in &mut clients {
        client.send(format!(
            "GET /cut/{cut} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        ));
    }
    let head = answer.len() - 4;
    for (cut, client) in &mut clients {
        let (seen, ended) = client.rest_or_reset();
        let seen = answers(&seen, ended);
        if *cut < head {
            assert_eq!(seen, ["504"], "cut at {cut}");
        } else {
            assert!(
                seen.is_empty() || seen[0].starts_with("cut 200"),
                "cut at {cut}: {seen:?}"
            );
        }
    }
    drop(clients);
    all_is_well(&world);
}

#[test]
fn a_crowd_that_connects_and_goes_leaves_nothing() {
    let server = Server::echoing();
    let world = world(&server);
    for round in 0..300 {
        let mut peer = world.client();
        match round % 5 {
            0 => drop(peer),
            1 => peer.reset(),
            2 => {
                peer.send("GET /half HTTP/1.1\r\nHo");
                peer.reset();
            }
            3 => {
                peer.send("POST /half HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc");
                drop(peer);
            }
            _ => {
                peer.send(GOOD);
                peer.reset();
            }
        }
    }
    assert_eq!(ask(&world, &[GOOD]), ["200 GET /good h"]);
    all_is_well(&world);
}

#[test]
fn garbage_through_a_tunnel_is_nobody_elses() {
    let server = Server::answering(|message| {
        Some(if message.summary.starts_with("GET /ws ") {
            Reply {
                bytes: Bytes::from_static(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\0\x01HTTP/1.1 200 OK\r\n\r\n",
                ),
                close: true,
            }
        } else {
            echo(message)
        })
    });
    let world = world(&server);
    for _ in 0..20 {
        let mut client = world.client();
        client.send("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        client.send(b"\xff\0GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n".repeat(10));
        client.end_sending();
        assert_eq!(status(&client.head()), 101);
        let (rest, _) = client.rest_or_reset();
        assert_eq!(rest, b"\0\x01HTTP/1.1 200 OK\r\n\r\n");
    }
    all_is_well(&world);
}
