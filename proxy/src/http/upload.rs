//! A request on its way to an instance.

use std::{
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use tokio::io::AsyncWrite as _;

use super::{
    downstream::Downstream,
    framing::Framing,
    pipe::{Broken, Pipe, Side},
};
use crate::{
    buffer::{Buffer, Buffers},
    error::ErrorKind,
    upstream::Link,
    waits::Waits,
    worker::Context,
};

/// The request as far as it is not yet sent.
pub(super) struct Upload {
    pub(super) pipe: Pipe,
    /// Bytes of the head (with body bytes behind it) that were sent.
    pub(super) head_sent: usize,
    /// The instance takes no more; its answer may come all the same.
    pub(super) is_abandoned: bool,
    /// Some of the body left that cannot be sent again.
    pub(super) is_begun: bool,
}

impl Upload {
    /// `bytes_max`: the longest body that may pass.
    pub(super) fn new(framing: Framing, bytes_max: Option<u64>) -> Self {
        Self {
            pipe: Pipe::new(framing, bytes_max),
            head_sent: 0,
            is_abandoned: false,
            is_begun: false,
        }
    }

    /// Sends what can be sent of the head in `out` and of the body. Fails only by fault of the client; an
    /// instance that takes no more may still answer.
    pub(super) fn poll<S: Downstream>(
        &mut self,
        task: &mut TaskContext<'_>,
        buffers: &Buffers,
        (out, input): (&Buffer, &mut Buffer),
        (stream, instance): (&mut S, &mut Link),
        progress: &mut bool,
    ) -> Poll<Result<(), ErrorKind>> {
        if self.is_abandoned {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest @ [_, ..]) = out.data().get(self.head_sent..) {
            match Pin::new(&mut *instance).poll_write(task, rest) {
                Poll::Ready(Ok(count @ 1..)) => {
                    *progress = true;
                    self.head_sent += count;
                }
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.is_abandoned = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.pipe.is_done() {
            // A link that encrypts may hold some back.
            return match Pin::new(instance).poll_flush(task) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
                Poll::Ready(Err(_)) => {
                    self.is_abandoned = true;
                    Poll::Ready(Ok(()))
                }
                Poll::Pending => Poll::Pending,
            };
        }
        let mut moved = false;
        let moving = self
            .pipe
            .poll(task, buffers, input, (stream, instance), &mut moved);
        *progress |= moved;
        self.is_begun |= moved;
        match moving {
            Poll::Ready(Err(Broken::Sink)) => {
                self.is_abandoned = true;
                Poll::Ready(Ok(()))
            }
            other => other.map_err(blame_upload),
        }
    }

    /// How long nothing may happen while the answer is waited for: the client's time or the instance's.
    pub(super) fn limit(&self, context: &Context, waits: &Waits, out: &Buffer) -> Duration {
        if self.waits_for_client(out) {
            waits.client_idle(context)
        } else {
            waits.first_byte(context)
        }
    }

    /// Whether it is the client on whom everything waits.
    pub(super) fn waits_for_client(&self, out: &Buffer) -> bool {
        !self.is_abandoned
            && self.head_sent >= out.len()
            && !self.pipe.is_done()
            && self.pipe.waits_for() == Side::Source
    }
}

/// Whose fault it is if a request cannot be sent whole.
pub(super) fn blame_upload(broken: Broken) -> ErrorKind {
    match broken {
        Broken::Source => ErrorKind::ClientAborted,
        Broken::Sink => ErrorKind::ResponseClosed,
        Broken::Framing(_) => ErrorKind::RequestMalformed,
        Broken::TooLong => ErrorKind::BodyTooLarge,
    }
}
