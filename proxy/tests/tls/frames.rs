//! HTTP/2 by a client that writes its frames by hand.

use std::sync::atomic::Ordering;

use crate::{
    origin::Automatic,
    support::{Peer, World, eventually, instance, one_worker, route},
};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields without compression (RFC 7541 §6.2.2).
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(
                u8::try_from(text.len())
                    .ok()
                    .filter(|length| *length < 127)
                    .unwrap(),
            );
            block.extend(text.as_bytes());
        }
    }
    block
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a.test"),
    (":path", "/echo"),
];

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    GET.iter().chain(more).copied().collect()
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    GET.into_iter().filter(|field| field.0 != name).collect()
}

fn connect(world: &World) -> Peer {
    let mut peer = world.client();
    peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    peer.send(frame(SETTINGS, 0, 0, &[]));
    peer
}

/// The next frame of one of these kinds: kind, stream, payload; `None` at the end.
pub fn next(peer: &mut Peer, kinds: &[u8]) -> Option<(u8, u32, Vec<u8>)> {
    loop {
        let head = peer.bytes(9);
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        let payload = peer.bytes(length);
        if kinds.contains(&head[3]) {
            return Some((head[3], stream, payload));
        }
    }
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[payload.len() - 4..].try_into().unwrap())
}

fn world(port: u16) -> World {
    let world = World::empty(one_worker());
    world.apply_routes(vec![route("r", 100, vec![instance("i", port)])]);
    world
}

#[test]
fn what_has_no_one_reading_reaches_no_instance() {
    let origin = Automatic::start(None);
    let world = world(origin.port);
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("a connection field", with(&[("connection", "close")])),
        ("chunked", with(&[("transfer-encoding", "chunked")])),
        ("an upgrade", with(&[("upgrade", "websocket")])),
        ("keep-alive", with(&[("keep-alive", "timeout=5")])),
        ("another coding", with(&[("te", "gzip")])),
        ("upper case", with(&[("X-Y", "z")])),
        ("a line end", with(&[("x", "a\r\nb: c")])),
        ("a zero byte", with(&[("x", "a\0b")])),
        ("white space first", with(&[("x", " a")])),
        ("a name with a space", with(&[("x y", "a")])),
        ("an empty name", with(&[("", "a")])),
        ("a pseudo field last", with(&[("x", "y"), (":path", "/admin")])),
        ("two paths", with(&[(":path", "/admin")])),
        ("an unknown pseudo field", with(&[(":x", "y")])),
        ("a status", with(&[(":status", "200")])),
        ("no path", without(":path")),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("another host", with(&[("host", "b.test")])),
        ("two hosts", with(&[("host", "a.test"), ("host", "a.test")])),
        (
            "two lengths",
            with(&[("content-length", "0"), ("content-length", "0")]),
        ),
        ("a length without a body", with(&[("content-length", "5")])),
        ("no length", with(&[("content-length", "+0")])),
        (
            "a line end in the path",
            [without(":path"), vec![(":path", "/ HTTP/1.1\r\nX: y")]].concat(),
        ),
        (
            "a space in the path",
            [without(":path"), vec![(":path", "/a b")]].concat(),
        ),
        (
            "a line end in the method",
            [without(":method"), vec![(":method", "GET /\r\n")]].concat(),
        ),
    ];
    for (what, case) in cases {
        let mut peer = connect(&world);
        let block = fields(&case);
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        let (kind, _, payload) = next(&mut peer, &[HEADERS, RST_STREAM, GOAWAY]).unwrap();
        match kind {
            // By an answer, which must not be one of the instance.
            HEADERS => assert!(origin.requests.load(Ordering::SeqCst) == 0, "{what}"),
            RST_STREAM => assert_eq!(code(&payload), 1, "{what}"),
            _ => {}
        }
        assert_eq!(origin.requests.load(Ordering::SeqCst), 0, "{what}");
    }
    // The same, well formed.
    let mut peer = connect(&world);
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&GET)));
    assert_eq!(next(&mut peer, &[HEADERS, RST_STREAM]).unwrap().0, HEADERS);
    assert_eq!(origin.requests.load(Ordering::SeqCst), 1);
}

