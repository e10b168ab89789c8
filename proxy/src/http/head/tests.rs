mod response;

use proptest::prelude::*;

use self::response::{PLAIN, response};
use super::{Request, Version, room};
use crate::{config::Limits, error::ErrorKind, http::framing::Framing};

/// What the tests look at of a request.
#[derive(Debug, PartialEq)]
struct Seen {
    method: String,
    target: String,
    host: Option<String>,
    framing: Framing,
    keep_alive: bool,
    upgrade: Option<String>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn request(bytes: impl AsRef<[u8]>) -> Result<Option<Seen>, ErrorKind> {
    let mut room = room();
    Ok(
        Request::parse(bytes.as_ref(), &mut room, &Limits::default())?.map(|request| Seen {
            method: text(request.method()),
            target: format!(
                "{}{}",
                if request.is_rooted() { "" } else { "/" },
                text(request.target())
            ),
            host: request.host().map(text),
            framing: request.framing(),
            keep_alive: request.keep_alive(),
            upgrade: request.upgrade().map(text),
        }),
    )
}

fn seen(bytes: impl AsRef<[u8]>) -> Seen {
    let bytes = bytes.as_ref();
    request(bytes)
        .unwrap_or_else(|kind| panic!("{kind:?}: {}", text(bytes)))
        .expect("complete")
}

fn refusal(bytes: impl AsRef<[u8]>) -> ErrorKind {
    let bytes = bytes.as_ref();
    match request(bytes) {
        Err(kind) => kind,
        Ok(seen) => panic!("{seen:?}: {}", text(bytes)),
    }
}

/// A request with these lines besides Host.
fn with(lines: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

#[test]
fn a_plain_request_is_read() {
    let seen = seen("GET /a?b=c HTTP/1.1\r\nHost: example.org:8080\r\nX: y\r\n\r\nrest");
    assert_eq!(
        seen,
        Seen {
            method: "GET".into(),
            target: "/a?b=c".into(),
            host: Some("example.org:8080".into()),
            framing: Framing::None,
            keep_alive: true,
            upgrade: None,
        }
    );
}

#[test]
fn a_head_is_incomplete_at_every_cut_and_never_wrong() {
    let head = "PUT http://h/p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: a, b\r\nA: 1\r\n\r\n";
    for cut in 0..head.len() {
        assert_eq!(request(&head.as_bytes()[..cut]), Ok(None), "cut at {cut}");
    }
    assert!(request(head).is_ok_and(|seen| seen.is_some()));
}

#[test]
fn lines_that_have_more_than_one_reading_are_refused() {
    for bytes in [
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /\tHTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
        "GET / x HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /é HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /#f HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: h\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: h\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / http/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "GET / HTTP/1.1\rHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\rC: d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\nC: d\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\tfolded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA\t: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: \x00\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: \x01\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: \x0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: \x7f\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nÄ: b\r\n\r\n",
        "GET /\r\nHost: h\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x03\x03",
        "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http:/// HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        assert_eq!(refusal(bytes), ErrorKind::RequestMalformed, "{bytes:?}");
    }
}

#[test]
fn the_host_must_be_there_once_and_be_one() {
    for lines in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a@b\r\n",
        "Host: a:b\r\n",
        "Host: a:123456\r\n",
        "Host: [::1\r\n",
        "Host: []\r\n",
        "Host: [::1]x\r\n",
        "Host: a, b\r\n ",
        "Host: ä\r\n",
        "Host: a?b\r\n",
        "Host: http://a\r\n",
        "Host: :80\r\n",
    ] {
        assert_eq!(
            refusal(format!("GET / HTTP/1.1\r\n{lines}\r\n")),
            ErrorKind::RequestMalformed,
            "{lines:?}"
        );
    }
    for host in [
        "a",
        "a:80",
        "a:",
        "[::1]",
        "[::1]:80",
        "1.2.3.4:80",
        "a_b.c-d",
        "xn--a",
    ] {
        assert_eq!(
            seen(format!("GET / HTTP/1.1\r\nhOST:{host} \r\n\r\n"))
                .host
                .as_deref(),
            Some(host)
        );
    }
    assert_eq!(seen("GET / HTTP/1.0\r\n\r\n").host, None);
    assert_eq!(
        refusal("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        ErrorKind::RequestMalformed
    );
}

#[test]
fn an_absolute_target_names_the_host() {
    for (target, host, path) in [
        ("http://a/b?c", "a", "/b?c"),
        ("HTTP://a:80", "a:80", "/"),
        ("https://[::1]:8/x", "[::1]:8", "/x"),
        ("http://a?q", "a", "/?q"),
    ] {
        let seen = seen(format!("GET {target} HTTP/1.1\r\nHost: other\r\n\r\n"));
        assert_eq!((seen.host.as_deref(), seen.target.as_str()), (Some(host), path));
    }
    assert_eq!(seen("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n").target, "*");
    assert_eq!(seen("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target, "*");
    assert_eq!(seen("GET http://a/ HTTP/1.0\r\n\r\n").host.as_deref(), Some("a"));

    let mut space = room();
    let head = b"GET http://a/ HTTP/1.1\r\nX: y\r\nHost: other\r\n\r\n";
    let request = Request::parse(head, &mut space, &Limits::default())
        .expect("good")
        .expect("complete");
    assert_eq!(
        request.header(1),
        (&b"Host"[..], &b"a"[..]),
        "what is routed by is what is passed on"
    );
    let mut space = room();
    let request = Request::parse(
        b"GET http://a/ HTTP/1.0\r\nX: y\r\n\r\n",
        &mut space,
        &Limits::default(),
    )
    .expect("good")
    .expect("complete");
    assert_eq!(
        (request.header_count(), request.header(1)),
        (2, (&b"Host"[..], &b"a"[..]))
    );
}

#[test]
fn contradictory_or_unreadable_lengths_are_refused() {
    for lines in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5;\r\n",
        "Content-Length:\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length: 100000000000000000000\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        assert_eq!(refusal(with(lines)), ErrorKind::RequestMalformed, "{lines:?}");
    }
    assert_eq!(
        refusal(with("Transfer-Encoding: gzip, chunked\r\n")),
        ErrorKind::Unsupported
    );
    assert_eq!(
        refusal("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ErrorKind::RequestMalformed
    );
    assert_eq!(
        seen(with("Transfer-Encoding: Chunked\r\n")).framing,
        Framing::Chunked
    );
    assert_eq!(
        seen(with("content-length:  007 \r\n")).framing,
        Framing::Length(7)
    );
    assert_eq!(
        seen(with("Content-Length: 9223372036854775807\r\n")).framing,
        Framing::Length(i64::MAX as u64)
    );
}

#[test]
fn other_versions_and_connect_are_told_apart_from_garbage() {
    for line in [
        "PRI * HTTP/2.0",
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "GET / HTTP/0.9",
        "GET / HTTP/3.0",
    ] {
        assert_eq!(
            refusal(format!("{line}\r\nHost: h\r\n\r\n")),
            ErrorKind::VersionUnsupported,
            "{line}"
        );
        for cut in 0..=line.len() {
            assert_eq!(
                request(&line.as_bytes()[..cut]),
                Ok(None),
                "what comes of {line} is not known after {cut}"
            );
        }
    }
    for line in [
        "GET / HTTP/1.10",
        "GET / HTTP/11",
        "GET / XTTP/1.1",
        "GET / HTTP/x.1",
    ] {
        assert_eq!(
            refusal(format!("{line}\r\nHost: h\r\n\r\n")),
            ErrorKind::RequestMalformed,
            "{line}"
        );
    }
    assert_eq!(
        refusal("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
        ErrorKind::MethodUnsupported
    );
}

#[test]
fn line_head_and_number_of_headers_are_bounded() {
    let limits = Limits {
        request_line_bytes_max: 100,
        head_bytes_max: 400,
        headers_max: 5,
        ..Limits::default()
    };
    let parse = |bytes: &str| {
        let mut room = room();
        Request::parse(bytes.as_bytes(), &mut room, &limits)
            .map(|request| request.map(|request| request.length()))
    };
    let line = |length: usize| format!("GET /{} HTTP/1.1", "x".repeat(length - 14));
    assert_eq!(line(100).len(), 100);
    assert_eq!(parse(&format!("{}\r\nHost: h\r\n\r\n", line(100))), Ok(Some(113)));
    assert_eq!(
        parse(&format!("{}\r\nHost: h\r\n\r\n", line(101))),
        Err(ErrorKind::UriTooLong)
    );
    assert_eq!(
        parse(&format!("GET /{}", "x".repeat(200))),
        Err(ErrorKind::UriTooLong)
    );
    let head = |value: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "x".repeat(value));
    let value = 400 - head(0).len();
    assert_eq!(parse(&head(value)), Ok(Some(400)));
    assert_eq!(parse(&head(value + 1)), Err(ErrorKind::HeadTooLarge));
    assert_eq!(parse(head(1_000).get(..399).expect("long")), Ok(None));
    assert_eq!(
        parse(head(1_000).get(..400).expect("long")),
        Err(ErrorKind::HeadTooLarge)
    );
    let many = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
            "A: b\r\n".repeat(count - 1)
        )
    };
    assert!(parse(&many(5)).is_ok());
    assert_eq!(parse(&many(6)), Err(ErrorKind::HeadTooLarge));
    let hundred = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(99));
    assert!(request(&hundred).is_ok());
    let more = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert_eq!(refusal(more), ErrorKind::HeadTooLarge);
}

#[test]
fn a_connection_goes_on_as_version_and_options_say() {
    let keeps =
        |version: &str, line: &str| seen(format!("GET / HTTP/{version}\r\nHost: h\r\n{line}\r\n")).keep_alive;
    assert!(keeps("1.1", ""));
    assert!(!keeps("1.1", "Connection: Close\r\n"));
    assert!(!keeps(
        "1.1",
        "Connection: x, close\r\nConnection: keep-alive\r\n"
    ));
    assert!(!keeps("1.0", ""));
    assert!(keeps("1.0", "connection: Keep-Alive\r\n"));
    assert_eq!(refusal(with("Connection: a b\r\n")), ErrorKind::RequestMalformed);
    assert_eq!(
        refusal(with(&format!("Connection: {}\r\n", "a,".repeat(17)))),
        ErrorKind::RequestMalformed
    );
}

#[test]
fn an_upgrade_is_offered_only_if_it_can_be_passed_on() {
    let upgrade = |lines: &str| seen(with(lines)).upgrade;
    assert_eq!(
        upgrade("Connection: Upgrade\r\nUpgrade: websocket\r\n").as_deref(),
        Some("websocket")
    );
    for lines in [
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade, http2-settings\r\nUpgrade: websocket, H2C\r\nHTTP2-Settings: x\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(upgrade(lines), None, "{lines:?}");
    }
    assert_eq!(
        seen("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").upgrade,
        None
    );
}

#[test]
fn versions_are_in_order() {
    assert!(Version::Http10 < Version::Http11);
}

proptest! {
    #[test]
    fn any_bytes_are_answered_and_only_once(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = request(&bytes);
        let _ = response(&bytes, PLAIN);
    }

    /// What is accepted whole is not refused in part.
    #[test]
    fn a_prefix_of_a_good_head_is_never_refused(
        headers in prop::collection::vec(("[a-zA-Z-]{1,10}", "[ -~]{0,10}"), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let lines: String = headers.iter().map(|(name, value)| format!("X{name}: {value}\r\n")).collect();
        let head = with(&lines);
        prop_assert!(request(&head).is_ok_and(|seen| seen.is_some()));
        prop_assert_eq!(request(&head.as_bytes()[..cut.index(head.len())]), Ok(None));
    }

    #[test]
    fn near_misses_never_panic(text in "(GET|POST|PRI) [ -~]{0,6} HTTP/[0-9].[0-9]\r?\n(Host: [a-z:\\[\\]]{0,4}\r\n)?((Content-Length|Transfer-Encoding|Connection|Upgrade|TE): [a-z0-9, ]{0,8}\r\n){0,4}\r\n") {
        let _ = request(&text);
    }
}
