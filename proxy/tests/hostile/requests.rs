//! A corpus of requests: what the client gets, and what the origin must never see.

use crate::{
    all_is_well,
    reading::{Manner, answers, requests},
    server::Server,
    support::{World, instance, one_worker, route},
};

/// Name, bytes, answers in order. A request that was passed on is answered `200 METHOD TARGET HOST`. No head that the
/// origin sees may contain `smuggled`.
pub type Case = (String, Vec<u8>, Vec<String>);

/// Requests that are good, for others to go wrong from.
pub const GOOD: &[&str] = &[
    "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /a?x=y HTTP/1.0\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\nT: v\r\n\r\n",
    "GET http://h/d HTTP/1.1\r\nHost: other\r\nConnection: close, X-A\r\nX-A: b\r\nTE: trailers\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: h:80\r\nCookie: a=b; c=d\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
];

fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, expected: &[&str]) -> Case {
    (
        name.into(),
        bytes.into(),
        expected.iter().map(|&answer| answer.to_owned()).collect(),
    )
}

/// With these lines in a POST that has `rest` after its head.
fn post(name: &str, lines: &str, rest: &str, expected: &[&str]) -> Case {
    case(
        name,
        format!("POST /p HTTP/1.1\r\nHost: h\r\n{lines}\r\n{rest}"),
        expected,
    )
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

fn lengths() -> Vec<Case> {
    let mut cases = vec![
        post(
            "two lengths",
            "Content-Length: 0\r\nContent-Length: 38\r\n",
            SMUGGLED,
            &["400"],
        ),
        post(
            "the same length twice",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "hello",
            &["400"],
        ),
        post(
            "length and chunks",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            &format!("0\r\n\r\n{SMUGGLED}"),
            &["400"],
        ),
        post(
            "chunks and length",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            &format!("0\r\n\r\n{SMUGGLED}"),
            &["400"],
        ),
        post(
            "a length with spaces around",
            "Content-Length:  5 \r\n",
            "hello",
            &["200 POST /p h"],
        ),
        post("less than the length", "Content-Length: 6\r\n", "hello", &[]),
        post(
            "more than the length",
            "Content-Length: 4\r\n",
            "hello\r\n\r\n",
            &["200 POST /p h", "400"],
        ),
        post(
            "a length of none, then bytes",
            "Content-Length: 0\r\n",
            "hello\r\n\r\n",
            &["200 POST /p h", "400"],
        ),
        post(
            "a length that is named away",
            "Connection: content-length\r\nContent-Length: 35\r\n",
            SMUGGLED,
            &["200 POST /p h"],
        ),
        post(
            "a length beyond all",
            "Content-Length: 18446744073709551616\r\n",
            SMUGGLED,
            &["400"],
        ),
    ];
    for value in [
        "", "+5", "-5", "0x5", "5,5", "5, 5", "5 5", "5;5", "5.0", "1e1", "5\u{b}", "\u{661}", "five",
        "0 38", "'5'",
    ] {
        cases.push(post(
            &format!("a length of {value:?}"),
            &format!("Content-Length: {value}\r\n"),
            SMUGGLED,
            &["400"],
        ));
    }
    for name in [
        "Content-Length ",
        " Content-Length",
        "Content-Length\t",
        "Content Length",
        "Content-Length\u{b}",
        "\u{0}Content-Length",
    ] {
        cases.push(post(
            &format!("a header called {name:?}"),
            &format!("{name}: 38\r\n"),
            SMUGGLED,
            &["400"],
        ));
    }
    cases
}

fn codings() -> Vec<Case> {
    let body = format!("0\r\n\r\n{SMUGGLED}");
    let mut cases = vec![
        post(
            "chunked in capitals",
            "TRANSFER-ENCODING: CHUNKED\r\n",
            "1\r\na\r\n0\r\n\r\n",
            &["200 POST /p h"],
        ),
        post(
            "chunked without a space",
            "Transfer-Encoding:chunked\r\n",
            "0\r\n\r\n",
            &["200 POST /p h"],
        ),
        post(
            "chunked after a tab",
            "Transfer-Encoding:\tchunked\r\n",
            "0\r\n\r\n",
            &["200 POST /p h"],
        ),
        post(
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            &body,
            &["400"],
        ),
        post(
            "chunked, then identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            &body,
            &["400"],
        ),
        post(
            "a coding that is named away",
            "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            &["200 POST /p h"],
        ),
        case(
            "a coding in HTTP/1.0",
            format!("POST /p HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}"),
            &["400"],
        ),
        case(
            "a coding and a length in HTTP/1.0",
            format!(
                "POST /p HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
            ),
            &["400"],
        ),
    ];
    for (value, status) in [
        ("", "400"),
        ("identity", "400"),
        ("gzip", "400"),
        ("xchunked", "400"),
        ("chunkedx", "400"),
        ("chunked, identity", "400"),
        ("chunked, chunked", "400"),
        ("chunked,", "501"),
        (", chunked", "501"),
        ("gzip, chunked", "501"),
        ("\"chunked\"", "400"),
        ("chunked;q=1", "400"),
        ("chun\tked", "400"),
        ("\u{b}chunked", "400"),
        ("chunked\u{c}", "400"),
        ("\u{0}chunked", "400"),
        ("chunked\r\n x", "400"),
        ("\r\n chunked", "400"),
    ] {
        let expected = [status];
        cases.push(post(
            &format!("a coding of {value:?}"),
            &format!("Transfer-Encoding: {value}\r\n"),
            &body,
            &expected,
        ));
    }
    for name in [
        "Transfer-Encoding ",
        " Transfer-Encoding",
        "\tTransfer-Encoding",
        "Transfer-Encoding\u{b}",
        "Transfer-Encoding\u{0}",
        "X\rTransfer-Encoding",
    ] {
        cases.push(post(
            &format!("a header called {name:?}"),
            &format!("{name}: chunked\r\n"),
            &body,
            &["400"],
        ));
    }
    cases
}

fn chunks() -> Vec<Case> {
    let good =
        |name: &str, body: &str| post(name, "Transfer-Encoding: chunked\r\n", body, &["200 POST /p h"]);
    let bad = |name: &str, body: &str| {
        post(
            name,
            "Transfer-Encoding: chunked\r\n",
            &format!("{body}{SMUGGLED}"),
            &["400"],
        )
    };
    vec![
        good("an extension", "5;a=b;c=\"d e\"\r\nhello\r\n0\r\n\r\n"),
        good("zeros before a size", "0005\r\nhello\r\n000\r\n\r\n"),
        good(
            "trailers",
            "0\r\nDigest: z\r\nContent-Language: de\r\nX: y\r\n\r\n",
        ),
        bad(
            "a length in the trailers",
            "0\r\nX: y\r\nContent-Length: 5\r\n\r\n",
        ),
        bad(
            "a coding in the trailers",
            "0\r\nTRANSFER-encoding: chunked\r\n\r\n",
        ),
        bad("a host in the trailers", "0\r\nHost: other\r\n\r\n"),
        bad(
            "connection options in the trailers",
            "0\r\nConnection: close\r\n\r\n",
        ),
        bad("a size with a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        bad("a signed size", "+5\r\nhello\r\n0\r\n\r\n"),
        bad("a negative size", "-1\r\nhello\r\n0\r\n\r\n"),
        bad("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        bad("a space before a size", " 5\r\nhello\r\n0\r\n\r\n"),
        bad("a space after a size", "5 \r\nhello\r\n0\r\n\r\n"),
        bad("a size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        bad("a size beyond 63 bits", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        bad("LF after a size", "5\nhello\r\n0\r\n\r\n"),
        bad("CR after a size", "5\rhello\r\n0\r\n\r\n"),
        bad("LF after a chunk", "5\r\nhello\n0\r\n\r\n"),
        bad("nothing after a chunk", "5\r\nhello0\r\n\r\n"),
        bad("a chunk longer than its size", "5\r\nhello!\r\n0\r\n\r\n"),
        bad("LF in an extension", "5;a\nhello\r\n0\r\n\r\n"),
        bad("CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        bad("NUL in an extension", "5;a\0\r\nhello\r\n0\r\n\r\n"),
        bad("a size with a comma", "5,5\r\nhello\r\n0\r\n\r\n"),
        bad("an underscore in a size", "1_0\r\nhello\r\n0\r\n\r\n"),
        bad("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n"),
        bad("a trailer without a name", "0\r\n: b\r\n\r\n"),
        bad("a trailer with LF", "0\r\nA: b\n\r\n"),
        bad("a trailer with NUL", "0\r\nA: \0\r\n\r\n"),
        bad("a last line of CR alone", "0\r\n\rX"),
        bad("a last line of LF alone", "0\r\n\n"),
        bad(
            "a long extension",
            &format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(5_000)),
        ),
        bad(
            "a long size",
            &format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(5_000)),
        ),
        bad(
            "long trailers",
            &format!("0\r\nA: {}\r\n\r\n", "b".repeat(20_000)),
        ),
    ]
}

fn lines() -> Vec<Case> {
    let mut cases = vec![
        case("HTTP/0.9", "GET /smuggled\r\n", &["400"]),
        case("HTTP/0.9 with an empty line", "GET /smuggled\r\n\r\n", &["400"]),
        case(
            "a version without a minor",
            "GET /smuggled HTTP/1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "a version in small letters",
            "GET /smuggled http/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "version 1.2",
            "GET /smuggled HTTP/1.2\r\nHost: h\r\n\r\n",
            &["505"],
        ),
        case(
            "version 0.9",
            "GET /smuggled HTTP/0.9\r\nHost: h\r\n\r\n",
            &["505"],
        ),
        case(
            "a long version",
            "GET /smuggled HTTP/1.10\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "words after the version",
            "GET /smuggled HTTP/1.1 HTTP/1.0\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "a space after the version",
            "GET /smuggled HTTP/1.1 \r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "two spaces",
            "GET  /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "a space first",
            " GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "a tab in the line",
            "GET\t/smuggled\tHTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "a line folded",
            "GET /smuggled\r\n HTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case("no method", "/smuggled HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
        case(
            "a method in brackets",
            "(GET) /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "an unknown method",
            "PURGE-1 /x HTTP/1.1\r\nHost: h\r\n\r\n",
            &["200 PURGE-1 /x h"],
        ),
        case(
            "CONNECT",
            "CONNECT smuggled:80 HTTP/1.1\r\nHost: smuggled:80\r\n\r\nGET",
            &["405"],
        ),
        case(
            "what looks like the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nsmuggled",
            &["505"],
        ),
        case(
            "TLS",
            [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0],
            &["400"],
        ),
        case(
            "a fragment",
            "GET /smuggled#x HTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "a target beyond ASCII",
            "GET /smuggled\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "a relative target",
            "GET smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "a star for GET",
            "GET * HTTP/1.1\r\nHost: h\r\nX: smuggled\r\n\r\n",
            &["400"],
        ),
        case(
            "two slashes",
            "GET //other/x HTTP/1.1\r\nHost: h\r\n\r\n",
            &["200 GET //other/x h"],
        ),
        case(
            "a header without a colon",
            "GET /x HTTP/1.1\r\nHost: h\r\nsmuggled\r\n\r\n",
            &["400"],
        ),
        case(
            "a header without a name",
            "GET /x HTTP/1.1\r\nHost: h\r\n: smuggled\r\n\r\n",
            &["400"],
        ),
        case(
            "a folded header",
            "GET /x HTTP/1.1\r\nHost: h\r\nA: b\r\n smuggled\r\n\r\n",
            &["400"],
        ),
        case(
            "a fold first",
            "GET /x HTTP/1.1\r\n X: smuggled\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "LF after the line",
            "GET /smuggled HTTP/1.1\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "LF after a header",
            "GET /smuggled HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
            &["400"],
        ),
        case("LF only", "GET /smuggled HTTP/1.1\nHost: h\n\n", &["400"]),
        case(
            "an end of LF LF",
            "GET /smuggled HTTP/1.1\r\nHost: h\r\nA: b\n\n",
            &["400"],
        ),
        case(
            "an end of CR LF LF",
            "GET /smuggled HTTP/1.1\r\nHost: h\r\n\n",
            &["400"],
        ),
        case(
            "an end of CR CR LF",
            "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\r\n",
            &["400"],
        ),
        case(
            "CR for a line end",
            "GET /smuggled HTTP/1.1\rHost: h\r\r",
            &["400"],
        ),
        case(
            "CR in a value",
            "GET /x HTTP/1.1\r\nHost: h\r\nA: b\rX-Smuggled: c\r\n\r\n",
            &["400"],
        ),
        case(
            "a long line",
            format!("GET /smuggled{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(17_000)),
            &["414"],
        ),
        case(
            "a line without an end",
            format!("GET /smuggled{}", "x".repeat(70_000)),
            &["414"],
        ),
        case(
            "a long header",
            format!(
                "GET /smuggled HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n",
                "x".repeat(70_000)
            ),
            &["431"],
        ),
        case(
            "a long name",
            format!(
                "GET /smuggled HTTP/1.1\r\nHost: h\r\n{}: a\r\n\r\n",
                "x".repeat(70_000)
            ),
            &["431"],
        ),
        case(
            "many headers",
            format!(
                "GET /smuggled HTTP/1.1\r\nHost: h\r\n{}\r\n",
                "A: b\r\n".repeat(100)
            ),
            &["431"],
        ),
        case(
            "empty lines first",
            format!("\r\n\r\n\r\n{}", GOOD[0]),
            &["200 GET /a h"],
        ),
        case(
            "obs-text in a value",
            b"GET /x HTTP/1.1\r\nHost: h\r\nA: \xff\xfe\r\n\r\n".as_slice(),
            &["200 GET /x h"],
        ),
        case(
            "a tab in a value",
            "GET /x HTTP/1.1\r\nHost: h\r\nA: b\tc\r\n\r\n",
            &["200 GET /x h"],
        ),
    ];
    for byte in (0..0x20).chain([0x7f]).filter(|byte| !b"\t\n\r".contains(byte)) {
        for (place, before, after) in [
            ("method", "G", "ET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"),
            ("target", "GET /smu", "ggled HTTP/1.1\r\nHost: h\r\n\r\n"),
            ("version", "GET /smuggled HTTP/1.1", "\r\nHost: h\r\n\r\n"),
            ("name", "GET /smuggled HTTP/1.1\r\nHost: h\r\nA", ": b\r\n\r\n"),
            ("value", "GET /smuggled HTTP/1.1\r\nHost: h\r\nA: b", "\r\n\r\n"),
            ("host", "GET /smuggled HTTP/1.1\r\nHost: h", "\r\n\r\n"),
        ] {
            let bytes = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            cases.push(case(format!("byte {byte:#x} in the {place}"), bytes, &["400"]));
        }
    }
    cases
}

fn hosts() -> Vec<Case> {
    let mut cases = vec![
        case("no host", "GET /smuggled HTTP/1.1\r\n\r\n", &["400"]),
        case(
            "two hosts",
            "GET /smuggled HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            &["400"],
        ),
        case(
            "the same host twice",
            "GET /smuggled HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            &["400"],
        ),
        case(
            "two hosts in HTTP/1.0",
            "GET /smuggled HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            &["400"],
        ),
        case(
            "an absolute target",
            "GET http://real/x HTTP/1.1\r\nHost: smuggled\r\n\r\n",
            &["200 GET /x real"],
        ),
        case(
            "an absolute target without a host",
            "GET http://real/x HTTP/1.1\r\n\r\n",
            &["400"],
        ),
        case(
            "an absolute target, two hosts",
            "GET http://a/smuggled HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            &["400"],
        ),
        case(
            "an absolute target, an odd host",
            "GET http://a/smuggled HTTP/1.1\r\nHost: a b\r\n\r\n",
            &["400"],
        ),
        case(
            "an absolute target of nobody",
            "GET http:///smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "a user in the target",
            "GET http://user:pass@smuggled/x HTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "a port beyond all",
            "GET http://smuggled:99999999/x HTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "another scheme",
            "GET ftp://h/smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
            &["400"],
        ),
        case(
            "a host that is named away",
            "GET /x HTTP/1.1\r\nHost: h\r\nConnection: host\r\n\r\n",
            &["200 GET /x h"],
        ),
    ];
    for host in [
        "a b", "a/b", "a?b", "a#b", "a@b", "a\\b", "a:b", "a:80:80", "[::1", "::1", "<a>", "\"a\"", "a:+80",
        "a\tb", "\u{e9}",
    ] {
        cases.push(case(
            format!("host {host:?}"),
            format!("GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            &["400"],
        ));
    }
    for host in ["a", "a.b:80", "[::1]:80", "10.0.0.1", "a_b", "A-1.B."] {
        cases.push(case(
            format!("host {host:?}"),
            format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            &[&format!("200 GET /x {host}")],
        ));
    }
    cases
}

fn connections() -> Vec<Case> {
    let many: String = (0..40).map(|n| format!("x{n}, ")).collect();
    let upgrade = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    vec![
        case(
            "a header that is named",
            "GET /x HTTP/1.1\r\nHost: h\r\nX-Smuggled: 1\r\nConnection: x-smuggled\r\n\r\n",
            &["200 GET /x h"],
        ),
        case(
            "headers that are named in two lines",
            "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Smuggled: 1\r\nConnection: A,X-SMUGGLED\r\nX-Smuggled: 2\r\n\r\n",
            &["200 GET /x h"],
        ),
        case(
            "headers for one hop",
            "GET /x HTTP/1.1\r\nHost: h\r\nKeep-Alive: smuggled\r\nProxy-Connection: smuggled\r\nUpgrade: smuggled\r\nTE: smuggled\r\n\r\n",
            &["200 GET /x h"],
        ),
        case(
            "many options",
            format!("GET /smuggled HTTP/1.1\r\nHost: h\r\nConnection: {many}close\r\n\r\n"),
            &["400"],
        ),
        case(
            "what follows a close",
            format!("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n{SMUGGLED}"),
            &["200 GET /x h"],
        ),
        case(
            "what follows HTTP/1.0",
            format!("GET /x HTTP/1.0\r\nHost: h\r\n\r\n{SMUGGLED}"),
            &["200 GET /x h"],
        ),
        case(
            "garbage after an upgrade that is not taken",
            format!("{upgrade}\u{1}\u{2}garbage smuggled"),
            &["200 GET /ws h", "400"],
        ),
        case(
            "a request after an upgrade that is not taken",
            format!("{upgrade}{}", GOOD[0]),
            &["200 GET /ws h", "200 GET /a h"],
        ),
        case(
            "an upgrade to HTTP/2",
            "GET /x HTTP/1.1\r\nHost: h\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: smuggled\r\n\r\n",
            &["200 GET /x h"],
        ),
        case(
            "one bad after a good one",
            format!("{}GET /smuggled HTTP/1.1\r\n\r\n{SMUGGLED}", GOOD[0]),
            &["200 GET /a h", "400"],
        ),
        case("a hundred at once", GOOD[0].repeat(100), &["200 GET /a h"; 100]),
        case(
            "a body that is a request",
            format!(
                "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{SMUGGLED}{}",
                SMUGGLED.len(),
                GOOD[0]
            ),
            &["200 POST /p h", "200 GET /a h"],
        ),
        case(
            "an unknown expectation",
            "GET /x HTTP/1.1\r\nHost: h\r\nExpect: smuggled-not\r\n\r\n",
            &["200 GET /x h"],
        ),
    ]
}

pub fn corpus() -> Vec<Case> {
    [lengths(), codings(), chunks(), lines(), hosts(), connections()].concat()
}

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
    for (name, bytes, expected) in &corpus() {
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
