//! The client's side of an encrypted connection.

use std::{
    cell::Cell,
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::http::Downstream;

/// Encrypted by TLS. An end is said (`close_notify`) unless what was sent is not complete.
pub(crate) struct Stream {
    inner: TlsStream<TcpStream>,
    is_cut: Cell<bool>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Stream {
    pub(super) fn new(inner: TlsStream<TcpStream>) -> Self {
        Self {
            inner,
            is_cut: Cell::new(false),
        }
    }

    /// Whether the client asked for HTTP/2 (RFC 9113 §3.2).
    pub(super) fn is_http2(&self) -> bool {
        self.inner.get_ref().1.alpn_protocol() == Some(b"h2")
    }
}

impl Downstream for Stream {
    const SAYS_END: bool = true;

    fn is_secure(&self) -> bool {
        true
    }

    fn server_name(&self) -> Option<&str> {
        self.inner.get_ref().1.server_name()
    }

    fn reset_on_close(&self) {
        self.is_cut.set(true);
        // If it cannot be set the client still misses the `close_notify`.
        let _ = self.inner.get_ref().0.set_zero_linger();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(task, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(task, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut.get() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(task)
    }
}
