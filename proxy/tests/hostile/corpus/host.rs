//! Whom a request is for.

use super::{Case, case};

pub fn hosts() -> Vec<Case> {
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
