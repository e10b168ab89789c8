//! Heads of responses.

use httparse::{Header, Status};

use super::{
    HEADERS_MAX, Lines, RawLines, Version,
    fields::{ConnectionOptions, Field, content_length, elements, field},
    has_bare_lf,
    request::Room,
};
use crate::{config::Limits, http::framing::Framing};

/// What was asked, as far as the reading of the answer depends on it (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The method was HEAD: there is no body.
    pub(crate) head_only: bool,
    /// An upgrade was offered: 101 is an answer.
    pub(crate) upgrade: bool,
}

/// The head of a response, read where it lies.
#[derive(Debug)]
pub(crate) struct Response<'h, 'b> {
    head: &'b [u8],
    status: u16,
    headers: &'h [Header<'b>],
    framing: Framing,
    /// Whether `Transfer-Encoding: chunked` is said, which for an answer to HEAD means no body.
    says_chunked: bool,
    length: Option<u64>,
    keep_alive: bool,
    upgrade: Option<&'b [u8]>,
    own: Lines,
    is_private: bool,
}

/// The bytes are no response that has one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'h, 'b> Response<'h, 'b> {
    /// Reads the head at the front of `bytes`; `None`: it is not complete.
    ///
    /// # Errors
    /// [`Malformed`]: also when the head is larger than the limits say.
    pub(crate) fn parse(
        bytes: &'b [u8],
        room: &'h mut Room<'b>,
        limits: &Limits,
        asked: Asked,
    ) -> Result<Option<Self>, Malformed> {
        // `httparse` skips empty lines, but only a client may send those (RFC 9112 §2.2).
        if bytes.first().is_some_and(|&byte| byte != b'H') {
            return Err(Malformed);
        }
        let mut parsed = httparse::Response::new(&mut []);
        let headers_max = limits.headers_max.min(HEADERS_MAX);
        let room = room.get_mut(..headers_max).unwrap_or_default();
        let parsed_length = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, bytes, room)
            .map_err(|_| Malformed)?;
        let length = match parsed_length {
            Status::Complete(length) if length <= limits.head_bytes_max => length,
            Status::Partial if bytes.len() < limits.head_bytes_max => return Ok(None),
            _ => return Err(Malformed),
        };
        let head = bytes.get(..length).ok_or(Malformed)?;
        let (Some(status @ 100..=599), Some(version)) = (parsed.code, parsed.version) else {
            return Err(Malformed);
        };
        if has_bare_lf(head, parsed.headers) {
            return Err(Malformed);
        }
        let mut response = Self {
            head,
            status,
            headers: parsed.headers,
            framing: Framing::None,
            says_chunked: false,
            length: None,
            keep_alive: false,
            upgrade: None,
            own: Lines::default(),
            is_private: false,
        };
        let version = if version == 0 {
            Version::Http10
        } else {
            Version::Http11
        };
        response.read_fields(version, asked)?;
        Ok(Some(response))
    }

    fn read_fields(&mut self, version: Version, asked: Asked) -> Result<(), Malformed> {
        let mut options = ConnectionOptions::default();
        let mut coding = None;
        for (index, header) in self.headers.iter().enumerate() {
            let value = header.value;
            match field(header.name.as_bytes()) {
                Field::Connection => {
                    self.own.insert(index);
                    options.read(value).map_err(|_| Malformed)?;
                }
                Field::KeepAlive | Field::ProxyConnection => self.own.insert(index),
                Field::Upgrade => {
                    self.own.insert(index);
                    self.upgrade = Some(value);
                }
                Field::TransferEncoding => {
                    self.own.insert(index);
                    if coding.replace(value).is_some() {
                        return Err(Malformed);
                    }
                }
                Field::ContentLength => {
                    self.own.insert(index);
                    // The same length said several times is one length (RFC 9110 §8.6).
                    for stated in value.split(|&byte| byte == b',') {
                        let stated = content_length(stated.trim_ascii()).ok_or(Malformed)?;
                        if self.length.replace(stated).is_some_and(|before| before != stated) {
                            return Err(Malformed);
                        }
                    }
                }
                Field::CacheControl => {
                    self.is_private |= elements(value).any(|directive| {
                        directive.eq_ignore_ascii_case(b"private")
                            || directive.eq_ignore_ascii_case(b"no-store")
                            || directive.eq_ignore_ascii_case(b"no-cache")
                    });
                }
                _ => {}
            }
        }
        if let Some(coding) = coding {
            // We offer no other coding (RFC 9110 §10.1.4), and HTTP/1.0 has none. Both framings at once
            // are a sign of response splitting (RFC 9112 §6.3).
            if version == Version::Http10 || self.length.is_some() || !coding.eq_ignore_ascii_case(b"chunked")
            {
                return Err(Malformed);
            }
            self.says_chunked = true;
        }
        if self.status == 101 && !(asked.upgrade && options.upgrade && self.upgrade.is_some()) {
            return Err(Malformed);
        }
        if self.status < 200 || self.status == 204 {
            // RFC 9110 §8.6, RFC 9112 §6.1: such a response says neither. What follows it is not trusted.
            options.close |=
                (self.length.is_some_and(|length| length > 0) || self.says_chunked) && self.status != 101;
            self.length = None;
            self.says_chunked = false;
        }
        self.framing = match (self.status, self.says_chunked, self.length) {
            (100..=199 | 204 | 304, ..) => Framing::None,
            _ if asked.head_only => Framing::None,
            (_, true, _) => Framing::Chunked,
            (_, _, Some(length)) => Framing::Length(length),
            (_, _, None) => Framing::UntilClose,
        };
        self.keep_alive = self.framing != Framing::UntilClose
            && !options.close
            && (version == Version::Http11 || options.keep_alive);
        self.own = self.own.with(options.named_lines(self.headers));
        Ok(())
    }

    /// Bytes of the head, its last empty line included.
    pub(crate) fn length(&self) -> usize {
        self.head.len()
    }

    /// 100 to 599.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Status code, reason phrase and CR LF as they were sent.
    pub(crate) fn status_line_rest(&self) -> &'b [u8] {
        let end = self.raw_lines().line_start(0);
        self.head.get(b"HTTP/1.1 ".len()..end).unwrap_or_default()
    }

    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the head says `chunked`, be there a body or not (HEAD, 304).
    pub(crate) fn says_chunked(&self) -> bool {
        self.says_chunked
    }

    /// The length that the head says, be there a body or not (HEAD, 304).
    pub(crate) fn stated_length(&self) -> Option<u64> {
        self.length
    }

    /// Whether the instance keeps the connection for another request.
    pub(crate) fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Protocols that the instance names: the new one (101), or those that it wants (426).
    pub(crate) fn upgrade(&self) -> Option<&'b [u8]> {
        self.upgrade
    }

    /// Whether the response says itself that it is not for shared caches.
    pub(crate) fn is_private(&self) -> bool {
        self.is_private
    }

    /// Lines that are for this hop, or that the gateway writes itself.
    pub(crate) fn own_lines(&self) -> Lines {
        self.own
    }

    pub(crate) fn raw_lines(&self) -> RawLines<'h, 'b> {
        RawLines {
            head: self.head,
            headers: self.headers,
        }
    }
}
