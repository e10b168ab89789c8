//! Whether anybody is there, by a clock that the test has.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use super::{HASTY_PINGS_MAX, PING_AGAIN_MS, PING_MS, SILENCE_MS, Sessions};
use crate::{
    config::Config,
    error::ErrorKind,
    upstream::{http2::Stream, preamble::Secured},
};

const KEY: u64 = 1;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200`, by HPACK.
const OK: &[u8] = &[0x88];

/// An instance by hand.
struct Instance(TcpStream);

impl Instance {
    async fn send(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        self.0.write_all(&frame(kind, flags, 0, payload)).await.unwrap();
    }

    async fn answer_ping(&mut self) {
        let ping = self.next(PING).await;
        self.send(PING, ACK, &ping).await;
    }

    /// To the first request, all at once.
    async fn answer(&mut self, body: &[&[u8]]) {
        let mut bytes = frame(HEADERS, END_HEADERS, 1, OK);
        for piece in body {
            bytes.extend(frame(DATA, 0, 1, piece));
        }
        bytes.extend(frame(DATA, END_STREAM, 1, &[]));
        self.0.write_all(&bytes).await.unwrap();
    }

    /// The payload of the next frame of a kind.
    async fn next(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            if head[3] == kind && (kind == HEADERS || head[4] & ACK == 0) {
                return payload;
            }
        }
    }

    /// Says something that is no answer.
    async fn stir(&mut self) {
        self.send(WINDOW_UPDATE, 0, &[0, 0, 0, 1]).await;
    }

    async fn sees_the_end(&mut self) {
        let mut rest = Vec::new();
        // It may be a reset.
        let _ = self.0.read_to_end(&mut rest).await;
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A ping leaves at a time, and its answer is taken.
async fn ping(sessions: &Sessions, instance: &mut Instance, now_ms: u64) {
    sessions.expire(now_ms);
    instance.answer_ping().await;
    until(|| {
        sessions.expire(now_ms);
        !is_pinged(sessions)
    })
    .await;
}

/// With a request under way since 0 ms.
async fn asked() -> (Sessions, Stream, Instance) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sessions = Sessions::new(&Config::default());
    let below = async { Ok::<_, ErrorKind>(Secured::Clear(TcpStream::connect(address).await.unwrap())) };
    let mut stream = sessions.connect(KEY, || 0, below).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    let mut instance = Instance(listener.accept().await.unwrap().0);
    instance.0.read_exact(&mut [0; 24]).await.unwrap();
    instance.send(SETTINGS, 0, &[]).await;
    instance.next(HEADERS).await;
    (sessions, stream, instance)
}

fn is_pinged(sessions: &Sessions) -> bool {
    sessions.by_endpoint.borrow()[&KEY].all.borrow()[0].is_pinged
}

fn heard(sessions: &Sessions) -> u64 {
    sessions.by_endpoint.borrow()[&KEY].all.borrow()[0]
        .usage
        .heard
        .get()
}

/// Lets the connection work until it is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bounded = async { tokio::time::timeout(Duration::from_secs(10), test).await };
    LocalSet::new().block_on(&runtime, bounded).unwrap();
}

#[test]
fn who_answers_no_ping_is_given_up_with_its_requests() {
    run(async {
        let (sessions, mut stream, mut instance) = asked().await;
        sessions.expire(PING_MS);
        assert!(!is_pinged(&sessions));
        sessions.expire(PING_MS + 1);
        instance.next(PING).await;
        sessions.expire(2 * PING_MS + 1);
        assert!(
            sessions.open(KEY, 2 * PING_MS + 1).is_some(),
            "it has as long to answer"
        );
        sessions.expire(2 * PING_MS + 2);
        assert!(sessions.open(KEY, 2 * PING_MS + 2).is_none());
        stream.read_u8().await.unwrap_err();
        instance.sees_the_end().await;
    });
}

#[test]
fn who_answers_is_asked_again_soon_only_after_something_else() {
    run(async {
        let (sessions, _stream, mut instance) = asked().await;
        let mut now_ms = PING_MS + 1;
        for stirs in [false, true] {
            ping(&sessions, &mut instance, now_ms).await;
            let pause_ms = if stirs {
                let before = heard(&sessions);
                instance.stir().await;
                until(|| heard(&sessions) > before).await;
                PING_MS
            } else {
                PING_AGAIN_MS
            };
            sessions.expire(now_ms + pause_ms);
            assert!(!is_pinged(&sessions), "{stirs}");
            now_ms += pause_ms + 1;
        }
        sessions.expire(now_ms);
        assert!(is_pinged(&sessions));
    });
}

#[test]
fn new_requests_are_a_reason_to_ask_sooner_but_not_without_end() {
    run(async {
        let (sessions, _stream, mut instance) = asked().await;
        let mut now_ms = PING_MS + 1;
        ping(&sessions, &mut instance, now_ms).await;
        let mut others = Vec::new();
        for _ in 0..HASTY_PINGS_MAX {
            others.push(sessions.open(KEY, now_ms).unwrap());
            sessions.expire(now_ms + PING_MS);
            assert!(!is_pinged(&sessions));
            now_ms += PING_MS + 1;
            ping(&sessions, &mut instance, now_ms).await;
        }
        others.push(sessions.open(KEY, now_ms).unwrap());
        sessions.expire(now_ms + PING_AGAIN_MS);
        assert!(!is_pinged(&sessions));
        sessions.expire(now_ms + PING_AGAIN_MS + 1);
        assert!(is_pinged(&sessions));
    });
}

#[test]
fn one_in_doubt_is_asked_soon() {
    run(async {
        let (sessions, stream, mut instance) = asked().await;
        let _other = sessions.open(KEY, 0).unwrap();
        let now_ms = PING_MS + 1;
        ping(&sessions, &mut instance, now_ms).await;
        sessions.expire(now_ms + SILENCE_MS);
        drop(stream);
        assert!(sessions.open(KEY, now_ms + SILENCE_MS).is_none());
        sessions.expire(now_ms + PING_MS + 1);
        assert!(is_pinged(&sessions));
    });
}

#[test]
fn an_answer_to_a_ping_that_comes_after_the_last_request_is_taken() {
    run(async {
        let (sessions, mut stream, mut instance) = asked().await;
        let now_ms = PING_MS + 1;
        sessions.expire(now_ms);
        instance.answer_ping().await;
        instance.answer(&[]).await;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        drop(stream);
        sessions.expire(now_ms);
        let _stream = sessions.open(KEY, now_ms).unwrap();
        sessions.expire(now_ms + PING_MS + 1);
        instance.next(PING).await;
    });
}

#[test]
fn one_that_delivers_is_kept_though_it_answers_no_ping() {
    run(async {
        let (sessions, _stream, mut instance) = asked().await;
        sessions.expire(PING_MS + 1);
        instance.next(PING).await;
        sessions.expire(2 * PING_MS);
        let before = heard(&sessions);
        instance.stir().await;
        until(|| heard(&sessions) > before).await;
        sessions.expire(3 * PING_MS);
        assert!(sessions.open(KEY, 3 * PING_MS).is_some());
        sessions.expire(3 * PING_MS + 1);
        assert!(sessions.open(KEY, 3 * PING_MS + 1).is_none());
    });
}

#[test]
fn an_answer_that_came_and_is_not_read_is_no_silence() {
    run(async {
        let (sessions, mut stream, mut instance) = asked().await;
        instance.answer(&[b"one", b"two"]).await;
        stream.read_u8().await.unwrap();
        sessions.expire(SILENCE_MS);
        drop(stream);
        assert!(sessions.open(KEY, SILENCE_MS).is_some());
    });
}

#[test]
fn silence_while_a_request_is_given_up_keeps_others_away() {
    run(async {
        let (sessions, stream, mut instance) = asked().await;
        until(|| heard(&sessions) > 0).await;
        let other = sessions.open(KEY, 0).unwrap();
        sessions.expire(SILENCE_MS);
        drop(stream);
        assert!(sessions.open(KEY, SILENCE_MS).is_none());
        // Until something comes.
        let before = heard(&sessions);
        instance.stir().await;
        until(|| heard(&sessions) > before).await;
        let another = sessions.open(KEY, SILENCE_MS).unwrap();
        // What never left, or was given up soon, says nothing.
        drop(other);
        drop(another);
        assert!(sessions.open(KEY, SILENCE_MS).is_some());
    });
}

#[test]
fn one_in_doubt_without_requests_is_closed() {
    run(async {
        let (sessions, stream, mut instance) = asked().await;
        until(|| heard(&sessions) > 0).await;
        sessions.expire(SILENCE_MS);
        drop(stream);
        sessions.expire(SILENCE_MS + 1);
        assert!(sessions.by_endpoint.borrow().is_empty());
        instance.sees_the_end().await;
    });
}
