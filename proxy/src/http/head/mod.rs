//! Heads of messages (RFC 9112 §2 to §6), read where they lie in the buffer.
//!
//! **Job.** [`Request::parse`] and [`Response::parse`] give a borrowed view of a head, or say why there is
//! none. What they accept has exactly one reading.
//!
//! **Invariants.** Header lines of an accepted head lie one after the other in the buffer, each ended by
//! CR LF, so a run of them can be passed on as it is. A set bit in a [`Lines`] is the index of a line. No
//! allocation; the views live on the stack and never across an await.
//!
//! **Absent.** No body (see `framing`), no writing (see `forward`), no header map.

mod fields;
mod host;
mod request;
mod response;
#[cfg(test)]
mod tests;

use httparse::Header;

pub(crate) use self::{
    request::{Request, room},
    response::{Asked, Response},
};

/// Most header lines that a head can have, whatever the configuration says.
pub(crate) const HEADERS_MAX: usize = 100;

/// Versions spoken on this lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// As it is written in a request line.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// A set of header lines, by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines(u128);

impl Lines {
    /// Adds the line at `index`, below [`HEADERS_MAX`].
    pub(crate) fn insert(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    pub(crate) fn contains(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Indices in ascending order.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (index < 128).then_some(index as usize)
        })
    }
}

/// Where a slice of the head begins in it.
fn offset_in(head: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(head.as_ptr() as usize)
}

/// The header lines of a head as they lie in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawLines<'h, 'b> {
    head: &'b [u8],
    headers: &'h [Header<'b>],
}

impl<'b> RawLines<'_, 'b> {
    /// The lines but those of `without`, as runs of neighbours.
    pub(crate) fn for_each_run(&self, without: Lines, mut take: impl FnMut(&'b [u8])) {
        let mut begin = 0;
        for skipped in without.iter() {
            self.run(begin, skipped, &mut take);
            begin = skipped + 1;
        }
        self.run(begin, self.headers.len(), &mut take);
    }

    fn run(&self, begin: usize, end: usize, take: &mut impl FnMut(&'b [u8])) {
        if begin < end {
            let (begin, end) = (self.line_start(begin), self.line_start(end));
            take(self.head.get(begin..end).unwrap_or_default());
        }
    }

    /// Where the line at `index` begins; for the index after the last: the empty line.
    fn line_start(&self, index: usize) -> usize {
        match self.headers.get(index) {
            Some(header) => offset_in(self.head, header.name.as_bytes()),
            None => self.head.len().saturating_sub(2),
        }
    }
}

/// Whether a line of the head ends with LF alone, which `httparse` takes for an end of line and other recipients
/// may take for part of a value (RFC 9112 §2.2). Within a line there is no LF, so only the ends are looked at.
fn has_bare_lf(head: &[u8], headers: &[Header<'_>]) -> bool {
    !head.ends_with(b"\r\n\r\n")
        || headers.iter().any(|header| {
            let start = offset_in(head, header.name.as_bytes());
            head.get(start.saturating_sub(2)..start) != Some(b"\r\n")
        })
}
