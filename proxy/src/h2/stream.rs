//! One stream as a client of HTTP/1.1 with one request.

use std::{
    cell::RefCell,
    fmt,
    io::{self, Write as _},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use ::h2::{Reason, RecvStream, SendStream, server::SendResponse};
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::fields::{self, Body};
use crate::{
    config::Limits,
    http::{
        Downstream,
        framing::{Chunked, Framing, Step},
        head::{Asked, HEADERS_MAX, Response, room},
    },
};

/// Longest head of an answer in bytes: what an instance may say and what is added to it.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Most bytes that wait for the client to take them, at a time.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// The sending half, shared with whoever watches for a reset.
pub(super) enum Sender {
    /// No answer was sent.
    Waiting(SendResponse<Bytes>),
    /// Its head was sent.
    Sending(SendStream<Bytes>),
}

impl Sender {
    /// Ready when the client wants no answer any more.
    pub(super) fn poll_gone(&mut self, task: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Waiting(respond) => respond.poll_reset(task).map(drop),
            Self::Sending(stream) => stream.poll_reset(task).map(drop),
        }
    }

    fn reset(&mut self, reason: Reason) {
        match self {
            Self::Waiting(respond) => respond.send_reset(reason),
            Self::Sending(stream) => stream.send_reset(reason),
        }
    }
}

/// See the module.
pub(super) struct Stream {
    is_secure: bool,
    /// Written by nobody yet: the head, then the framing of chunks.
    text: Bytes,
    body: RecvStream,
    framing: Body,
    data: Bytes,
    upload: Upload,
    sender: Rc<RefCell<Sender>>,
    is_head_request: bool,
    answer: Answer,
    is_cut: std::cell::Cell<bool>,
}

/// What comes next of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    Data,
    Trailers,
    End,
}

/// What comes next of the answer.
enum Answer {
    /// More of its head, after this.
    Head(Vec<u8>),
    /// So many bytes.
    Length(u64),
    /// Chunks; with the framing since the last data, which at the end holds the trailer section.
    Chunked(Chunked, Vec<u8>),
    /// All until the engine closes.
    UntilClose,
    /// Nothing.
    Done,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("upload", &self.upload)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// `head`: of the request; `framing`: as it says.
    pub(super) fn new(
        is_secure: bool,
        (head, framing, is_head_request): (Vec<u8>, Body, bool),
        body: RecvStream,
        sender: Rc<RefCell<Sender>>,
    ) -> Self {
        Self {
            is_secure,
            text: head.into(),
            body,
            framing,
            data: Bytes::new(),
            upload: if framing == Body::None {
                Upload::End
            } else {
                Upload::Data
            },
            sender,
            is_head_request,
            answer: Answer::Head(Vec::new()),
            is_cut: std::cell::Cell::new(false),
        }
    }

