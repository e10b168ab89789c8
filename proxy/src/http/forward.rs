//! Heads as they are passed on: of a request to the instance, of a response to the client.
//!
//! **Job.** Copy header lines as they lie in the buffer, leave out those that are for one hop only
//! (RFC 9110 §7.6.1), add those that a gateway adds.
//!
//! **Invariants.** The framing of what is passed on is always said by lines of our own or by a single line
//! that was checked; what was ambiguous never came this far. Nothing is allocated if `out` has room.
//!
//! **Absent.** No decision: what to strip and to add is said by the caller.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use super::{
    framing::Framing,
    head::{Lines, Request, Response, Version},
};
use crate::{config::Announce, worker::Context};

mod client;

pub(crate) use client::{Trust, client};

/// What is known of a request besides its head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The client as the socket, or the PROXY protocol, says.
    pub(crate) client: IpAddr,
    /// Where the client connected to.
    pub(crate) local: SocketAddr,
    /// The request came by the listener for virtual hosts.
    pub(crate) virtual_host: bool,
    /// The client's side is encrypted.
    pub(crate) secure: bool,
    /// What the request says of the way it came is not to be believed.
    pub(crate) distrusted: bool,
    /// Lines that are added besides.
    pub(crate) announce: Announce,
    /// By what a trace begins; used only if one is to begin.
    pub(crate) random: [u64; 3],
}

impl Origin {
    /// A request that came from `client` (the last hop) to `local`, by the proxy's settings.
    pub(crate) fn of(context: &Context, client: IpAddr, local: SocketAddr, secure: bool) -> Self {
        let config = &context.config;
        let random = if config.announce.begin_trace {
            std::array::from_fn(|_| context.random())
        } else {
            [0; 3]
        };
        Self {
            client,
            local,
            virtual_host: false,
            secure,
            distrusted: Trust::of(&config.trusted_proxies, client) == Trust::Distrusted,
            announce: config.announce,
            random,
        }
    }
}

/// Tells by its name whether a cookie is one of ours.
pub(crate) type IsOwnCookie<'f> = &'f dyn Fn(&[u8]) -> bool;

