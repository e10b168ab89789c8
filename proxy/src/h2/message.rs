//! What both sides of the proxy have of a stream: a message that comes as frames and is read as HTTP/1.1, and one that is
//! written as HTTP/1.1 and leaves as frames.
//!
//! Heads differ, and are with whoever implements [`Message`]; bodies, trailers and flow control are here.

use std::{
    io::{self, Write as _},
    task::{Context, Poll, Waker, ready},
};

use ::h2::{RecvStream, SendStream};
use bytes::{Buf as _, Bytes};
use tokio::io::ReadBuf;

use super::fields;
use crate::http::framing::{Chunked, Framing, Step};

/// Longest head in bytes that is taken: what the other side may say and what is added to it.
pub(crate) const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Most bytes that wait for the peer to take them, at a time.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// How the body follows the head that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// There is none.
    None,
    /// As it is: its length was told.
    Plain,
    /// In chunks.
    Chunked,
}

/// A stream as one message each way.
pub(crate) trait Message {
    /// What comes.
    fn incoming(&mut self) -> &mut Incoming;

    /// Gets more of what comes; `false`: there is no more.
    fn poll_more(&mut self, task: &mut Context<'_>) -> Poll<io::Result<bool>>;

    /// Takes some of what leaves; how many bytes.
    fn poll_take(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Reads as much as is there.
    fn poll_fill(&mut self, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        while into.remaining() > 0 {
            if self.incoming().read(into) {
                continue;
            }
            match self.poll_more(task) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => break,
                Poll::Pending | Poll::Ready(Err(_)) if into.filled().len() > before => break,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes as much as there is room for.
    fn poll_take_all(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        while let Some(rest @ [_, ..]) = bytes.get(taken..) {
            match self.poll_take(task, rest) {
                Poll::Ready(Ok(count)) => taken += count,
                Poll::Pending | Poll::Ready(Err(_)) if taken > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(taken))
    }
}

/// The message that comes.
pub(crate) struct Incoming {
    /// Read by nobody yet: a head, or the framing of chunks.
    text: Bytes,
    /// Read by nobody yet, behind that.
    data: Bytes,
    body: Option<RecvStream>,
    framing: Body,
    stage: Stage,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Data,
    Trailers,
    End,
}

impl Incoming {
    /// One whose head is still to come.
    pub(crate) fn awaited() -> Self {
        Self {
            text: Bytes::new(),
            data: Bytes::new(),
            body: None,
            framing: Body::None,
            stage: Stage::Head,
        }
    }

    /// Its head came, and its body will.
    pub(crate) fn begin(&mut self, head: Vec<u8>, framing: Body, body: RecvStream) {
        self.text = head.into();
        self.body = Some(body);
        self.framing = framing;
        self.stage = if framing == Body::None {
            Stage::End
        } else {
            Stage::Data
        };
    }

    /// What is read next, before anything else.
    pub(crate) fn say(&mut self, text: impl Into<Bytes>) {
        self.text = text.into();
    }

    /// No more comes. What was said is still read.
    pub(crate) fn end(&mut self) {
        self.stage = Stage::End;
    }

    /// No more is wanted.
    pub(crate) fn close(&mut self) {
        self.text.clear();
        self.end();
    }

    /// Whether all of it came.
    pub(crate) fn is_at_end(&self) -> bool {
        self.stage == Stage::End
    }

    /// Gives what is there; `false`: nothing is.
    fn read(&mut self, into: &mut ReadBuf<'_>) -> bool {
        if !self.text.is_empty() {
            let count = self.text.len().min(into.remaining());
            into.put_slice(&self.text.split_to(count));
            return true;
        }
        if self.data.is_empty() {
            return false;
        }
        let count = self.data.len().min(into.remaining());
        into.put_slice(self.data.get(..count).unwrap_or_default());
        self.data.advance(count);
        self.release(count);
        if self.data.is_empty() && self.framing == Body::Chunked {
            self.text = Bytes::from_static(b"\r\n");
        }
        true
    }

    /// Gets more behind the head; `false`: there is no more.
    pub(crate) fn poll_more(&mut self, task: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(body) = &mut self.body else {
            // Whoever asks before there is a head is woken with the head.
            return match self.stage {
                Stage::End => Poll::Ready(Ok(false)),
                Stage::Head | Stage::Data | Stage::Trailers => Poll::Pending,
            };
        };
        loop {
            match self.stage {
                Stage::End => return Poll::Ready(Ok(false)),
                Stage::Head => return Poll::Pending,
                Stage::Data => match ready!(body.poll_data(task)) {
                    Some(Ok(data)) if data.is_empty() => {}
                    Some(Ok(data)) => {
                        if self.framing == Body::Chunked {
                            self.text = format!("{:x}\r\n", data.len()).into();
                        }
                        self.data = data;
                        return Poll::Ready(Ok(true));
                    }
                    Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                    None => self.stage = Stage::Trailers,
                },
                Stage::Trailers => {
                    let trailers = ready!(body.poll_trailers(task)).map_err(io::Error::other)?;
                    self.stage = Stage::End;
                    if self.framing != Body::Chunked {
                        continue;
                    }
                    let mut end = Vec::new();
                    end.write_all(b"0\r\n")?;
                    fields::trailers(&trailers.unwrap_or_default(), &mut end).map_err(|_| invalid())?;
                    self.text = end.into();
                    return Poll::Ready(Ok(true));
                }
            }
        }
    }

    /// Tells the peer that so much more may come.
    fn release(&mut self, count: usize) {
        if let Some(body) = &mut self.body {
            // Cannot fail: no more than was received. If the stream is gone the next reading tells it.
            let _ = body.flow_control().release_capacity(count);
        }
    }

    /// Whether all of it came, read or not. Nobody reads more: what was not read is let go.
    pub(crate) fn has_ended(&mut self) -> bool {
        if self.is_at_end() {
            return true;
        }
        let Some(body) = &mut self.body else {
            return false;
        };
        let mut task = Context::from_waker(Waker::noop());
        loop {
            match body.poll_data(&mut task) {
                Poll::Ready(None) => return true,
                Poll::Ready(Some(Ok(data))) => {
                    // As in `release`.
                    let _ = body.flow_control().release_capacity(data.len());
                }
                Poll::Pending | Poll::Ready(Some(Err(_))) => return false,
            }
        }
    }

    /// Gives up what nobody will read: the window of the connection must not shrink by it.
    pub(crate) fn abandon(&mut self) {
        let count = std::mem::take(&mut self.data).len();
        if count > 0 {
            self.release(count);
        }
    }
}

/// The message that leaves: what is next of it.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Its head.
    Head,
    /// So many bytes.
    Length(u64),
    /// Chunks; with the framing since the last data, which at the end holds the trailer section.
    Chunked(Chunked, Vec<u8>),
    /// All until its writer closes.
    UntilClose,
    /// Nothing.
    Done,
}

impl Outgoing {
    /// What is next after a head.
    pub(crate) fn behind(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::default(), Vec::new()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes some of the body; how many bytes. A body that is over takes all and sends nothing.
    pub(crate) fn poll_take(
        &mut self,
        stream: &mut SendStream<Bytes>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Head => Poll::Ready(Err(invalid())),
            Self::Done => Poll::Ready(Ok(bytes.len())),
            Self::Length(left) => {
                let wanted = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                let count = ready!(poll_room(stream, task, wanted))?;
                *left -= count as u64;
                let is_last = *left == 0;
                if is_last {
                    *self = Self::Done;
                }
                let sent = send(stream, bytes.get(..count).unwrap_or_default(), is_last);
                Poll::Ready(sent.map(|()| count))
            }
            Self::UntilClose => {
                let count = ready!(poll_room(stream, task, bytes.len()))?;
                let sent = send(stream, bytes.get(..count).unwrap_or_default(), false);
                Poll::Ready(sent.map(|()| count))
            }
            Self::Chunked(chunked, framing) => {
                let mut next = *chunked;
                match next.step(bytes).map_err(|_| invalid())? {
                    Step::Framing(count) => {
                        framing.extend_from_slice(bytes.get(..count).unwrap_or_default());
                        *chunked = next;
                        Poll::Ready(Ok(count))
                    }
                    Step::Data(count) => {
                        let count = ready!(poll_room(stream, task, count))?;
                        let data = bytes.get(..count).unwrap_or_default();
                        chunked.step(data).map_err(|_| invalid())?;
                        framing.clear();
                        Poll::Ready(send(stream, data, false).map(|()| count))
                    }
                    Step::End(count) => {
                        framing.extend_from_slice(bytes.get(..count).unwrap_or_default());
                        let trailers = fields::trailer_fields(trailer_section(framing));
                        *self = Self::Done;
                        let sent = if trailers.is_empty() {
                            send(stream, &[], true)
                        } else {
                            stream.send_trailers(trailers).map_err(io::Error::other)
                        };
                        Poll::Ready(sent.map(|()| count))
                    }
                }
            }
        }
    }
}

/// The error of a message that has no reading.
pub(crate) fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// Sends data for which there is room.
pub(crate) fn send(stream: &mut SendStream<Bytes>, data: &[u8], is_last: bool) -> io::Result<()> {
    stream
        .send_data(Bytes::copy_from_slice(data), is_last)
        .map_err(io::Error::other)
}

/// How many bytes a stream takes now, of those wanted.
fn poll_room(
    stream: &mut SendStream<Bytes>,
    task: &mut Context<'_>,
    wanted: usize,
) -> Poll<io::Result<usize>> {
    let wanted = wanted.min(PIECE_BYTES_MAX);
    stream.reserve_capacity(wanted);
    loop {
        let room = stream.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room.min(wanted)));
        }
        match ready!(stream.poll_capacity(task)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

/// The trailer section in the last framing of a chunked body: what follows the line of the last chunk.
fn trailer_section(framing: &[u8]) -> &[u8] {
    // The line end of the data before, if any.
    let framing = framing.strip_prefix(b"\r\n").unwrap_or(framing);
    let line = memchr::memchr(b'\n', framing).map_or(framing.len(), |end| end + 1);
    framing.get(line..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::trailer_section;

    #[test]
    fn the_trailer_section_is_what_follows_the_last_chunk_line() {
        for (framing, section) in [
            ("\r\n0\r\nA: b\r\n\r\n", "A: b\r\n\r\n"),
            ("0\r\n\r\n", "\r\n"),
            ("\r\n0;x=y\r\nA: b\r\nC: d\r\n\r\n", "A: b\r\nC: d\r\n\r\n"),
        ] {
            assert_eq!(trailer_section(framing.as_bytes()), section.as_bytes());
        }
    }
}