    /// Gets more of the request into `text` or `data`; `false`: there is no more.
    fn poll_more(&mut self, task: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            match self.upload {
                Upload::End => return Poll::Ready(Ok(false)),
                Upload::Data => match ready!(self.body.poll_data(task)) {
                    Some(Ok(data)) if data.is_empty() => {}
                    Some(Ok(data)) => {
                        if self.framing == Body::Chunked {
                            self.text = format!("{:x}\r\n", data.len()).into();
                        }
                        self.data = data;
                        return Poll::Ready(Ok(true));
                    }
                    Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                    None => self.upload = Upload::Trailers,
                },
                Upload::Trailers => {
                    let trailers = ready!(self.body.poll_trailers(task)).map_err(io::Error::other)?;
                    self.upload = Upload::End;
                    if self.framing != Body::Chunked {
                        continue;
                    }
                    let mut end = Vec::new();
                    end.write_all(b"0\r\n")?;
                    fields::trailers(&trailers.unwrap_or_default(), &mut end)
                        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                    self.text = end.into();
                    return Poll::Ready(Ok(true));
                }
            }
        }
    }

    /// Takes some of the answer; how many bytes.
    fn poll_take(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.answer {
            Answer::Head(_) => Poll::Ready(self.take_head(bytes)),
            Answer::Done => Poll::Ready(Ok(bytes.len())),
            Answer::Length(left) => {
                let wanted = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                let count = ready!(poll_room(&self.sender, task, wanted))?;
                *left -= count as u64;
                let is_last = *left == 0;
                if is_last {
                    self.answer = Answer::Done;
                }
                Poll::Ready(
                    self.send(bytes.get(..count).unwrap_or_default(), is_last)
                        .map(|()| count),
                )
            }
            Answer::UntilClose => {
                let count = ready!(poll_room(&self.sender, task, bytes.len()))?;
                Poll::Ready(
                    self.send(bytes.get(..count).unwrap_or_default(), false)
                        .map(|()| count),
                )
            }
            Answer::Chunked(chunked, framing) => {
                let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
                let mut next = *chunked;
                match next.step(bytes).map_err(malformed)? {
                    Step::Framing(count) => {
                        framing.extend_from_slice(bytes.get(..count).unwrap_or_default());
                        *chunked = next;
                        Poll::Ready(Ok(count))
                    }
                    Step::Data(count) => {
                        let count = ready!(poll_room(&self.sender, task, count))?;
                        let data = bytes.get(..count).unwrap_or_default();
                        chunked.step(data).map_err(malformed)?;
                        framing.clear();
                        Poll::Ready(self.send(data, false).map(|()| count))
                    }
                    Step::End(count) => {
                        framing.extend_from_slice(bytes.get(..count).unwrap_or_default());
                        let trailers = trailer_section(framing);
                        let fields = fields::trailer_fields(trailers);
                        self.answer = Answer::Done;
                        let sent = if fields.is_empty() {
                            self.send(&[], true)
                        } else {
                            match &mut *self.sender.borrow_mut() {
                                Sender::Sending(stream) => {
                                    stream.send_trailers(fields).map_err(io::Error::other)
                                }
                                Sender::Waiting(_) => Err(io::ErrorKind::Other.into()),
                            }
                        };
                        Poll::Ready(sent.map(|()| count))
                    }
                }
            }
        }
    }

    fn take_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let Answer::Head(head) = &mut self.answer else {
            return Err(invalid());
        };
        let before = head.len();
        head.extend_from_slice(bytes);
        let limits = Limits {
            head_bytes_max: HEAD_BYTES_MAX,
            headers_max: HEADERS_MAX,
            ..Limits::default()
        };
        let mut room = room();
        let asked = Asked {
            head_only: self.is_head_request,
            upgrade: false,
        };
        let parsed = Response::parse(head, &mut room, &limits, asked).map_err(|_| invalid())?;
        let Some(parsed) = parsed else {
            return Ok(bytes.len());
        };
        let taken = parsed.length().saturating_sub(before);
        let framing = parsed.framing();
        let response = fields::response(&parsed).map_err(|_| invalid())?;
        let mut sender = self.sender.borrow_mut();
        let Sender::Waiting(respond) = &mut *sender else {
            return Err(invalid());
        };
        if response.status().is_informational() {
            respond.send_informational(response).map_err(io::Error::other)?;
            self.answer = Answer::Head(Vec::new());
            return Ok(taken);
        }
        self.answer = match framing {
            Framing::None | Framing::Length(0) => Answer::Done,
            Framing::Length(length) => Answer::Length(length),
            Framing::Chunked => Answer::Chunked(Chunked::default(), Vec::new()),
            Framing::UntilClose => Answer::UntilClose,
        };
        let is_last = matches!(self.answer, Answer::Done);
        let stream = respond
            .send_response(response, is_last)
            .map_err(io::Error::other)?;
        *sender = Sender::Sending(stream);
        Ok(taken)
    }

    fn send(&self, data: &[u8], is_last: bool) -> io::Result<()> {
        match &mut *self.sender.borrow_mut() {
            Sender::Sending(stream) => stream
                .send_data(Bytes::copy_from_slice(data), is_last)
                .map_err(io::Error::other),
            Sender::Waiting(_) => Err(io::ErrorKind::Other.into()),
        }
    }
}

/// How many bytes can be sent now, of those wanted.
fn poll_room(sender: &RefCell<Sender>, task: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
    match &mut *sender.borrow_mut() {
        Sender::Waiting(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        Sender::Sending(stream) => poll_room_of(stream, task, wanted),
    }
}

/// How many bytes a stream takes now, of those wanted.
pub(crate) fn poll_room_of(
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
pub(crate) fn trailer_section(framing: &[u8]) -> &[u8] {
    // The line end of the data before, if any.
    let framing = framing.strip_prefix(b"\r\n").unwrap_or(framing);
    let line = memchr::memchr(b'\n', framing).map_or(framing.len(), |end| end + 1);
    framing.get(line..).unwrap_or_default()
}

impl Downstream for Stream {
    const VERSION: Option<&'static str> = Some("HTTP/2.0");
    const SAYS_END: bool = true;

    fn is_secure(&self) -> bool {
        self.is_secure
    }

    fn reset_on_close(&self) {
        self.is_cut.set(true);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        while into.remaining() > 0 {
            if !this.text.is_empty() {
                let count = this.text.len().min(into.remaining());
                into.put_slice(&this.text.split_to(count));
                continue;
            }
            if !this.data.is_empty() {
                let count = this.data.len().min(into.remaining());
                into.put_slice(this.data.get(..count).unwrap_or_default());
                this.data.advance(count);
                // Cannot fail: no more than was received. If the stream is gone the next reading tells it.
                let _ = this.body.flow_control().release_capacity(count);
                if this.data.is_empty() && this.framing == Body::Chunked {
                    this.text = Bytes::from_static(b"\r\n");
                }
                continue;
            }
            match this.poll_more(task) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => break,
                Poll::Pending | Poll::Ready(Err(_)) if into.filled().len() > before => break,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut taken = 0;
        while let Some(rest @ [_, ..]) = bytes.get(taken..) {
            match this.poll_take(task, rest) {
                Poll::Ready(Ok(count)) => taken += count,
                Poll::Pending | Poll::Ready(Err(_)) if taken > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What the client still sends is not wanted: the stream ends with the answer (RFC 9113 §8.1).
        this.upload = Upload::End;
        this.text.clear();
        if matches!(this.answer, Answer::UntilClose) && !this.is_cut.get() {
            this.answer = Answer::Done;
            return Poll::Ready(this.send(&[], true));
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.data.is_empty() {
            // The window of the connection must not shrink by what nobody reads.
            let _ = self.body.flow_control().release_capacity(self.data.len());
        }
        if !matches!(self.answer, Answer::Done) {
            self.sender.borrow_mut().reset(Reason::INTERNAL_ERROR);
        }
    }
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
