//! One stream as a connection of HTTP/1.1 with one request.

use std::{
    fmt,
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::h2::{
    Reason, RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{fields, sessions::Lease};
use crate::{
    config::Limits,
    h2::message::{HEAD_BYTES_MAX, Incoming, Message, Outgoing, invalid},
    http::head::{HEADERS_MAX, Request, room},
};

/// See the module.
pub(crate) struct Stream {
    send: SendRequest<Bytes>,
    is_secure: bool,
    /// Of the request, until it is whole.
    head: Vec<u8>,
    request: Outgoing,
    /// Where the request leaves, once its head has. It is kept to the end: its drop would be a reset.
    sending: Option<SendStream<Bytes>>,
    /// The head of the answer, while it is waited for.
    responding: Option<ResponseFuture>,
    answer: Incoming,
    is_head_request: bool,
    /// The instance said that it did not begin with the request.
    is_refused: bool,
    lease: Lease,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("is_refused", &self.is_refused)
            .finish_non_exhaustive()
    }
}

/// No head of an answer: whoever reads it refuses it.
const MALFORMED: &[u8] = b"malformed\r\n\r\n";

impl Stream {
    pub(super) fn new(send: SendRequest<Bytes>, is_secure: bool, lease: Lease) -> Self {
        Self {
            send,
            is_secure,
            head: Vec::new(),
            request: Outgoing::Head,
            sending: None,
            responding: None,
            answer: Incoming::awaited(),
            is_head_request: false,
            is_refused: false,
            lease,
        }
    }

    /// Whether the request had no effect whatever it was: it never left, or the instance said so (RFC 9113 §8.7).
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// The request cannot leave.
    fn refused(&mut self, error: ::h2::Error) -> Poll<io::Result<usize>> {
        self.is_refused = true;
        self.answer.end();
        Poll::Ready(Err(io::Error::other(error)))
    }

    fn poll_take_head(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // First, so that nothing is taken of a request that cannot leave.
        if let Err(error) = ready!(self.send.poll_ready(task)) {
            return self.refused(error);
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let limits = Limits {
            head_bytes_max: HEAD_BYTES_MAX,
            request_line_bytes_max: HEAD_BYTES_MAX,
            headers_max: HEADERS_MAX,
            ..Limits::default()
        };
        let mut room = room();
        let asked = match Request::parse(&self.head, &mut room, &limits) {
            Ok(None) => return Poll::Ready(Ok(bytes.len())),
            Ok(Some(asked)) => Some(asked),
            Err(_) => None,
        };
        let request = asked
            .as_ref()
            .and_then(|asked| fields::request(asked, self.is_secure).ok());
        let (Some(asked), Some(request)) = (asked, request) else {
            self.answer.end();
            return Poll::Ready(Err(invalid()));
        };
        let taken = asked.length().saturating_sub(before);
        let next = Outgoing::behind(asked.framing());
        self.is_head_request = asked.method() == b"HEAD";
        let (responding, sending) = match self.send.send_request(request, next.is_done()) {
            Ok(sent) => sent,
            Err(error) => return self.refused(error),
        };
        self.head = Vec::new();
        self.request = next;
        self.sending = Some(sending);
        self.responding = Some(responding);
        Poll::Ready(Ok(taken))
    }

    /// Waits for a head of the answer; without a body: more heads follow.
    fn poll_head(
        responding: &mut ResponseFuture,
        task: &mut Context<'_>,
    ) -> Poll<Result<http::Response<Option<RecvStream>>, ::h2::Error>> {
        if let Poll::Ready(Some(Ok(interim))) = responding.poll_informational(task) {
            return Poll::Ready(Ok(interim.map(|()| None)));
        }
        let response = ready!(Pin::new(responding).poll(task))?;
        Poll::Ready(Ok(response.map(Some)))
    }

    fn begin_answer(&mut self, response: http::Response<Option<RecvStream>>) {
        let (parts, body) = response.into_parts();
        let is_whole = body.as_ref().is_none_or(RecvStream::is_end_stream);
        let mut text = Vec::with_capacity(if body.is_some() { 512 } else { 64 });
        let written = fields::response(
            parts.status,
            &parts.headers,
            is_whole,
            self.is_head_request,
            &mut text,
        );
        match (written, body) {
            (Ok(_), None) => self.answer.say(text),
            (Ok(framing), Some(body)) => {
                self.responding = None;
                self.answer.begin(text, framing, body);
            }
            (Err(_), _) => self.end_answer(Some(MALFORMED)),
        }
    }

    fn failed(&mut self, error: ::h2::Error) -> io::Result<bool> {
        // A stream beyond the last one that a GOAWAY names, or one that was refused.
        self.is_refused |=
            error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
        // What is no answer is told apart from none.
        if error.is_library() && error.reason() == Some(Reason::PROTOCOL_ERROR) {
            self.end_answer(Some(MALFORMED));
            return Ok(true);
        }
        self.end_answer(None);
        Err(io::Error::other(error))
    }

    fn end_answer(&mut self, text: Option<&'static [u8]>) {
        self.responding = None;
        self.answer.end();
        if let Some(text) = text {
            self.answer.say(text);
        }
    }
}

impl Message for Stream {
    fn incoming(&mut self) -> &mut Incoming {
        &mut self.answer
    }

    fn poll_more(&mut self, task: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(responding) = &mut self.responding else {
            return self.answer.poll_more(task);
        };
        match ready!(Self::poll_head(responding, task)) {
            Ok(response) => {
                self.begin_answer(response);
                Poll::Ready(Ok(true))
            }
            Err(error) => Poll::Ready(self.failed(error)),
        }
    }

    fn poll_take(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.sending {
            None => self.poll_take_head(task, bytes),
            Some(stream) => self.request.poll_take(stream, task, bytes),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_fill(task, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_take_all(task, bytes)
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
        self.answer.abandon();
        let is_over = self.request.is_done() && self.answer.has_ended();
        if let Some(stream) = self.sending.as_mut().filter(|_| !is_over) {
            self.lease.give_up();
            stream.send_reset(Reason::CANCEL);
        }
    }
}
