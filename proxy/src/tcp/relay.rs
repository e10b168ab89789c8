//! Bytes both ways until both sides have ended.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    buffer::{Buffer, Buffers},
    error::ErrorKind,
    http::{
        framing::Framing,
        pipe::{Broken, Pipe},
    },
    worker::{Connection, Context, Elapsed},
};

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relayed {
    /// Bytes that came from the client.
    pub(crate) up: u64,
    /// Bytes that came from the instance.
    pub(crate) down: u64,
    /// `None`: both sides ended in good order.
    pub(crate) error: Option<ErrorKind>,
}

/// Relays between a client and an instance; what is in their buffers is sent first. Ends when both have ended,
/// one has failed, or nothing came from either for `limit`.
pub(crate) async fn relay<C, I>(
    context: &Context,
    connection: &Connection,
    limit: Duration,
    (client, input): (&mut C, &mut Buffer),
    (instance, output): (&mut I, &mut Buffer),
) -> Relayed
where
    C: AsyncRead + AsyncWrite + Unpin,
    I: AsyncRead + AsyncWrite + Unpin,
{
    connection.set_tunnel();
    let (mut up, mut down) = (Direction::new(input), Direction::new(output));
    let relaying = poll_fn(|task| {
        let mut progress = false;
        let buffers = &context.buffers;
        let upward = up.poll(task, buffers, input, (client, instance), &mut progress);
        let downward = down.poll(task, buffers, output, (instance, client), &mut progress);
        if progress {
            connection.touch(limit);
        }
        match (upward, downward) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(None),
            // Who has sent and received all may close as it likes.
            (Poll::Ready(Err(_)), Poll::Ready(Ok(()))) => Poll::Ready(None),
            (Poll::Ready(Err(Broken::Sink)), _) | (_, Poll::Ready(Err(Broken::Source))) => {
                Poll::Ready(Some(ErrorKind::ResponseClosed))
            }
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => {
                Poll::Ready(Some(ErrorKind::ClientAborted))
            }
            _ => Poll::Pending,
        }
    });
    let error = match connection.within(limit, relaying).await {
        Ok(error) => error,
        Err(Elapsed) => Some(ErrorKind::TunnelIdle),
    };
    Relayed {
        up: up.pipe.taken(),
        down: down.pipe.taken(),
        error,
    }
}

struct Direction {
    pipe: Pipe,
    is_closed: bool,
}

impl Direction {
    fn new(buffer: &mut Buffer) -> Self {
        let mut pipe = Pipe::new(Framing::UntilClose, None);
        pipe.look(buffer)
            .expect("bytes until the close have no form and no bound");
        Self {
            pipe,
            is_closed: false,
        }
    }

    fn poll<F, T>(
        &mut self,
        task: &mut TaskContext<'_>,
        buffers: &Buffers,
        buffer: &mut Buffer,
        (from, to): (&mut F, &mut T),
        progress: &mut bool,
    ) -> Poll<Result<(), Broken>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        if self.is_closed {
            return Poll::Ready(Ok(()));
        }
        match self.pipe.poll(task, buffers, buffer, (from, to), progress) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        match Pin::new(to).poll_shutdown(task) {
            Poll::Ready(Ok(())) => {
                self.is_closed = true;
                *progress = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Broken::Sink)),
            Poll::Pending => Poll::Pending,
        }
    }
}
