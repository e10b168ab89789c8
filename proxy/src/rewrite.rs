//! Rewrites of paths on the way to an instance (spec of the gateway agent, §3.5).
//!
//! **Job.** The path of a request as it is passed on: the rules of every route on the way, outermost first, each seeing what
//! those before it made. The query stays.
//!
//! **Invariants.** What comes out begins with `/` and has only bytes that a request line may have: others are percent-encoded,
//! so no header of a client can end the line or begin a query. A path longer than [`PATH_BYTES_MAX`] is not made: its rule
//! is passed over. Requests of routes without rewrites never come here.
//!
//! **Absent.** Conditions of gateways further in look at the request as it came; the access log shows it as it came.

use std::net::IpAddr;

use weir_model::{
    PathRewrite,
    condition::Fetch,
    rewrite::{Converter, Piece},
};

use crate::condition::{Compiled, RequestView, sample};

/// Longest path that a rule makes, in bytes.
const PATH_BYTES_MAX: usize = 16 * 1024;

/// The rewrites of a route, compiled.
#[derive(Debug)]
pub(crate) struct Rewrites(Box<[Rule]>);

#[derive(Debug)]
struct Rule {
    condition: Compiled,
    pieces: Box<[Piece]>,
}

impl Rewrites {
    /// `None` if there are none.
    pub(crate) fn of(rewrites: &[PathRewrite]) -> Option<Box<Self>> {
        let rules = rewrites.iter().map(|rewrite| Rule {
            condition: Compiled::of(rewrite.condition()),
            pieces: rewrite.pieces().into(),
        });
        (!rewrites.is_empty()).then(|| Box::new(Self(rules.collect())))
    }
}

/// Rewrites the target of the head that begins at byte `begin` of `out`, as it was written for `request`; a target that is
/// not `rooted` has got its `/` there.
pub(crate) fn apply<'w>(
    out: &mut Vec<u8>,
    begin: usize,
    rooted: bool,
    request: &impl RequestView,
    rewrites: impl Iterator<Item = &'w Rewrites>,
) {
    let slash: &[u8] = if rooted { b"" } else { b"/" };
    let was = [slash, request.target()].concat();
    if !was.starts_with(b"/") {
        return;
    }
    let now = target(&was, request, rewrites);
    let from = begin + request.method().len() + 1;
    let range = from..from + was.len();
    if out.get(range.clone()) == Some(&was[..]) && now != was {
        out.splice(range, now);
    }
}

fn target<'w>(
    was: &[u8],
    request: &impl RequestView,
    rewrites: impl Iterator<Item = &'w Rewrites>,
) -> Vec<u8> {
    let mut target = was.to_vec();
    for rule in rewrites.flat_map(|rewrites| &rewrites.0) {
        let view = Rewritten {
            request,
            target: &target,
        };
        if !rule.condition.matches(&view) {
            continue;
        }
        if let Some(path) = path(&rule.pieces, &view) {
            let query = memchr::memchr(b'?', &target).and_then(|at| target.get(at + 1..));
            target = with_query(path, query);
        }
    }
    target
}

/// The path that a rule makes; `None` if it would be too long.
fn path(pieces: &[Piece], request: &impl RequestView) -> Option<Vec<u8>> {
    let mut path = Vec::new();
    let mut value = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => encode(&mut path, text.as_bytes(), true),
            Piece::Sample(wanted) => {
                value.clear();
                sample::append(&mut value, &wanted.fetch, request);
                for converter in &wanted.converters {
                    value = converted(value, converter)?;
                }
                let may_have_query = matches!(wanted.fetch, Fetch::Path | Fetch::Url);
                encode(&mut path, &value, may_have_query);
            }
        }
        if path.len() > PATH_BYTES_MAX {
            return None;
        }
    }
    if !path.starts_with(b"/") {
        path.insert(0, b'/');
    }
    Some(path)
}

fn converted(mut value: Vec<u8>, converter: &Converter) -> Option<Vec<u8>> {
    match converter {
        Converter::Lower => value.make_ascii_lowercase(),
        Converter::Upper => value.make_ascii_uppercase(),
        Converter::Substitute {
            expression,
            with,
            all,
        } => {
            let count = if *all { usize::MAX } else { 1 };
            let mut new = Vec::new();
            let mut copied = 0;
            for captures in expression.captures_iter(&value).take(count) {
                let Some(whole) = captures.get(0) else { continue };
                new.extend_from_slice(value.get(copied..whole.start()).unwrap_or_default());
                captures.expand(with.as_bytes(), &mut new);
                copied = whole.end();
                // Before the next one, for each may add as much as a rule is long.
                if new.len() > PATH_BYTES_MAX {
                    return None;
                }
            }
            new.extend_from_slice(value.get(copied..).unwrap_or_default());
            value = new;
        }
    }
    (value.len() <= PATH_BYTES_MAX).then_some(value)
}

/// Appends a text with everything encoded that a path cannot have; escapes that are there already stay.
fn encode(out: &mut Vec<u8>, text: &[u8], may_have_query: bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        // RFC 3986 §3.3, and what targets have though they should not; `%` begins an escape.
        let is_plain = byte.is_ascii_graphic() && !matches!(byte, b'#' | b'?' | b'"' | b'<' | b'>' | b'\\')
            || (byte == b'?' && may_have_query);
        if is_plain {
            out.push(byte);
        } else {
            let digit = |index: u8| DIGITS.get(usize::from(index)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// The path with the query that the request had.
fn with_query(mut path: Vec<u8>, query: Option<&[u8]>) -> Vec<u8> {
    if let Some(query) = query {
        let has_own = memchr::memchr(b'?', &path).is_some();
        path.push(if has_own { b'&' } else { b'?' });
        path.extend_from_slice(query);
    }
    path
}

/// A request whose target was rewritten.
struct Rewritten<'r, R> {
    request: &'r R,
    target: &'r [u8],
}

impl<R: RequestView> RequestView for Rewritten<'_, R> {
    fn method(&self) -> &[u8] {
        self.request.method()
    }

    fn target(&self) -> &[u8] {
        self.target
    }

    fn header_count(&self) -> usize {
        self.request.header_count()
    }

    fn header(&self, index: usize) -> (&[u8], &[u8]) {
        self.request.header(index)
    }

    fn source(&self) -> IpAddr {
        self.request.source()
    }

    fn destination(&self) -> IpAddr {
        self.request.destination()
    }

    fn destination_port(&self) -> u16 {
        self.request.destination_port()
    }
}

#[cfg(test)]
mod tests;
