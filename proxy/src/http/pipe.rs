//! Bytes on their way from one side to the other.
//!
//! **Job.** Move the bytes of one body (or of one direction of a tunnel) as fast as both sides can: read only what
//! was not read, write only what is known to belong to the body.
//!
//! **Invariants.** There is one buffer; while it has bytes to write, nothing is read (back-pressure).
//! A pipe that waits for its source holds no buffer. Bytes behind the end of the body stay in the buffer.
//!
//! **Absent.** No time limits, no decision what a failure means.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::framing::{Decoder, Framing, FramingError, Step};
use crate::buffer::{Buffer, Buffers};

/// Why a pipe ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The source ended, or failed, before the body was complete.
    Source,
    /// The sink failed.
    Sink,
    /// The body is malformed.
    Framing(FramingError),
    /// The body is longer than allowed.
    TooLong,
}

/// On which side a pipe waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Sink,
}

/// One direction. The buffer is the caller's: what is left in it belongs to the next message.
#[derive(Debug)]
pub(crate) struct Pipe {
    decoder: Decoder,
    /// Bytes at the front of the buffer that may be written.
    ready: usize,
    /// Bytes of the body that may still come.
    left: u64,
    /// Bytes taken from the source.
    taken: u64,
    /// Whether chunked framing is taken off.
    unframed: bool,
    waits_for: Side,
}

impl Pipe {
    /// `bytes_max`: the longest body that may pass, framing included.
    pub(crate) fn new(framing: Framing, bytes_max: Option<u64>) -> Self {
        Self {
            decoder: framing.into(),
            ready: 0,
            left: bytes_max.unwrap_or(u64::MAX),
            taken: 0,
            unframed: false,
            waits_for: Side::Source,
        }
    }

    /// The content of a chunked body passes without its framing.
    pub(crate) fn take_framing_off(&mut self) {
        self.unframed = true;
    }

    /// Looks at bytes in the buffer that were not looked at: all but the first `ready`.
    pub(crate) fn look(&mut self, buffer: &mut Buffer) -> Result<(), Broken> {
        debug_assert_eq!(self.ready, 0, "bytes are looked at once");
        let taken = match (&mut self.decoder, self.unframed) {
            (Decoder::Chunked(chunked), true) => {
                let (taken, content, done) = take_off(chunked, buffer.data_mut()).map_err(Broken::Framing)?;
                self.ready = content;
                buffer.remove(content, taken);
                if done {
                    self.decoder = Decoder::Done;
                }
                taken
            }
            (decoder, _) => {
                let (taken, _) = decoder.advance(buffer.data()).map_err(Broken::Framing)?;
                self.ready = taken;
                taken
            }
        };
        self.taken += taken as u64;
        match self.left.checked_sub(taken as u64) {
            Some(left) => self.left = left,
            None => return Err(Broken::TooLong),
        }
        Ok(())
    }

    /// Bytes at the front of the buffer that are still to be written.
    pub(crate) fn ready(&self) -> usize {
        self.ready
    }

    /// Bytes from the front of the buffer were written (or put) elsewhere.
    pub(crate) fn written(&mut self, buffer: &mut Buffer, count: usize) {
        let count = count.min(self.ready);
        self.ready -= count;
        buffer.consume(count);
    }

    /// Bytes of the body that were taken from the source.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the source has given everything.
    pub(crate) fn has_all(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether everything was written.
    pub(crate) fn is_done(&self) -> bool {
        self.ready == 0 && self.decoder.is_done()
    }

    /// On which side it waited last.
    pub(crate) fn waits_for(&self) -> Side {
        self.waits_for
    }

    /// Moves what can be moved. `progress` is set if that was anything. Ready with `Ok` at the end of the body.
    pub(crate) fn poll<F, T>(
        &mut self,
        context: &mut Context<'_>,
        buffers: &Buffers,
        buffer: &mut Buffer,
        (from, to): (&mut F, &mut T),
        progress: &mut bool,
    ) -> Poll<Result<(), Broken>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            if self.ready > 0 {
                self.waits_for = Side::Sink;
                let bytes = buffer.data().get(..self.ready).unwrap_or_default();
                let count = match ready!(Pin::new(&mut *to).poll_write(context, bytes)) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Sink)),
                    Ok(count) => count,
                };
                *progress = true;
                self.written(buffer, count);
                continue;
            }
            // A sink that encrypts may hold some back.
            let flushed = Pin::new(&mut *to).poll_flush(context);
            if let Poll::Ready(Err(_)) = flushed {
                return Poll::Ready(Err(Broken::Sink));
            }
            if self.decoder.is_done() {
                self.waits_for = Side::Sink;
                return flushed.map(|_| Ok(()));
            }
            self.waits_for = Side::Source;
            buffers.lend(buffer);
            match buffer.poll_fill(context, from) {
                Poll::Pending => {
                    buffers.take_back_empty(buffer);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) if self.decoder.may_end_at_close() => self.decoder = Decoder::Done,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Broken::Source)),
                Poll::Ready(Ok(_)) => {
                    *progress = true;
                    self.look(buffer)?;
                }
            }
        }
    }

    /// Writes a head and what is ready of the body behind it, together where the sink can.
    pub(crate) fn poll_write_behind<T>(
        &mut self,
        context: &mut Context<'_>,
        head: &mut Buffer,
        buffer: &mut Buffer,
        to: &mut T,
        progress: &mut bool,
    ) -> Poll<Result<(), Broken>>
    where
        T: AsyncWrite + Unpin,
    {
        while !head.is_empty() {
            let to = Pin::new(&mut *to);
            let written = if self.ready > 0 {
                let body = buffer.data().get(..self.ready).unwrap_or_default();
                ready!(to.poll_write_vectored(context, &[IoSlice::new(head.data()), IoSlice::new(body)]))
            } else {
                ready!(to.poll_write(context, head.data()))
            };
            let Ok(count @ 1..) = written else {
                return Poll::Ready(Err(Broken::Sink));
            };
            *progress = true;
            let of_head = count.min(head.len());
            head.consume(of_head);
            self.written(buffer, count - of_head);
        }
        Poll::Ready(Ok(()))
    }
}

/// Moves the content of a chunked body to the front. Returns how many bytes were looked at, how many of
/// content there were, and whether the body is complete.
fn take_off(
    chunked: &mut super::framing::Chunked,
    bytes: &mut [u8],
) -> Result<(usize, usize, bool), FramingError> {
    let (mut taken, mut content) = (0, 0);
    while let Some(rest @ [_, ..]) = bytes.get(taken..) {
        match chunked.step(rest)? {
            Step::Framing(count) => taken += count,
            Step::Data(count) => {
                bytes.copy_within(taken..taken + count, content);
                taken += count;
                content += count;
            }
            Step::End(count) => return Ok((taken + count, content, true)),
        }
    }
    Ok((taken, content, false))
}

#[cfg(test)]
mod tests;
