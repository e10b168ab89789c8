//! Heads of HTTP/1.1 as fields of HTTP/2 and back.

use std::io::Write as _;

use http::{
    HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{self, HeaderMap},
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::{
    h2::{
        fields::{Malformed, is_of_a_connection, line},
        message::Body,
    },
    http::head::Request,
};

/// The request whose head was written for the instance.
pub(super) fn request(head: &Request<'_, '_>, is_secure: bool) -> Result<http::Request<()>, Malformed> {
    let method = Method::from_bytes(head.method()).map_err(|_| Malformed)?;
    let path = path(head.target())?;
    let authority = head.host().filter(|host| !host.is_empty());
    let authority = authority
        .map(Authority::try_from)
        .transpose()
        .map_err(|_| Malformed)?;
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path);
    // Without a name to ask for, the one of the connection is meant; the fields of HTTP/2 must have one all the same.
    parts.authority = Some(authority.unwrap_or_else(|| Authority::from_static("localhost")));
    parts.scheme = Some(if is_secure { Scheme::HTTPS } else { Scheme::HTTP });
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Malformed)?;
    *request.version_mut() = http::Version::HTTP_2;
    let fields = request.headers_mut();
    for index in 0..head.header_count() {
        let (name, value) = head.header(index);
        let name = HeaderName::from_bytes(name).map_err(|_| Malformed)?;
        if is_of_a_connection(&name) || matches!(name, header::HOST | header::TE) {
            continue;
        }
        fields.append(name, HeaderValue::from_bytes(value).map_err(|_| Malformed)?);
    }
    if head.accepts_trailers() {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Ok(request)
}

/// A target as HTTP/2 carries it: what stands in no address is encoded.
fn path(target: &[u8]) -> Result<PathAndQuery, Malformed> {
    if let Ok(path) = PathAndQuery::try_from(target) {
        return Ok(path);
    }
    let mut encoded = Vec::with_capacity(target.len() + 16);
    for byte in target {
        if matches!(
            byte,
            b'<' | b'>' | b'`' | b'"' | b'{' | b'}' | b'^' | b'|' | b'\\'
        ) {
            write!(encoded, "%{byte:02X}").map_err(|_| Malformed)?;
        } else {
            encoded.push(*byte);
        }
    }
    PathAndQuery::try_from(encoded).map_err(|_| Malformed)
}

/// Writes the head of an answer. `is_whole`: no body follows. What is not in chunks is plain, also if it is nothing.
pub(super) fn response(
    status: StatusCode,
    fields: &HeaderMap,
    is_whole: bool,
    is_head_request: bool,
    out: &mut Vec<u8>,
) -> Result<Body, Malformed> {
    let reason = status.canonical_reason().unwrap_or_default();
    write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_u16()).map_err(|_| Malformed)?;
    // Behind a length there is no place for trailers (RFC 9112 §7.1.2).
    let has_trailers = fields.contains_key(header::TRAILER) && !is_whole && !is_head_request;
    let has_length = fields.contains_key(header::CONTENT_LENGTH) && !has_trailers;
    for (name, value) in fields {
        if is_of_a_connection(name) {
            return Err(Malformed);
        }
        if *name == header::CONTENT_LENGTH && !has_length {
            continue;
        }
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    let has_no_body = is_head_request || status.is_informational() || matches!(status.as_u16(), 204 | 304);
    let body = match (has_no_body || has_length, is_whole) {
        (true, _) => Body::Plain,
        (false, true) => {
            out.extend_from_slice(b"content-length: 0\r\n");
            Body::Plain
        }
        (false, false) => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Body::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    Ok(body)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode, header};

    use super::{request, response};
    use crate::{
        config::Limits,
        h2::{fields::Malformed, message::Body},
        http::head::{Request, room},
    };

    fn asked(head: &str) -> Result<http::Request<()>, Malformed> {
        let mut room = room();
        let limits = Limits::default();
        let parsed = Request::parse(head.as_bytes(), &mut room, &limits)
            .expect("a head")
            .expect("a whole one");
        request(&parsed, true)
    }

    #[test]
    fn what_is_for_a_connection_stays_behind() {
        let request = asked(
            "GET /p?q=1 HTTP/1.1\r\nHost: a.test:1\r\nX: y\r\nConnection: TE, upgrade\r\nUpgrade: websocket\r\n\
             TE: trailers\r\n\r\n",
        )
        .expect("fields");
        assert_eq!(request.uri().to_string(), "https://a.test:1/p?q=1");
        let names: Vec<&str> = request.headers().keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["x", "te"]);
        assert_eq!(request.headers()[header::TE], "trailers");
        let star = asked("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").expect("fields");
        assert_eq!(star.uri().path(), "*");
        let odd = asked("GET /a<b>?c=`\\ HTTP/1.1\r\nHost: a\r\n\r\n").expect("fields");
        assert_eq!(
            odd.uri().path_and_query().map(|path| path.as_str()),
            Some("/a%3Cb%3E?c=%60%5C")
        );
    }

    #[test]
    fn an_answer_is_framed_once() {
        let text = |status: u16, lengths: &[(header::HeaderName, &'static str)], is_whole, is_head| {
            let mut fields = HeaderMap::new();
            for (name, value) in lengths {
                fields.append(name.clone(), HeaderValue::from_static(value));
            }
            let mut out = Vec::new();
            let status = StatusCode::from_u16(status).expect("a status");
            let body = response(status, &fields, is_whole, is_head, &mut out);
            (body, String::from_utf8(out).expect("text"))
        };
        let length = (header::CONTENT_LENGTH, "3");
        let trailer = (header::TRAILER, "grpc-status");
        assert_eq!(
            text(200, &[], false, false),
            (
                Ok(Body::Chunked),
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()
            )
        );
        assert_eq!(
            text(200, &[], true, false).1,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        );
        assert_eq!(
            text(200, std::slice::from_ref(&length), false, false).0,
            Ok(Body::Plain)
        );
        assert_eq!(
            text(200, std::slice::from_ref(&length), true, true).1,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"
        );
        assert_eq!(text(204, &[], true, false).1, "HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(
            text(200, &[length, trailer], false, false).1,
            "HTTP/1.1 200 OK\r\ntrailer: grpc-status\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        assert_eq!(
            text(200, &[(header::CONNECTION, "close")], true, false).0,
            Err(Malformed)
        );
    }
}
