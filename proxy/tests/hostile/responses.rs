//! A corpus of answers: what the client gets, and that nobody gets another's.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::{
    all_is_well,
    reading::answers,
    server::{Reply, Server, echo},
    support::{World, instance, one_worker, route},
};

/// What the origin does after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Closes,
    Stays,
    /// Either must come to the same.
    Either,
}

/// Name, bytes, what follows, answers that the client gets for it; then it asks for more on the same connection, and
/// whether that is answered depends on `goes_on`.
type Case = (&'static str, Vec<u8>, Then, Vec<&'static str>, bool);

/// Answers that are good, for others to go wrong from.
pub const GOOD: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nT: v\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: X-A\r\nX-A: b\r\n\r\nfine",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\nfine",
];

fn case(
    name: &'static str,
    bytes: impl AsRef<[u8]>,
    then: Then,
    expected: &[&'static str],
    goes_on: bool,
) -> Case {
    (name, bytes.as_ref().to_vec(), then, expected.to_vec(), goes_on)
}

/// Becomes 502, and the client's connection goes on.
fn bad(name: &'static str, bytes: impl AsRef<[u8]>) -> Case {
    case(name, bytes, Then::Either, &["502"], true)
}

fn with(line: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\nfine")
}

const SPLIT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";

fn corpus() -> Vec<Case> {
    let long = "x".repeat(70_000);
    let mut cases = vec![
        bad("nothing", ""),
        bad("garbage", "garbage\r\n\r\n"),
        bad(
            "an empty line first",
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
        ),
        bad("another protocol", "ICY 200 OK\r\n\r\n"),
        bad(
            "small letters",
            "http/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
        ),
        bad("version 2", "HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nfine"),
        bad("version 1.2", "HTTP/1.2 200 OK\r\nContent-Length: 4\r\n\r\nfine"),
        bad(
            "a status of two digits",
            "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
        ),
        bad(
            "a status of four digits",
            "HTTP/1.1 2000 High\r\nContent-Length: 0\r\n\r\n",
        ),
        bad(
            "a status beyond 599",
            "HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n",
        ),
        bad(
            "a status of zeros",
            "HTTP/1.1 000 Low\r\nContent-Length: 0\r\n\r\n",
        ),
        bad("a signed status", "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n"),
        bad(
            "a status of letters",
            "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
        ),
        bad("two spaces", "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
        bad("a tab", "HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n"),
        bad(
            "NUL in the reason",
            "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
        ),
        bad(
            "CR in the reason",
            "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
        ),
        bad("LF lines", "HTTP/1.1 200 OK\nContent-Length: 4\n\nfine"),
        bad(
            "LF after a header",
            "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 4\r\n\r\nfine",
        ),
        bad("an end of LF", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\nfine"),
        bad(
            "CR in a value",
            with("A: b\rSet-Cookie: smuggled\r\nContent-Length: 4"),
        ),
        bad("a folded header", with("A: b\r\n c\r\nContent-Length: 4")),
        bad("a space before a colon", with("Content-Length : 4")),
        bad("no colon", with("A\r\nContent-Length: 4")),
        bad("two lengths", with("Content-Length: 4\r\nContent-Length: 5")),
        bad("a list of lengths", with("Content-Length: 4, 5")),
        bad("a signed length", with("Content-Length: +4")),
        bad("an empty length", with("Content-Length:")),
        bad("a length of letters", with("Content-Length: four")),
        bad(
            "a length beyond all",
            with("Content-Length: 18446744073709551616"),
        ),
        bad(
            "length and chunks",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
        ),
        bad(
            "another coding",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
        ),
        bad(
            "chunked and more",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
        ),
        bad(
            "chunked twice",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
        ),
        bad(
            "chunks in HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
        ),
        bad(
            "a first chunk that is none",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfine, but no chunk\r\n",
        ),
        bad(
            "a switch that nobody asked for",
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n{SPLIT}"),
        ),
        bad("a long head", with(&format!("A: {long}\r\nContent-Length: 4"))),
        bad(
            "a long reason",
            format!("HTTP/1.1 200 {long}\r\nContent-Length: 4\r\n\r\nfine"),
        ),
        bad(
            "many headers",
            with(&format!("{}Content-Length: 4", "A: b\r\n".repeat(100))),
        ),
        bad(
            "too many options",
            with(&format!("Connection: {}\r\nContent-Length: 4", "a,".repeat(40))),
        ),
        case(
            "the same length twice",
            with("Content-Length: 4\r\nContent-Length: 4"),
            Then::Either,
            &["200 fine"],
            true,
        ),
        case(
            "a second answer",
            format!("{}{SPLIT}", GOOD[0]),
            Then::Either,
            &["200 fine"],
            true,
        ),
        case(
            "a second answer after chunks",
            format!("{}{SPLIT}", GOOD[1]),
            Then::Either,
            &["200 fine"],
            true,
        ),
        case(
            "a second answer after 204",
            format!("{}{SPLIT}", GOOD[3]),
            Then::Either,
            &["204"],
            true,
        ),
        case(
            "a second answer after 304",
            format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 8\r\n\r\n{SPLIT}"),
            Then::Either,
            &["304"],
            true,
        ),
        case(
            "a body with 204",
            format!(
                "HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{SPLIT}",
                SPLIT.len()
            ),
            Then::Either,
            &["204"],
            true,
        ),
        case(
            "chunks with 204",
            format!("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n{SPLIT}"),
            Then::Either,
            &["204"],
            true,
        ),
        case(
            "bytes beyond the length",
            with("Content-Length: 2"),
            Then::Either,
            &["200 fi"],
            true,
        ),
        case(
            "fewer bytes than the length",
            with("Content-Length: 9"),
            Then::Closes,
            &["cut 200 fine"],
            false,
        ),
        case(
            "until the close",
            with("A: b"),
            Then::Closes,
            &["200 fine"],
            false,
        ),
        case(
            "until the close, with a second answer",
            format!("{}{SPLIT}", with("A: b")),
            Then::Closes,
            &["200 fineHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"],
            false,
        ),
        case(
            "a close that is announced",
            with("Connection: close\r\nContent-Length: 4"),
            Then::Either,
            &["200 fine"],
            true,
        ),
        case(
            "HTTP/1.0 with a length",
            "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine",
            Then::Either,
            &["200 fine"],
            true,
        ),
        case(
            "an interim answer",
            GOOD[2],
            Then::Either,
            &["103", "200 fine"],
            true,
        ),
        case(
            "an interim answer with a length",
            "HTTP/1.1 103 Early\r\nContent-Length: 4\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
            Then::Either,
            &["103", "200 fine"],
            true,
        ),
        case(
            "a chunk that goes wrong late",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\nzz\r\nsmuggled",
            Then::Either,
            &["cut"],
            false,
        ),
        case(
            "a length in the trailers",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nContent-Length: 8\r\n\r\nsmuggled",
            Then::Either,
            &["cut"],
            false,
        ),
        case(
            "chunks without an end",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n",
            Then::Closes,
            &["cut"],
            false,
        ),
    ];
    let flood: String = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(200);
    cases.push(case(
        "a flood of interim answers",
        flood,
        Then::Either,
        &["103..", "502"],
        true,
    ));
    for byte in (0..0x20).chain([0x7f]).filter(|byte| !b"\t\n\r".contains(byte)) {
        let value = [
            b"HTTP/1.1 200 OK\r\nA: b",
            [byte].as_slice(),
            b"\r\nContent-Length: 4\r\n\r\nfine",
        ]
        .concat();
        cases.push(bad("a control character in a value", value));
        let name = [
            b"HTTP/1.1 200 OK\r\nA",
            [byte].as_slice(),
            b": b\r\nContent-Length: 4\r\n\r\nfine",
        ]
        .concat();
        cases.push(bad("a control character in a name", name));
    }
    cases
}

/// Asks for `/case`, then, on the same connection, for `/next`; the answers.
fn ask_two(world: &World) -> Vec<String> {
    let mut client = world.client();
    client.send("GET /case HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    client.end_sending();
    let (seen, ended) = client.rest_or_reset();
    answers(&seen, ended)
}

#[derive(Debug)]
pub struct Scripted {
    pub world: World,
    answer: Arc<Mutex<Reply>>,
    _server: Server,
}

impl Scripted {
    pub fn new() -> Self {
        let answer = Arc::new(Mutex::new(Reply {
            bytes: Bytes::new(),
            close: true,
        }));
        let script = Arc::clone(&answer);
        let server = Server::answering(move |message| {
            Some(if message.summary.starts_with("GET /case ") {
                script.lock().unwrap().clone()
            } else {
                echo(message)
            })
        });
        let world = World::empty(one_worker());
        world.apply_routes(vec![route("r", 100, vec![instance("i", server.port)])]);
        Self {
            world,
            answer,
            _server: server,
        }
    }

    pub fn ask_two(&self, bytes: &[u8], close: bool) -> Vec<String> {
        *self.answer.lock().unwrap() = Reply {
            bytes: Bytes::copy_from_slice(bytes),
            close,
        };
        ask_two(&self.world)
    }
}

/// `103..`: some interim answers, fewer than 20. `cut`: a part that can be told to be one, or 502 if nothing was
/// passed on before the fault was seen, and then the connection may go on.
fn is_met(seen: &[String], expected: &[&str], goes_on: bool) -> bool {
    let mut seen = seen;
    let mut goes_on = Some(goes_on);
    for expected in expected {
        if *expected == "103.." {
            let interim = seen.iter().take_while(|answer| *answer == "103").count();
            if !(1..20).contains(&interim) {
                return false;
            }
            seen = &seen[interim..];
            continue;
        }
        let Some((first, rest)) = seen.split_first() else {
            return false;
        };
        if *expected == "cut" && first == "502" {
            goes_on = None;
        } else if *expected == "cut" && !first.starts_with("cut") || *expected != "cut" && first != expected {
            return false;
        }
        seen = rest;
    }
    match goes_on {
        Some(true) => seen == ["200 GET /next h"],
        Some(false) => seen.is_empty(),
        None => seen.is_empty() || seen == ["200 GET /next h"],
    }
}

#[test]
fn each_answer_becomes_one_answer_or_502() {
    let scripted = Scripted::new();
    let mut wrong = Vec::new();
    for (name, bytes, then, expected, goes_on) in &corpus() {
        for close in [true, false] {
            // Silence instead of a head is a matter of time limits, see `neighbours`.
            if *then == if close { Then::Stays } else { Then::Closes } || (!close && bytes.is_empty()) {
                continue;
            }
            let seen = scripted.ask_two(bytes, close);
            if !is_met(&seen, expected, *goes_on) {
                wrong.push(format!(
                    "{name}, the origin closes: {close}: {seen:?} instead of {expected:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    all_is_well(&scripted.world);
}
