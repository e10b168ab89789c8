//! Answers of our own.

use std::io::Write as _;

use super::head::Version;
use crate::error::ErrorKind;

/// Writes the answer to a request that ends here. `head_only`: it answers HEAD.
pub(crate) fn write(out: &mut Vec<u8>, kind: ErrorKind, version: Version, keep_alive: bool, head_only: bool) {
    let status = kind.status();
    let reason = reason(status);
    let label = kind.label();
    let length = "000 : \n".len() + reason.len() + label.len();
    write!(
        out,
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n\
         Content-Length: {length}\r\n",
    )
    .expect("a vector takes all");
    if kind == ErrorKind::MethodUnsupported {
        out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE\r\n");
    }
    match (keep_alive, version) {
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, Version::Http11) => {}
    }
    out.extend_from_slice(b"\r\n");
    if !head_only {
        writeln!(out, "{status} {reason}: {label}").expect("a vector takes all");
    }
}

/// Reason phrases of the answers (RFC 9110 §15).
const fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::{Version, write};
    use crate::error::ErrorKind;

    #[test]
    fn every_kind_has_an_answer_whose_length_is_as_stated() {
        for kind in ErrorKind::ALL {
            let mut out = Vec::new();
            write(&mut out, kind, Version::Http11, false, false);
            let text = String::from_utf8(out).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(
                head.starts_with(&format!("HTTP/1.1 {} ", kind.status())),
                "{head}"
            );
            assert!(
                kind.status() == 500 || !head.contains("Internal"),
                "{kind:?} has no reason phrase"
            );
            assert!(
                head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())),
                "{text}"
            );
            assert!(head.ends_with("\r\nConnection: close"), "{text}");
            assert!(body.contains(kind.label()));
        }
    }

    #[test]
    fn an_answer_to_head_has_no_body_but_the_same_length() {
        let (mut full, mut head) = (Vec::new(), Vec::new());
        write(&mut full, ErrorKind::NoRoute, Version::Http10, true, false);
        write(&mut head, ErrorKind::NoRoute, Version::Http10, true, true);
        assert!(full.starts_with(&head));
        assert!(head.ends_with(b"\r\nConnection: keep-alive\r\n\r\n"));
        assert_eq!(
            full.len() - head.len(),
            "503 Service Unavailable: no_route\n".len()
        );
    }
}
