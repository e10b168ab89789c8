//! Heads of requests.

use std::mem::MaybeUninit;

use httparse::{Header, Status};

use super::{
    HEADERS_MAX, Lines, RawLines, Version,
    fields::{ConnectionOptions, Field, content_length, elements, field},
    has_bare_lf,
    host::{self, is_host},
    offset_in,
};
use crate::{config::Limits, error::ErrorKind, http::framing::Framing};

/// The head of a request, read where it lies.
#[derive(Debug)]
pub(crate) struct Request<'h, 'b> {
    head: &'b [u8],
    method: &'b [u8],
    target: host::Target<'b>,
    version: Version,
    headers: &'h [Header<'b>],
    host: Option<(usize, &'b [u8])>,
    framing: Framing,
    keep_alive: bool,
    expects_continue: bool,
    accepts_trailers: bool,
    upgrade: Option<&'b [u8]>,
    own: Lines,
    cookies: Lines,
    forwarded: Lines,
    forwarded_proto: bool,
    forwarded_host: bool,
    forwarded_port: Lines,
    traceparent: bool,
}

/// Room for the header lines of one head.
pub(crate) type Room<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX];

/// Room for the header lines of one head; costs nothing.
pub(crate) const fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

impl<'h, 'b> Request<'h, 'b> {
    /// Reads the head at the front of `bytes`; `None`: it is not complete.
    ///
    /// # Errors
    /// Why there is no such head, with the status of the answer in it.
    pub(crate) fn parse(
        bytes: &'b [u8],
        room: &'h mut Room<'b>,
        limits: &Limits,
    ) -> Result<Option<Self>, ErrorKind> {
        let headers_max = limits.headers_max.min(HEADERS_MAX);
        let room = room.get_mut(..headers_max).unwrap_or_default();
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(bytes, room) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return incomplete(bytes, limits).map(|()| None),
            // Which version it names is known when the line has ended, however it was cut on the way.
            Err(httparse::Error::Version) if !bytes.trim_ascii_start().contains(&b'\n') => {
                return incomplete(bytes, limits).map(|()| None);
            }
            Err(error) => return Err(fault(error, bytes, limits)),
        };
        let (Some(method), Some(raw_target), Some(version)) = (parsed.method, parsed.path, parsed.version)
        else {
            return Err(ErrorKind::Internal);
        };
        let head = bytes.get(..length).ok_or(ErrorKind::Internal)?;
        let (method, raw_target) = (method.as_bytes(), raw_target.as_bytes());
        // Target, space, version.
        if offset_in(head, raw_target) + raw_target.len() + 9 > limits.request_line_bytes_max {
            return Err(ErrorKind::UriTooLong);
        }
        if length > limits.head_bytes_max {
            return Err(ErrorKind::HeadTooLarge);
        }
        if has_bare_lf(head, parsed.headers) {
            return Err(ErrorKind::RequestMalformed);
        }
        if method == b"CONNECT" {
            return Err(ErrorKind::MethodUnsupported);
        }
        let target = host::target(method, raw_target).ok_or(ErrorKind::RequestMalformed)?;
        let mut request = Self {
            head,
            method,
            target,
            version: if version == 0 {
                Version::Http10
            } else {
                Version::Http11
            },
            headers: parsed.headers,
            host: None,
            framing: Framing::None,
            keep_alive: version != 0,
            expects_continue: false,
            accepts_trailers: false,
            upgrade: None,
            own: Lines::default(),
            cookies: Lines::default(),
            forwarded: Lines::default(),
            forwarded_proto: false,
            forwarded_host: false,
            forwarded_port: Lines::default(),
            traceparent: false,
        };
        request.read_fields()?;
        Ok(Some(request))
    }

    fn read_fields(&mut self) -> Result<(), ErrorKind> {
        let malformed = Err(ErrorKind::RequestMalformed);
        let mut options = ConnectionOptions::default();
        let mut length = None;
        let mut coding = None;
        let mut upgrades = 0;
        for (index, header) in self.headers.iter().enumerate() {
            let value = header.value;
            match field(header.name.as_bytes()) {
                Field::Other | Field::CacheControl => {}
                Field::Host => {
                    if self.host.replace((index, value)).is_some() || !is_host(value) {
                        return malformed;
                    }
                }
                Field::Connection => {
                    self.own.insert(index);
                    options.read(value).map_err(|_| ErrorKind::RequestMalformed)?;
                }
                Field::KeepAlive | Field::ProxyConnection | Field::Http2Settings => self.own.insert(index),
                Field::Te => {
                    self.own.insert(index);
                    self.accepts_trailers |=
                        elements(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
                }
                Field::Upgrade => {
                    self.own.insert(index);
                    self.upgrade = Some(value);
                    upgrades += 1;
                }
                Field::TransferEncoding => {
                    self.own.insert(index);
                    if coding.replace(value).is_some() {
                        return malformed;
                    }
                }
                Field::ContentLength => {
                    let Some(stated) = content_length(value) else {
                        return malformed;
                    };
                    if length.replace(stated).is_some() {
                        return malformed;
                    }
                }
                Field::Cookie => self.cookies.insert(index),
                Field::Expect => {
                    if self.version == Version::Http10 {
                        // RFC 9110 §10.1.1: such an expectation is ignored.
                        self.own.insert(index);
                    } else if value.eq_ignore_ascii_case(b"100-continue") {
                        self.expects_continue = true;
                    }
                }
                Field::Forwarded | Field::ForwardedFor => self.forwarded.insert(index),
                Field::ForwardedHost => {
                    self.forwarded.insert(index);
                    self.forwarded_host = true;
                }
                Field::ForwardedProto => {
                    self.forwarded.insert(index);
                    self.forwarded_proto = true;
                }
                Field::ForwardedPort => {
                    self.forwarded.insert(index);
                    self.forwarded_port.insert(index);
                }
                Field::Traceparent => self.traceparent = true,
            }
        }
        if self.version == Version::Http11 && self.host.is_none() {
            return malformed;
        }
        if let (Some(_), Some((index, _))) = (self.target.authority, self.host) {
            self.own.insert(index);
        }
        self.framing = match (coding, length) {
            (Some(_), _) if self.version == Version::Http10 => return malformed,
            (Some(_), Some(_)) => return malformed,
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
            (Some(coding), None) => {
                // RFC 9112 §6.1: a coding that is not known, if the body could be found at all (§6.3).
                let framed = elements(coding)
                    .last()
                    .is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
                let chunks = elements(coding)
                    .filter(|part| part.eq_ignore_ascii_case(b"chunked"))
                    .count();
                return Err(if framed && chunks == 1 {
                    ErrorKind::Unsupported
                } else {
                    ErrorKind::RequestMalformed
                });
            }
            (None, Some(length)) => Framing::Length(length),
            (None, None) => Framing::None,
        };
        self.keep_alive = match self.version {
            Version::Http11 => !options.close,
            Version::Http10 => options.keep_alive && !options.close,
        };
        // An upgrade to HTTP/2 would take the following requests out of our sight (it is deprecated,
        // RFC 9113 §3.1), and after one with a body it would not be clear whose bytes are whose.
        let is_offered = options.upgrade
            && upgrades == 1
            && self.version == Version::Http11
            && matches!(self.framing, Framing::None | Framing::Length(0))
            && self.upgrade.is_some_and(|protocols| {
                !elements(protocols).any(|protocol| {
                    protocol
                        .get(..2)
                        .is_some_and(|start| start.eq_ignore_ascii_case(b"h2"))
                })
            });
        if !is_offered {
            self.upgrade = None;
        }
        self.own = self.own.with(options.named_lines(self.headers));
        Ok(())
    }

    /// Bytes of the head, its last empty line included.
    pub(crate) fn length(&self) -> usize {
        self.head.len()
    }

    pub(crate) fn method(&self) -> &'b [u8] {
        self.method
    }

    /// Path and query, whatever the form of the target; not rooted (see [`Request::is_rooted`]) only for
    /// an absolute form without a path.
    pub(crate) fn target(&self) -> &'b [u8] {
        self.target.path
    }

    pub(crate) fn is_rooted(&self) -> bool {
        self.target.rooted
    }

    /// What the client asked for by absolute form, which stands for the Host header.
    pub(crate) fn authority(&self) -> Option<&'b [u8]> {
        self.target.authority
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The host that the request is for, port included; `None` only for HTTP/1.0.
    pub(crate) fn host(&self) -> Option<&'b [u8]> {
        self.target.authority.or(self.host.map(|(_, value)| value))
    }

    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the client wants to use the connection again.
    pub(crate) fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for 100 (Continue) before it sends its body.
    pub(crate) fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether the client takes a trailer section (`TE: trailers`).
    pub(crate) fn accepts_trailers(&self) -> bool {
        self.accepts_trailers
    }

    /// The protocols offered by an upgrade that can be passed on.
    pub(crate) fn upgrade(&self) -> Option<&'b [u8]> {
        self.upgrade
    }

    /// Whether the client says itself over which scheme it came.
    pub(crate) fn has_forwarded_proto(&self) -> bool {
        self.forwarded_proto
    }

    /// Whether the client says itself which host it asked for.
    pub(crate) fn has_forwarded_host(&self) -> bool {
        self.forwarded_host
    }

    /// Whether the request is part of a trace (W3C Trace Context).
    pub(crate) fn has_traceparent(&self) -> bool {
        self.traceparent
    }

    /// Lines that tell of the way that the request came.
    pub(crate) fn forwarded_lines(&self) -> Lines {
        self.forwarded
    }

    pub(crate) fn forwarded_port_lines(&self) -> Lines {
        self.forwarded_port
    }

    /// Lines that are for this hop, or that the gateway writes itself.
    pub(crate) fn own_lines(&self) -> Lines {
        self.own
    }

    pub(crate) fn cookie_lines(&self) -> Lines {
        self.cookies
    }

    pub(crate) fn raw_lines(&self) -> RawLines<'h, 'b> {
        RawLines {
            head: self.head,
            headers: self.headers,
        }
    }

    pub(crate) fn header_count(&self) -> usize {
        // An authority without a Host header stands for one.
        self.headers.len() + usize::from(self.target.authority.is_some() && self.host.is_none())
    }

    /// Name and value of a header, below [`Request::header_count`].
    pub(crate) fn header(&self, index: usize) -> (&'b [u8], &'b [u8]) {
        match (self.headers.get(index), self.target.authority) {
            (None, authority) => (b"Host", authority.unwrap_or_default()),
            (Some(header), Some(authority)) if self.host.is_some_and(|(host, _)| host == index) => {
                (header.name.as_bytes(), authority)
            }
            (Some(header), _) => (header.name.as_bytes(), header.value),
        }
    }

    /// Whether a repetition has the effect of one request (RFC 9110 §9.2.2), and there is no body.
    pub(crate) fn is_repeatable(&self) -> bool {
        matches!(self.framing, Framing::None | Framing::Length(0))
            && self.upgrade.is_none()
            && matches!(
                self.method,
                b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE"
            )
    }
}

