//! What stands between a client of HTTP/2 and the library that reads its frames.
//!
//! **Job.** The library ends a connection for a frame of a wrong length, for one on a stream that the client has ended, and for
//! a header block that cannot be decoded, but calls each of them a `PROTOCOL_ERROR`. RFC 9113 (§4.2, §4.3, §5.1, §6) has more
//! exact words, by which a client's author finds the fault. So the heads of frames are looked at here as they pass: a frame
//! that the library would misname is kept from it, and the connection ends with the right code.
//!
//! **Invariants.** Nothing that a client may send is kept back. Nine bytes of a frame are looked at, six of a setting. The last
//! header block is kept as long as nothing follows it, since why the library ends a connection can only be told from it. What is
//! remembered of streams is bounded.

mod block;
mod inbound;

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use ::h2::Reason;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::{
    block::cannot_be_decoded,
    inbound::{Frames, GOAWAY, HEAD_BYTES, Inbound},
};

/// A connection of which some was read already, looked at as it is read on.
pub(super) struct Guard<S> {
    received: Bytes,
    stream: S,
    inbound: Inbound,
    outbound: Frames,
    fault: Rc<Cell<Option<Reason>>>,
    is_over: bool,
}

impl<S> Guard<S> {
    /// `received`: read already.
    pub(super) fn new(received: Vec<u8>, stream: S) -> Self {
        Self {
            received: received.into(),
            stream,
            inbound: Inbound::default(),
            outbound: Frames::default(),
            fault: Rc::default(),
            is_over: false,
        }
    }

    /// Where the code by which the connection must end is put. Nothing is read any more then.
    pub(super) fn fault(&self) -> Rc<Cell<Option<Reason>>> {
        Rc::clone(&self.fault)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Pending;
        }
        let before = into.filled().len();
        let read = if this.received.is_empty() {
            Pin::new(&mut this.stream).poll_read(task, into)
        } else {
            let count = this.received.len().min(into.remaining());
            into.put_slice(&this.received.split_to(count));
            Poll::Ready(Ok(()))
        };
        let fresh = into.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            return read;
        }
        let Err((sound, code)) = this.inbound.look(fresh) else {
            return read;
        };
        this.is_over = true;
        this.fault.set(Some(code));
        into.set_filled(before + sound);
        // Nothing would look like the end of the connection.
        if sound == 0 { Poll::Pending } else { read }
    }
}

/// What a GOAWAY without words ends with: the code that the library chose.
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];
const GOAWAY_BYTES: usize = HEAD_BYTES + 8;

impl<S: AsyncWrite + Unpin> Guard<S> {
    /// Writes what ends a connection for a header block with the code that is for it.
    fn poll_write_after_block(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut frames = self.outbound;
        let mut at = 0;
        while let Some(rest @ [_, ..]) = bytes.get(at..) {
            let is_goaway = self.inbound.after_block
                && frames.is_between()
                && rest.get(3) == Some(&GOAWAY)
                && rest.get(..3) == Some(&[0, 0, 8])
                && rest.get(HEAD_BYTES + 4..GOAWAY_BYTES) == Some(&PROTOCOL_ERROR);
            if is_goaway {
                break;
            }
            at += frames.step(rest);
        }
        if at == bytes.len() {
            return Pin::new(&mut self.stream).poll_write(task, bytes);
        }
        if at > 0 {
            return Pin::new(&mut self.stream).poll_write(task, bytes.get(..at).unwrap_or_default());
        }
        let mut goaway: [u8; GOAWAY_BYTES] = [0; GOAWAY_BYTES];
        goaway.copy_from_slice(bytes.get(..GOAWAY_BYTES).unwrap_or(&[0; GOAWAY_BYTES]));
        goaway[GOAWAY_BYTES - 1] = 9;
        Pin::new(&mut self.stream).poll_write(task, &goaway)
    }

    fn wrote(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = self.outbound.step(bytes);
            bytes = bytes.get(count..).unwrap_or_default();
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = if this.inbound.after_block && cannot_be_decoded(&this.inbound.last_block) {
            this.poll_write_after_block(task, bytes)
        } else {
            Pin::new(&mut this.stream).poll_write(task, bytes)
        };
        if let Poll::Ready(Ok(count)) = written {
            this.wrote(bytes.get(..count).unwrap_or_default());
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.inbound.after_block && cannot_be_decoded(&self.inbound.last_block) {
            let first = pieces.iter().find(|piece| !piece.is_empty());
            return self.poll_write(task, first.map_or(&[], |piece| piece));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(task, pieces);
        if let Poll::Ready(Ok(count)) = written {
            let mut left = count;
            for piece in pieces {
                let count = piece.len().min(left);
                self.wrote(piece.get(..count).unwrap_or_default());
                left -= count;
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
