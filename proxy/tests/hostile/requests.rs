//! Requests of the corpus, whole and in pieces: what the client gets, and what the origin sees.

use crate::{
    all_is_well,
    corpus::{self, GOOD},
    reading::{Manner, answers, requests},
    server::Server,
    support::{World, instance, one_worker, route},
};

/// Sends the pieces one after the other and ends; the answers.
pub fn ask(world: &World, pieces: &[&[u8]]) -> Vec<String> {
    let mut client = world.client();
    for piece in pieces {
        // The proxy may have seen enough.
        if client.try_send(piece).is_err() {
            break;
        }
    }
    client.end_sending();
    let (seen, ended) = client.rest_or_reset();
    answers(&seen, ended)
}

/// What the origin saw has one reading, and is what was answered with 200.
#[track_caller]
pub fn one_reading(server: &Server, answered: &[String], what: &str) {
    let mut passed = Vec::new();
    for bytes in server.take() {
        let lax = requests(&bytes, Manner::Lax).0;
        assert_eq!(requests(&bytes, Manner::Strict).0, lax, "{what}: two readings");
        passed.extend(lax);
    }
    let summaries: Vec<String> = passed
        .iter()
        .map(|message| format!("200 {}", message.summary))
        .collect();
    let answered: Vec<&String> = answered
        .iter()
        .filter(|answer| answer.starts_with("200"))
        .collect();
    // The last may have been passed on by a client that did not wait for its answer.
    assert_eq!(
        summaries.iter().take(answered.len()).collect::<Vec<_>>(),
        answered,
        "{what}"
    );
    for message in &passed {
        let head = message.head.to_ascii_lowercase();
        assert!(
            !head.contains("smuggled") || head.contains("smuggled-not"),
            "{what}: the origin saw {head:?}"
        );
    }
}

#[test]
fn each_request_gets_what_it_deserves() {
    let server = Server::echoing();
    let world = World::empty(one_worker());
    world.apply_routes(vec![route("r", 100, vec![instance("i", server.port)])]);
    let mut wrong = Vec::new();
    for (name, bytes, expected) in &corpus::all() {
        let whole: &[&[u8]] = &[bytes];
        // However it is cut on the way.
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        for pieces in [whole, &single] {
            if pieces.len() > 1_000 {
                continue;
            }
            let seen = ask(&world, pieces);
            // What comes in pieces is looked at when its end may have come; without one the client has just left.
            if pieces.len() > 1 && seen.is_empty() && !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
                continue;
            }
            if seen != *expected {
                wrong.push(format!(
                    "{name}, {} pieces: {seen:?} instead of {expected:?}",
                    pieces.len()
                ));
            }
            one_reading(&server, &seen, name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    all_is_well(&world);
}

#[test]
fn a_good_request_cut_anywhere_is_none() {
    let server = Server::echoing();
    let world = World::empty(one_worker());
    world.apply_routes(vec![route("r", 100, vec![instance("i", server.port)])]);
    for good in GOOD {
        let host = if good.contains("HTTP/1.0") { "" } else { " h" };
        for cut in 0..good.len() {
            let bytes = &good.as_bytes()[..cut];
            for reset in [false, true] {
                let mut client = world.client();
                client.send(bytes);
                if reset {
                    client.reset();
                } else {
                    client.end_sending();
                    let (seen, ended) = client.rest_or_reset();
                    assert_eq!(
                        answers(&seen, ended),
                        Vec::<String>::new(),
                        "{good:?} cut at {cut}"
                    );
                }
            }
        }
        let whole = ask(&world, &[good.as_bytes()]);
        assert_eq!(whole.len(), 1, "{good:?}");
        assert!(
            whole[0].starts_with("200 ") && whole[0].contains(host),
            "{whole:?}"
        );
        let heads: usize = server
            .take()
            .iter()
            .map(|bytes| requests(bytes, Manner::Lax).0.len())
            .sum();
        assert_eq!(heads, 1, "{good:?}: a part was passed on as a whole");
    }
    all_is_well(&world);
}
