//! One stream as a client of HTTP/1.1 with one request.

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use ::h2::{Reason, RecvStream, SendStream, server::SendResponse};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    fields,
    message::{Body, HEAD_BYTES_MAX, Incoming, Message, Outgoing, invalid, send},
};
use crate::{
    config::Limits,
    http::{
        Downstream,
        head::{Asked, HEADERS_MAX, Response, room},
    },
};

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
    request: Incoming,
    is_head_request: bool,
    /// Of the answer, until it is whole.
    head: Vec<u8>,
    answer: Outgoing,
    sender: Rc<RefCell<Sender>>,
    is_cut: Cell<bool>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("answer", &self.answer)
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
        let mut request = Incoming::awaited();
        request.begin(head, framing, body);
        Self {
            is_secure,
            request,
            is_head_request,
            head: Vec::new(),
            answer: Outgoing::Head,
            sender,
            is_cut: Cell::new(false),
        }
    }

    /// Takes some of the head of an answer; how many bytes.
    fn take_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
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
        let parsed = Response::parse(&self.head, &mut room, &limits, asked).map_err(|_| invalid())?;
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
        self.head = Vec::new();
        if response.status().is_informational() {
            respond.send_informational(response).map_err(io::Error::other)?;
            return Ok(taken);
        }
        self.answer = Outgoing::behind(framing);
        let stream = respond
            .send_response(response, self.answer.is_done())
            .map_err(io::Error::other)?;
        *sender = Sender::Sending(stream);
        Ok(taken)
    }
}

impl Message for Stream {
    fn incoming(&mut self) -> &mut Incoming {
        &mut self.request
    }

    fn poll_more(&mut self, task: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.request.poll_more(task)
    }

    fn poll_take(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if matches!(self.answer, Outgoing::Head) {
            return Poll::Ready(self.take_head(bytes));
        }
        match &mut *self.sender.borrow_mut() {
            Sender::Sending(stream) => self.answer.poll_take(stream, task, bytes),
            Sender::Waiting(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
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
        let this = self.get_mut();
        // What the client still sends is not wanted: the stream ends with the answer (RFC 9113 §8.1).
        this.request.close();
        if matches!(this.answer, Outgoing::UntilClose) && !this.is_cut.get() {
            this.answer = Outgoing::Done;
            if let Sender::Sending(stream) = &mut *this.sender.borrow_mut() {
                send(stream, &[], true)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.request.abandon();
        if !self.answer.is_done() {
            self.sender.borrow_mut().reset(Reason::INTERNAL_ERROR);
        }
    }
}
