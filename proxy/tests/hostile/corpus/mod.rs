//! A corpus of requests: what the client gets, and what the origin must never see.

mod body;
mod connection;
mod host;
mod line;

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

/// What is wanted of some bytes.
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

/// What must not be taken for a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

pub fn all() -> Vec<Case> {
    [
        body::lengths(),
        body::codings(),
        body::chunks(),
        line::lines(),
        line::fields(),
        line::bounds(),
        line::bytes(),
        host::hosts(),
        connection::connections(),
    ]
    .concat()
}
