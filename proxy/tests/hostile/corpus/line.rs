//! What stands in the lines of a head.

use super::{Case, GOOD, case};

/// The first line.
pub fn lines() -> Vec<Case> {
    vec![
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
    ]
}

/// Fields, and the ends of lines.
pub fn fields() -> Vec<Case> {
    vec![
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
    ]
}

/// More than is allowed.
pub fn bounds() -> Vec<Case> {
    vec![
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
    ]
}

/// Bytes that stand nowhere in a head.
pub fn bytes() -> Vec<Case> {
    let mut cases = Vec::new();
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