/// Whether a head that is not complete may still become one.
fn incomplete(bytes: &[u8], limits: &Limits) -> Result<(), ErrorKind> {
    if memchr::memchr(b'\n', bytes).unwrap_or(bytes.len()) > limits.request_line_bytes_max {
        Err(ErrorKind::UriTooLong)
    } else if bytes.len() >= limits.head_bytes_max {
        Err(ErrorKind::HeadTooLarge)
    } else {
        Ok(())
    }
}

fn fault(error: httparse::Error, bytes: &[u8], limits: &Limits) -> ErrorKind {
    let line = bytes
        .split(|&byte| byte == b'\r' || byte == b'\n')
        .next()
        .unwrap_or_default();
    match error {
        httparse::Error::TooManyHeaders => ErrorKind::HeadTooLarge,
        _ if line.len() > limits.request_line_bytes_max => ErrorKind::UriTooLong,
        httparse::Error::Version if names_other_version(line) => ErrorKind::VersionUnsupported,
        _ => ErrorKind::RequestMalformed,
    }
}

/// Whether a request line ends with a version that is none of ours, such as that of the preface of HTTP/2.
fn names_other_version(line: &[u8]) -> bool {
    let version = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    match version.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) => {
            major.is_ascii_digit() && minor.is_ascii_digit() && !matches!((major, minor), (b'1', b'0' | b'1'))
        }
        _ => false,
    }
}
