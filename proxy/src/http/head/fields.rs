//! Header fields that concern the connection or the framing, and what their values may be.

use super::{HEADERS_MAX, Lines};
use crate::http::framing::is_token;

/// Most connection options besides the common ones (RFC 9110 §7.6.1) that a head may have.
const NAMED_MAX: usize = 16;

/// Fields that mean something to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Host,
    Connection,
    KeepAlive,
    ProxyConnection,
    Te,
    Upgrade,
    TransferEncoding,
    ContentLength,
    Cookie,
    Expect,
    Forwarded,
    ForwardedFor,
    ForwardedHost,
    ForwardedProto,
    ForwardedPort,
    Traceparent,
    CacheControl,
    Http2Settings,
    Other,
}

/// By length first: most names are told apart without looking at them.
pub(super) fn field(name: &[u8]) -> Field {
    let is = |candidate: &str, field| {
        if name.eq_ignore_ascii_case(candidate.as_bytes()) {
            field
        } else {
            Field::Other
        }
    };
    match name.len() {
        2 => is("te", Field::Te),
        4 => is("host", Field::Host),
        6 => match name.first() {
            Some(b'c' | b'C') => is("cookie", Field::Cookie),
            _ => is("expect", Field::Expect),
        },
        7 => is("upgrade", Field::Upgrade),
        9 => is("forwarded", Field::Forwarded),
        10 => match name.first() {
            Some(b'c' | b'C') => is("connection", Field::Connection),
            _ => is("keep-alive", Field::KeepAlive),
        },
        11 => is("traceparent", Field::Traceparent),
        13 => is("cache-control", Field::CacheControl),
        14 => match name.first() {
            Some(b'c' | b'C') => is("content-length", Field::ContentLength),
            _ => is("http2-settings", Field::Http2Settings),
        },
        15 => is("x-forwarded-for", Field::ForwardedFor),
        16 => match (name.first(), name.get(12)) {
            (Some(b'p' | b'P'), _) => is("proxy-connection", Field::ProxyConnection),
            (_, Some(b'h' | b'H')) => is("x-forwarded-host", Field::ForwardedHost),
            _ => is("x-forwarded-port", Field::ForwardedPort),
        },
        17 => match name.first() {
            Some(b't' | b'T') => is("transfer-encoding", Field::TransferEncoding),
            _ => is("x-forwarded-proto", Field::ForwardedProto),
        },
        _ => Field::Other,
    }
}

/// Elements of a comma-separated list, trimmed, empty ones left out (RFC 9110 §5.6.1).
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// The options of all `Connection` lines of a head.
#[derive(Debug, Default)]
pub(super) struct ConnectionOptions<'b> {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    named: [&'b [u8]; NAMED_MAX],
    named_count: usize,
}

/// An option that is no token, or too many of them.
#[derive(Debug)]
pub(super) struct BadOption;

impl<'b> ConnectionOptions<'b> {
    /// Reads one `Connection` line.
    pub(super) fn read(&mut self, value: &'b [u8]) -> Result<(), BadOption> {
        for option in elements(value) {
            match option.len() {
                5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                _ if !option.iter().copied().all(is_token) => return Err(BadOption),
                _ => {
                    *self.named.get_mut(self.named_count).ok_or(BadOption)? = option;
                    self.named_count += 1;
                }
            }
        }
        Ok(())
    }

    /// The lines that the options name, which are for this hop only. Fields on which the reading of the
    /// message depends cannot be named away: each of them is checked and written by the gateway itself.
    pub(super) fn named_lines(&self, headers: &[httparse::Header<'_>]) -> Lines {
        let mut lines = Lines::default();
        let named = self.named.get(..self.named_count).unwrap_or_default();
        if named.is_empty() {
            return lines;
        }
        for (index, header) in headers.iter().enumerate().take(HEADERS_MAX) {
            let name = header.name.as_bytes();
            let kept = matches!(
                field(name),
                Field::Host | Field::ContentLength | Field::TransferEncoding
            );
            if !kept && named.iter().any(|named| named.eq_ignore_ascii_case(name)) {
                lines.insert(index);
            }
        }
        lines
    }
}

/// `Content-Length` of a message: `1*DIGIT`, countable.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    let mut length: u64 = 0;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return None;
        }
        // Nineteen digits fit.
        length = length * 10 + u64::from(byte - b'0');
    }
    i64::try_from(length).is_ok().then_some(length)
}