#[test]
fn a_body_of_another_length_than_told_is_refused() {
    for (sent, flags) in [
        (&b"1234"[..], 0),
        (&b"12"[..], END_STREAM),
        (&b"1234"[..], END_STREAM),
    ] {
        let origin = Automatic::start(None);
        let world = world(origin.port);
        let mut peer = connect(&world);
        let head = [&[(":method", "POST")], &GET[1..], &[("content-length", "3")]].concat();
        peer.send(frame(HEADERS, END_HEADERS, 1, &fields(&head)));
        peer.send(frame(DATA, flags, 1, sent));
        let (kind, stream, payload) = next(&mut peer, &[HEADERS, RST_STREAM, GOAWAY]).unwrap();
        assert_eq!((kind, stream), (RST_STREAM, 1), "{sent:?}");
        assert_eq!(code(&payload), 1);
        eventually("it is accounted", || {
            let route = world.route("r");
            route.in_flight == 0
        });
    }
}

#[test]
fn taking_requests_back_in_masses_ends_the_connection() {
    let origin = Automatic::start(None);
    let world = world(origin.port);
    let mut peer = connect(&world);
    let head = [&GET[..3], &[(":path", "/wait")]].concat();
    let block = fields(&head);
    for index in 0..20_000u32 {
        let stream = 2 * index + 1;
        let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
        both.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        if peer.try_send(both).is_err() {
            break;
        }
    }
    // The end may come as a reset that takes the frame with it.
    eventually("it is ended and its requests with it", || {
        let route = world.route("r");
        route.in_flight == 0 && world.metric("weir_connections_open", "") == 0.0
    });
    let asked = origin.requests.load(Ordering::SeqCst);
    assert!(asked < 2_000, "{asked} of 20000 came to the instance");
    let mut other = world.client();
    let (head, _) = other.send("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n").response();
    assert!(head.starts_with("HTTP/1.1 200"));
}

#[test]
fn too_many_fields_are_answered_by_431() {
    let origin = Automatic::start(None);
    let world = world(origin.port);
    let mut peer = connect(&world);
    let long = "x".repeat(120);
    let mut all = GET.to_vec();
    // Over the number of lines, within the number of bytes.
    all.extend((0..110).map(|_| ("x-y", "z")));
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&all)));
    let (kind, stream, block) = next(&mut peer, &[HEADERS, RST_STREAM, GOAWAY]).unwrap();
    assert_eq!((kind, stream), (HEADERS, 1));
    // `:status` by a literal: the digits are there, plain or compressed.
    assert!(!block.is_empty());
    // Beyond the bytes.
    let mut all = GET.to_vec();
    all.extend((0..90).map(|_| ("x-y", long.as_str())));
    let block = fields(&all);
    let mut peer = connect(&world);
    peer.send(frame(HEADERS, END_STREAM, 1, &block));
    for _ in 0..40 {
        if peer.try_send(frame(9, 0, 1, &block)).is_err() {
            break;
        }
    }
    let _ = peer.rest_or_reset();
    assert_eq!(origin.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let origin = Automatic::start(None);
    let world = world(origin.port);
    for garbage in [
        // Longer than any frame may be.
        frame(DATA, 0, 1, &[0; 10])
            .into_iter()
            .enumerate()
            .map(|(index, byte)| if index < 3 { 0xff } else { byte })
            .collect(),
        // Data of a stream that was never opened.
        frame(DATA, 0, 1, b"x"),
        // An even stream.
        frame(HEADERS, END_HEADERS | END_STREAM, 2, &fields(&GET)),
        // A window of zero more.
        frame(8, 0, 0, &[0; 4]),
        // Settings of a wrong length.
        frame(SETTINGS, 0, 0, &[0; 5]),
        // A table index beyond the table.
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0xff, 0x0f]),
        vec![0xff; 300],
    ] {
        let mut peer = connect(&world);
        let _ = peer.try_send(&garbage);
        let (rest, _) = peer.rest_or_reset();
        assert!(rest.len() < 1_000);
    }
    assert_eq!(origin.requests.load(Ordering::SeqCst), 0);
    eventually("all are gone", || {
        world.metric("weir_connections_open", "") == 0.0
    });
}
