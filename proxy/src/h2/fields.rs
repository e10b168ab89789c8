//! Fields of HTTP/2 as lines of HTTP/1.1 and back.
//!
//! **Invariants.** What a field section of HTTP/2 must not hold is refused here (RFC 9113 §8.2, §8.3), not translated: a
//! line of HTTP/1.1 that frames a message never comes from a client of HTTP/2.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};

use super::message::Body;
use crate::http::head::Response;

/// The fields have no reading: the stream ends with a reset (RFC 9113 §8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Writes the fields of a request as a head.
pub(super) fn request(parts: &Parts, is_whole: bool, out: &mut Vec<u8>) -> Result<Body, Malformed> {
    let headers = &parts.headers;
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Malformed);
    }
    if let (Some(authority), Some(host)) = (authority, host)
        && !authority.eq_ignore_ascii_case(host)
    {
        return Err(Malformed);
    }
    let target = match (&parts.method, parts.uri.path_and_query()) {
        (&Method::CONNECT, _) => authority.ok_or(Malformed)?,
        (_, Some(path)) => path.as_str().as_bytes(),
        (_, None) => return Err(Malformed),
    };
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(host) = authority.or(host) {
        line(out, b"host", host);
    }
    let mut lengths = 0;
    for (name, value) in headers {
        if !is_clean(value) || is_of_a_connection(name) {
            return Err(Malformed);
        }
        match *name {
            // Written above, or below as one (RFC 9113 §8.2.3).
            header::HOST | header::COOKIE => continue,
            header::TE if !value.as_bytes().eq_ignore_ascii_case(b"trailers") => return Err(Malformed),
            header::CONTENT_LENGTH => lengths += 1,
            _ => {}
        }
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    for (index, cookie) in headers.get_all(header::COOKIE).iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"cookie: " } else { b"; " });
        out.extend_from_slice(cookie.as_bytes());
    }
    if headers.contains_key(header::COOKIE) {
        out.extend_from_slice(b"\r\n");
    }
    let body = match (is_whole, lengths) {
        (_, 2..) => return Err(Malformed),
        (true, _) => Body::None,
        (false, 1) => Body::Plain,
        (false, _) => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Body::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    Ok(body)
}

/// Writes a trailer section, its last empty line included.
pub(crate) fn trailers(fields: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Malformed> {
    for (name, value) in fields {
        if !is_clean(value) || is_of_a_connection(name) {
            return Err(Malformed);
        }
        // RFC 9110 §6.5.1: what frames, routes or is for the head only is no trailer.
        if !matches!(
            *name,
            header::CONTENT_LENGTH | header::HOST | header::TE | header::TRAILER | header::COOKIE
        ) {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The fields of a response.
pub(super) fn response(head: &Response<'_, '_>) -> Result<http::Response<()>, Malformed> {
    let mut response = http::Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status()).map_err(|_| Malformed)?;
    let fields = response.headers_mut();
    head.raw_lines()
        .for_each_run(head.own_lines(), |run| lines(run, fields));
    if let Some(length) = head.stated_length() {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// The fields of a trailer section that was found well formed.
pub(crate) fn trailer_fields(section: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    lines(section, &mut fields);
    fields
}

fn lines(run: &[u8], fields: &mut HeaderMap) {
    for line in run.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            && !is_of_a_connection(&name)
        {
            fields.append(name, value);
        }
    }
}

/// Writes a line of a head.
pub(crate) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// RFC 9113 §8.2.2.
pub(crate) fn is_of_a_connection(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE
    ) || matches!(
        name.as_str(),
        "keep-alive" | "proxy-connection" | "http2-settings"
    )
}

/// RFC 9113 §8.2.1: no white space at the ends (line ends and the like cannot be in a value at all).
fn is_clean(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    bytes.trim_ascii().len() == bytes.len()
}

#[cfg(test)]
mod tests {
    use super::{super::message::Body, Malformed, request, trailer_fields, trailers};

    fn written(request_of: http::request::Builder, is_whole: bool) -> Result<(Body, String), Malformed> {
        let (parts, ()) = request_of.body(()).expect("a request").into_parts();
        let mut out = Vec::new();
        let body = request(&parts, is_whole, &mut out)?;
        Ok((body, String::from_utf8(out).expect("text")))
    }

    fn post() -> http::request::Builder {
        http::Request::post("https://a.test/p?q=1")
    }

    #[test]
    fn a_request_is_one_head() {
        let (body, head) = written(
            post()
                .header("cookie", "a=1")
                .header("x", "y")
                .header("cookie", "b=2"),
            false,
        )
        .expect("well formed");
        assert_eq!(body, Body::Chunked);
        assert_eq!(
            head,
            "POST /p?q=1 HTTP/1.1\r\nhost: a.test\r\nx: y\r\ncookie: a=1; b=2\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let (body, head) = written(post().header("content-length", "3"), false).expect("well formed");
        assert_eq!(body, Body::Plain);
        assert!(!head.contains("chunked"));
        assert_eq!(written(post(), true).expect("well formed").0, Body::None);
    }

    #[test]
    fn what_is_for_a_connection_or_has_two_readings_is_refused() {
        for (name, value) in [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("keep-alive", "x"),
            ("proxy-connection", "x"),
            ("te", "gzip"),
            ("host", "b.test"),
            ("x", " y"),
            ("x", "y\t"),
        ] {
            assert_eq!(
                written(post().header(name, value), false),
                Err(Malformed),
                "{name}"
            );
        }
        assert!(written(post().header("host", "A.test"), true).is_ok());
        assert_eq!(
            written(
                post().header("content-length", "3").header("content-length", "3"),
                false
            ),
            Err(Malformed)
        );
    }

    #[test]
    fn trailers_pass_but_not_what_frames() {
        let mut out = Vec::new();
        trailers(
            &trailer_fields(b"grpc-status: 0\r\ncontent-length: 4\r\n"),
            &mut out,
        )
        .expect("well formed");
        assert_eq!(out, b"grpc-status: 0\r\n\r\n");
    }
}