/// Writes the head of a request for an instance. `is_own_cookie`: which cookies the instance must not see;
/// `None` if none is ours.
pub(crate) fn request(
    out: &mut Vec<u8>,
    request: &Request<'_, '_>,
    origin: Origin,
    is_own_cookie: Option<IsOwnCookie<'_>>,
) {
    out.extend_from_slice(request.method());
    out.extend_from_slice(if request.is_rooted() { b" " } else { b" /" });
    out.extend_from_slice(request.target());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    match (request.authority(), request.host()) {
        (Some(authority), _) => line(out, b"Host: ", authority),
        (None, Some(_)) => {}
        // HTTP/1.1 must have one; what the client connected to is what it meant (RFC 9110 §7.1).
        (None, None) => text_line(out, "Host: ", origin.local),
    }
    let mut without = request.own_lines();
    if origin.distrusted {
        without = without.with(request.forwarded_lines());
    }
    if origin.virtual_host {
        without = without.with(request.forwarded_port_lines());
    }
    let cookies = request.cookie_lines();
    match is_own_cookie {
        Some(is_own) if !cookies.is_empty() => {
            request
                .raw_lines()
                .for_each_run(without.with(cookies), |run| out.extend_from_slice(run));
            cookie_lines(out, request, cookies, without, is_own);
        }
        _ => request
            .raw_lines()
            .for_each_run(without, |run| out.extend_from_slice(run)),
    }
    if request.framing() == Framing::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    match (request.upgrade(), request.accepts_trailers()) {
        (Some(protocols), false) => {
            out.extend_from_slice(b"Connection: upgrade\r\n");
            line(out, b"Upgrade: ", protocols);
        }
        (Some(protocols), true) => {
            out.extend_from_slice(b"Connection: upgrade, TE\r\nTE: trailers\r\n");
            line(out, b"Upgrade: ", protocols);
        }
        (None, true) => out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n"),
        (None, false) => {}
    }
    out.extend_from_slice(b"X-Forwarded-For: ");
    address(out, origin.client);
    out.extend_from_slice(b"\r\n");
    let scheme = if origin.secure { "https" } else { "http" };
    if origin.distrusted || !request.has_forwarded_proto() {
        out.extend_from_slice(b"X-Forwarded-Proto: ");
        out.extend_from_slice(scheme.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if origin.virtual_host {
        text_line(out, "X-Forwarded-Port: ", origin.local.port());
    }
    if origin.announce != Announce::default() {
        announce(out, request, &origin, scheme);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the lines that are wanted besides the usual ones.
fn announce(out: &mut Vec<u8>, request: &Request<'_, '_>, origin: &Origin, scheme: &str) {
    let wanted = origin.announce;
    if wanted.host_and_port {
        let is_said = !origin.distrusted && !request.forwarded_port_lines().is_empty();
        if !origin.virtual_host && !is_said {
            text_line(out, "X-Forwarded-Port: ", origin.local.port());
        }
        if let Some(host) = request.host()
            && (origin.distrusted || !request.has_forwarded_host())
        {
            line(out, b"X-Forwarded-Host: ", host);
        }
    }
    if wanted.forwarded {
        // RFC 7239 §6: IPv6 in brackets, and quoted for the colons.
        let (open, close) = match origin.client.to_canonical() {
            IpAddr::V4(_) => ("", ""),
            IpAddr::V6(_) => ("\"[", "]\""),
        };
        out.extend_from_slice(b"Forwarded: for=");
        out.extend_from_slice(open.as_bytes());
        address(out, origin.client);
        out.extend_from_slice(close.as_bytes());
        if let Some(host) = request.host() {
            out.extend_from_slice(b";host=\"");
            for byte in host {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(*byte);
            }
            out.push(b'"');
        }
        text_line(out, ";proto=", scheme);
    }
    if wanted.via {
        out.extend_from_slice(match request.version() {
            Version::Http10 => b"Via: 1.0 weir\r\n",
            Version::Http11 => b"Via: 1.1 weir\r\n",
        });
    }
    if wanted.begin_trace && !request.has_traceparent() {
        let [high, low, parent] = origin.random;
        // Neither id may be zero. The flag says that it is to be recorded: who is asked to begin traces wants them.
        text_line(
            out,
            "traceparent: ",
            format_args!("00-{high:016x}{:016x}-{:016x}-01", low | 1, parent | 1),
        );
    }
}

/// Writes the cookies that are not ours, line by line.
fn cookie_lines(
    out: &mut Vec<u8>,
    request: &Request<'_, '_>,
    cookies: Lines,
    without: Lines,
    is_own: IsOwnCookie<'_>,
) {
    for index in cookies.iter().filter(|index| !without.contains(*index)) {
        let (name, value) = request.header(index);
        let mut is_begun = false;
        for pair in value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii) {
            let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let cookie = pair.get(..end).unwrap_or_default().trim_ascii_end();
            if pair.is_empty() || is_own(cookie) {
                continue;
            }
            if is_begun {
                out.extend_from_slice(b"; ");
            } else {
                out.extend_from_slice(name);
                out.extend_from_slice(b": ");
                is_begun = true;
            }
            out.extend_from_slice(pair);
        }
        if is_begun {
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// What the client gets besides what the instance says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// The client's version.
    pub(crate) version: Version,
    /// Whether the connection to the client goes on after this response.
    pub(crate) keep_alive: bool,
}

/// Writes the head of a final response, or of 101, for the client.
pub(crate) fn response<'c>(
    out: &mut Vec<u8>,
    response: &Response<'_, '_>,
    answered: Answered,
    set_cookies: impl Iterator<Item = &'c [u8]>,
) {
    informational(out, response);
    let mut is_set = false;
    for cookie in set_cookies {
        line(out, b"Set-Cookie: ", cookie);
        is_set = true;
    }
    if is_set && !response.is_private() {
        // A shared cache would hand one client's cookie to all.
        out.extend_from_slice(b"Cache-Control: private\r\n");
    }
    if let Some(length) = response.stated_length() {
        text_line(out, "Content-Length: ", length);
    } else if response.says_chunked() && answered.version == Version::Http11 {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    match (response.status(), response.upgrade()) {
        (101, Some(protocol)) => {
            out.extend_from_slice(b"Connection: upgrade\r\n");
            line(out, b"Upgrade: ", protocol);
        }
        // RFC 9110 §15.5.22: 426 must name what is wanted.
        (426, Some(protocols)) => {
            out.extend_from_slice(if answered.keep_alive {
                b"Connection: upgrade\r\n"
            } else {
                b"Connection: close, upgrade\r\n"
            });
            line(out, b"Upgrade: ", protocols);
        }
        _ => match (answered.keep_alive, answered.version) {
            (true, Version::Http11) => {}
            (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        },
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an interim response but its last empty line.
pub(crate) fn informational(out: &mut Vec<u8>, response: &Response<'_, '_>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(response.status_line_rest());
    response
        .raw_lines()
        .for_each_run(response.own_lines(), |run| out.extend_from_slice(run));
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn text_line(out: &mut Vec<u8>, name: &str, value: impl std::fmt::Display) {
    write!(out, "{name}{value}\r\n").expect("a vector takes all");
}

/// An address as text. IPv4, by far the most frequent, without the formatting machinery.
fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                if octet >= 100 {
                    out.push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    out.push(b'0' + octet / 10 % 10);
                }
                out.push(b'0' + octet % 10);
            }
        }
        address @ IpAddr::V6(_) => write!(out, "{address}").expect("a vector takes all"),
    }
}

#[cfg(test)]
mod tests;
