//! Buffers of a worker, lent to connections for as long as they have bytes in hand.
//!
//! **Invariants.** A connection that waits holds no buffer. Memory that was not written to is not touched, so a
//! buffer costs the pages that were used of it. At most [`KEPT_MAX`] buffers are kept for later.
//!
//! **Absent.** Nothing is shared between workers.

use std::{
    cell::RefCell,
    future::Future as _,
    io,
    pin::pin,
    task::{Context, Poll},
};

use bytes::BufMut as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes of a buffer. A large body passes in pieces of this size.
pub(crate) const BUFFER_BYTES: usize = 128 * 1024;
/// Buffers that a worker keeps for later.
const KEPT_MAX: usize = 64;

/// The buffers that no connection of a worker has at the moment.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// Gives `buffer` room, if it has none.
    pub(crate) fn lend(&self, buffer: &mut Buffer) {
        if buffer.bytes.capacity() == 0 {
            buffer.bytes = self
                .free
                .borrow_mut()
                .pop()
                .unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES));
            buffer.start = 0;
        }
    }

    /// Takes the room of `buffer` back, and with it what is in it.
    pub(crate) fn take_back(&self, buffer: &mut Buffer) {
        let mut bytes = std::mem::take(&mut buffer.bytes);
        buffer.start = 0;
        let mut free = self.free.borrow_mut();
        // One that had to grow is not kept: memory would grow to the largest head ever seen.
        if bytes.capacity() == BUFFER_BYTES && free.len() < KEPT_MAX {
            bytes.clear();
            free.push(bytes);
        }
    }

    /// Takes the room of `buffer` back if there is nothing in it.
    pub(crate) fn take_back_empty(&self, buffer: &mut Buffer) {
        if buffer.is_empty() && buffer.bytes.capacity() > 0 {
            self.take_back(buffer);
        }
    }
}

/// Bytes that were received and not yet used, or are still to be sent. Without room until it is lent some.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Without room.
    pub(crate) const NONE: Self = Self {
        bytes: Vec::new(),
        start: 0,
    };

    /// What is in it.
    pub(crate) fn data(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// What is in it, to be changed in place.
    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Removes so many bytes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count.min(self.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Removes the bytes from `begin` to `end`, counted from the front.
    pub(crate) fn remove(&mut self, begin: usize, end: usize) {
        self.bytes.drain(self.start + begin..self.start + end);
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Bytes that can be added behind the last without moving or growing.
    pub(crate) fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Adds bytes. Grows if there is no room: only for what is bounded otherwise, such as a head.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// To write into by `write!` or by hand; what is in it must stay.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Makes room behind the last byte for something that may be `total` bytes long from the first on:
    /// moves it to the front, grows if even that is not enough.
    pub(crate) fn make_room(&mut self, total: usize) {
        if self.room() > 0 {
            return;
        }
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.room() == 0 {
            let more = total
                .saturating_sub(self.bytes.len())
                .clamp(1, self.bytes.len().max(BUFFER_BYTES));
            self.bytes.reserve_exact(more);
        }
    }

    /// Reads once, as much as there is room for; 0 means the end. There must be room.
    pub(crate) fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(
            self.room() > 0,
            "a buffer without room looks like the end of the stream"
        );
        let room = self.room();
        let mut limited = (&mut self.bytes).limit(room);
        pin!(from.read_buf(&mut limited)).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::{BUFFER_BYTES, Buffer, Buffers, KEPT_MAX};

    #[test]
    fn room_comes_back_and_is_lent_again_empty() {
        let buffers = Buffers::default();
        let mut buffer = Buffer::default();
        assert_eq!(buffer.room(), 0);
        buffers.lend(&mut buffer);
        buffer.put(b"secret");
        buffers.take_back_empty(&mut buffer);
        assert_eq!(buffer.data(), b"secret", "only an empty one is taken");
        buffers.take_back(&mut buffer);
        assert_eq!((buffer.len(), buffer.room()), (0, 0));
        let mut other = Buffer::default();
        buffers.lend(&mut other);
        assert!(other.is_empty());
        assert_eq!(other.room(), BUFFER_BYTES);
    }

    #[test]
    fn makes_room_by_moving_then_by_growing_to_the_bound() {
        let buffers = Buffers::default();
        let mut buffer = Buffer::default();
        buffers.lend(&mut buffer);
        buffer.put(&vec![b'x'; BUFFER_BYTES]);
        buffer.consume(10);
        buffer.make_room(BUFFER_BYTES);
        assert_eq!((buffer.len(), buffer.room()), (BUFFER_BYTES - 10, 10));
        buffer.put(&[b'y'; 10]);
        buffer.make_room(BUFFER_BYTES + 5);
        assert!(buffer.room() >= 5);
        assert!(buffer.data().ends_with(b"y"));
        buffers.take_back(&mut buffer);
        assert!(buffers.free.borrow().is_empty(), "a grown one is not kept");
    }

    #[test]
    fn only_so_many_are_kept() {
        let buffers = Buffers::default();
        let mut lent: Vec<Buffer> = (0..KEPT_MAX + 5)
            .map(|_| {
                let mut buffer = Buffer::default();
                buffers.lend(&mut buffer);
                buffer
            })
            .collect();
        for buffer in &mut lent {
            buffers.take_back(buffer);
        }
        assert_eq!(buffers.free.borrow().len(), KEPT_MAX);
    }
}
