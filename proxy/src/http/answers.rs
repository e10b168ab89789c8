//! Answers of our own.

use std::{collections::BTreeMap, io::Write as _};

use bytes::Bytes;

use super::head::Version;
use crate::{config::ErrorPage, error::ErrorKind};

/// Answers of the owner's own, by status.
pub(crate) type Pages = BTreeMap<u16, ErrorPage>;

/// Type of the short texts that stand where there is no page.
const TEXT: &str = "text/plain; charset=utf-8";

/// Type and body of the answer to a request that ends here.
pub(crate) fn body(pages: &Pages, kind: ErrorKind) -> (&str, Bytes) {
    let status = kind.status();
    match pages.get(&status) {
        Some(page) => (&page.content_type, page.body.clone()),
        None => (
            TEXT,
            format!("{status} {}: {}\n", reason(status), kind.label()).into(),
        ),
    }
}

/// Writes the answer to a request that ends here. `head_only`: it answers HEAD.
pub(crate) fn write(
    out: &mut Vec<u8>,
    pages: &Pages,
    kind: ErrorKind,
    version: Version,
    keep_alive: bool,
    head_only: bool,
) {
    let status = kind.status();
    let (content_type, body) = body(pages, kind);
    write!(
        out,
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nCache-Control: no-store\r\n\
         Content-Length: {}\r\n",
        reason(status),
        body.len(),
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
        out.extend_from_slice(&body);
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
    use super::{Pages, Version, write};
    use crate::{config::ErrorPage, error::ErrorKind};

    #[test]
    fn every_kind_has_an_answer_whose_length_is_as_stated() {
        for kind in ErrorKind::ALL {
            let mut out = Vec::new();
            write(&mut out, &Pages::new(), kind, Version::Http11, false, false);
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
        write(
            &mut full,
            &Pages::new(),
            ErrorKind::NoRoute,
            Version::Http10,
            true,
            false,
        );
        write(
            &mut head,
            &Pages::new(),
            ErrorKind::NoRoute,
            Version::Http10,
            true,
            true,
        );
        assert!(full.starts_with(&head));
        assert!(head.ends_with(b"\r\nConnection: keep-alive\r\n\r\n"));
        assert_eq!(
            full.len() - head.len(),
            "503 Service Unavailable: no_route\n".len()
        );
    }

    #[test]
    fn a_page_of_the_owners_own_stands_for_the_text() {
        let page = ErrorPage {
            content_type: "text/html".to_owned(),
            body: "<h1>soon</h1>".into(),
        };
        let pages = Pages::from([(503, page)]);
        let mut out = Vec::new();
        write(
            &mut out,
            &pages,
            ErrorKind::NoInstance,
            Version::Http11,
            true,
            false,
        );
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nCache-Control: no-store\r\n\
             Content-Length: 13\r\n\r\n<h1>soon</h1>"
        );
        let mut out = Vec::new();
        write(
            &mut out,
            &pages,
            ErrorKind::ResponseTimeout,
            Version::Http11,
            true,
            false,
        );
        assert!(out.ends_with(b"504 Gateway Timeout: response_timeout\n"));
    }
}
