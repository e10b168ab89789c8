//! One stream as a connection of HTTP/1.1 with one request.

use std::{
    fmt,
    future::Future as _,
    io::{self, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::h2::{
    Reason, RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    fields::{self, Body},
    sessions::Lease,
};
use crate::{
    config::Limits,
    h2::{fields as shared, poll_room_of, trailer_section},
    http::{
        framing::{Chunked, Framing, Step},
        head::{HEADERS_MAX, Request, room},
    },
};

/// Longest head of a request in bytes: what a client may say and what is added to it.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// See the module.
pub(crate) struct Stream {
    send: SendRequest<Bytes>,
    is_secure: bool,
    request: Asking,
    answer: Answering,
    /// Read by nobody yet: a head, or the framing of chunks.
    text: Bytes,
    data: Bytes,
    is_head_request: bool,
    /// The instance said that it did not begin with the request.
    is_refused: bool,
    _lease: Lease,
}

/// What comes next of the request.
enum Asking {
    /// More of its head, after this.
    Head(Vec<u8>),
    /// So many bytes.
    Length(SendStream<Bytes>, u64),
    /// Chunks; with the framing since the last data, which at the end holds the trailer section.
    Chunked(SendStream<Bytes>, Chunked, Vec<u8>),
    /// Nothing. The stream is kept: its drop would be a reset.
    Done(Option<SendStream<Bytes>>),
}

/// What comes next of the answer.
enum Answering {
    /// Nothing was asked.
    Nothing,
    /// Its head.
    Head(ResponseFuture),
    /// Its body.
    Data(RecvStream, Body),
    /// What follows the body.
    Trailers(RecvStream, Body),
    /// Nothing.
    End,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("is_refused", &self.is_refused)
            .finish_non_exhaustive()
    }
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

impl Stream {
    pub(super) fn new(send: SendRequest<Bytes>, is_secure: bool, lease: Lease) -> Self {
        Self {
            send,
            is_secure,
            request: Asking::Head(Vec::new()),
            answer: Answering::Nothing,
            text: Bytes::new(),
            data: Bytes::new(),
            is_head_request: false,
            is_refused: false,
            _lease: lease,
        }
    }

    /// Whether the request had no effect whatever it was: it never left, or the instance said so (RFC 9113 §8.7).
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }

    fn note(&mut self, error: &::h2::Error) {
        // A stream beyond the last one that a GOAWAY names, or one that was refused.
        self.is_refused |= matches!(self.answer, Answering::Head(_))
            && error.is_remote()
            && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
    }

    /// Takes some of the request; how many bytes.
    fn poll_take(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.request {
            Asking::Head(_) => self.poll_take_head(task, bytes),
            Asking::Done(_) => Poll::Ready(Ok(bytes.len())),
            Asking::Length(stream, left) => {
                let wanted = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                let count = ready!(poll_room_of(stream, task, wanted))?;
                *left -= count as u64;
                let is_last = *left == 0;
                send(stream, bytes.get(..count).unwrap_or_default(), is_last)?;
                if is_last {
                    self.end_request();
                }
                Poll::Ready(Ok(count))
            }
            Asking::Chunked(stream, chunked, framing) => {
                let mut next = *chunked;
                match next.step(bytes).map_err(|_| invalid())? {
                    Step::Framing(count) => {
                        framing.extend_from_slice(bytes.get(..count).unwrap_or_default());
                        *chunked = next;
                        Poll::Ready(Ok(count))
                    }
                    Step::Data(count) => {
                        let count = ready!(poll_room_of(stream, task, count))?;
                        let data = bytes.get(..count).unwrap_or_default();
                        chunked.step(data).map_err(|_| invalid())?;
                        framing.clear();
                        Poll::Ready(send(stream, data, false).map(|()| count))
                    }
                    Step::End(count) => {
                        framing.extend_from_slice(bytes.get(..count).unwrap_or_default());
                        let trailers = shared::trailer_fields(trailer_section(framing));
                        if trailers.is_empty() {
                            send(stream, &[], true)?;
                        } else {
                            stream.send_trailers(trailers).map_err(io::Error::other)?;
                        }
                        self.end_request();
                        Poll::Ready(Ok(count))
                    }
                }
            }
        }
    }

    fn end_request(&mut self) {
        self.request = match std::mem::replace(&mut self.request, Asking::Done(None)) {
            Asking::Length(stream, _) | Asking::Chunked(stream, ..) => Asking::Done(Some(stream)),
            other => other,
        };
    }

    fn poll_take_head(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // First, so that nothing is taken of a request that cannot leave.
        if let Err(error) = ready!(self.send.poll_ready(task)) {
            self.is_refused = true;
            self.answer = Answering::End;
            return Poll::Ready(Err(io::Error::other(error)));
        }
        let Asking::Head(head) = &mut self.request else {
            return Poll::Ready(Err(invalid()));
        };
        let before = head.len();
        head.extend_from_slice(bytes);
        let limits = Limits {
            head_bytes_max: HEAD_BYTES_MAX,
            request_line_bytes_max: HEAD_BYTES_MAX,
            headers_max: HEADERS_MAX,
            ..Limits::default()
        };
        let mut room = room();
        let asked = match Request::parse(head, &mut room, &limits) {
            Ok(None) => return Poll::Ready(Ok(bytes.len())),
            Ok(Some(asked)) => Some(asked),
            Err(_) => None,
        };
        let request = asked
            .as_ref()
            .and_then(|asked| fields::request(asked, self.is_secure).ok());
        let (Some(asked), Some(request)) = (asked, request) else {
            self.answer = Answering::End;
            return Poll::Ready(Err(invalid()));
        };
        let (taken, framing) = (asked.length().saturating_sub(before), asked.framing());
        let is_whole = fields::is_whole(framing);
        self.is_head_request = asked.method() == b"HEAD";
        let (answer, stream) = match self.send.send_request(request, is_whole) {
            Ok(sent) => sent,
            Err(error) => {
                self.is_refused = true;
                self.answer = Answering::End;
                return Poll::Ready(Err(io::Error::other(error)));
            }
        };
        self.answer = Answering::Head(answer);
        self.request = match framing {
            Framing::Length(length) if length > 0 => Asking::Length(stream, length),
            Framing::Chunked => Asking::Chunked(stream, Chunked::default(), Vec::new()),
            _ => Asking::Done(Some(stream)),
        };
        Poll::Ready(Ok(taken))
    }

    /// Gets more of the answer into `text` or `data`; `false`: there is no more.
    fn poll_more(&mut self, task: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            match &mut self.answer {
                Answering::Nothing => return Poll::Pending,
                Answering::End => return Poll::Ready(Ok(false)),
                Answering::Head(answer) => {
                    if let Poll::Ready(Some(Ok(interim))) = answer.poll_informational(task) {
                        let mut text = Vec::with_capacity(64);
                        let (parts, ()) = interim.into_parts();
                        self.text =
                            match fields::response(parts.status, &parts.headers, true, true, &mut text) {
                                Ok(_) => text.into(),
                                Err(_) => MALFORMED,
                            };
                        return Poll::Ready(Ok(true));
                    }
                    match ready!(Pin::new(answer).poll(task)) {
                        Ok(response) => self.begin_answer(response),
                        Err(error) => {
                            self.note(&error);
                            self.answer = Answering::End;
                            // What is no answer is told apart from none.
                            if error.is_library() && error.reason() == Some(Reason::PROTOCOL_ERROR) {
                                self.text = MALFORMED;
                                return Poll::Ready(Ok(true));
                            }
                            return Poll::Ready(Err(io::Error::other(error)));
                        }
                    }
                    return Poll::Ready(Ok(true));
                }
                Answering::Data(body, kind) => match ready!(body.poll_data(task)) {
                    Some(Ok(data)) if data.is_empty() => {}
                    Some(Ok(data)) => {
                        if *kind == Body::Chunked {
                            self.text = format!("{:x}\r\n", data.len()).into();
                        }
                        self.data = data;
                        return Poll::Ready(Ok(true));
                    }
                    Some(Err(error)) => {
                        self.answer = Answering::End;
                        return Poll::Ready(Err(io::Error::other(error)));
                    }
                    None => {
                        let Answering::Data(body, kind) = std::mem::replace(&mut self.answer, Answering::End)
                        else {
                            return Poll::Ready(Ok(false));
                        };
                        self.answer = Answering::Trailers(body, kind);
                    }
                },
                Answering::Trailers(body, kind) => {
                    let trailers = ready!(body.poll_trailers(task));
                    let kind = *kind;
                    self.answer = Answering::End;
                    let trailers = trailers.map_err(io::Error::other)?;
                    if kind != Body::Chunked {
                        continue;
                    }
                    let mut end = Vec::new();
                    end.write_all(b"0\r\n")?;
                    shared::trailers(&trailers.unwrap_or_default(), &mut end).map_err(|_| invalid())?;
                    self.text = end.into();
                    return Poll::Ready(Ok(true));
                }
            }
        }
    }

    fn begin_answer(&mut self, response: http::Response<RecvStream>) {
        let (parts, body) = response.into_parts();
        let mut text = Vec::with_capacity(512);
        let written = fields::response(
            parts.status,
            &parts.headers,
            body.is_end_stream(),
            self.is_head_request,
            &mut text,
        );
        (self.text, self.answer) = match written {
            Ok(kind) => (text.into(), Answering::Data(body, kind)),
            Err(_) => (MALFORMED, Answering::End),
        };
    }

    /// Tells the instance that so much more may come.
    fn release(&mut self, count: usize) {
        if let Answering::Data(body, _) | Answering::Trailers(body, _) = &mut self.answer {
            // Cannot fail: no more than was received. If the stream is gone the next reading tells it.
            let _ = body.flow_control().release_capacity(count);
        }
    }
}

/// No head of an answer: whoever reads it refuses it.
const MALFORMED: Bytes = Bytes::from_static(b"malformed\r\n\r\n");

fn send(stream: &mut SendStream<Bytes>, data: &[u8], is_last: bool) -> io::Result<()> {
    stream
        .send_data(Bytes::copy_from_slice(data), is_last)
        .map_err(io::Error::other)
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
                this.release(count);
                if this.data.is_empty() && matches!(this.answer, Answering::Data(_, Body::Chunked)) {
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
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The window of the connection must not shrink by what nobody reads.
        self.release(self.data.len());
        let unfinished = match &mut self.request {
            Asking::Length(stream, _) | Asking::Chunked(stream, ..) => Some(stream),
            Asking::Done(Some(stream)) if !matches!(self.answer, Answering::End) => Some(stream),
            Asking::Done(_) | Asking::Head(_) => None,
        };
        if let Some(stream) = unfinished {
            stream.send_reset(Reason::CANCEL);
        }
    }
}
