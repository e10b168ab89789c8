//! Where a body ends.

use super::{Case, SMUGGLED, case, post};

pub fn lengths() -> Vec<Case> {
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

pub fn codings() -> Vec<Case> {
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

pub fn chunks() -> Vec<Case> {
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
