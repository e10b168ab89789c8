//! A connection to an instance, clear or encrypted.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// A connection to an instance. The clear case costs a branch.
pub(crate) enum Link {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear(_) => "Clear",
            Self::Tls(_) => "Tls",
        })
    }
}

impl From<TcpStream> for Link {
    fn from(stream: TcpStream) -> Self {
        Self::Clear(stream)
    }
}

impl Link {
    /// The connection below.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether nothing happened on the connection that the runtime knows of: no data, no end, no error. Costs no
    /// system call. The waker is none: whoever uses the connection next registers its own.
    pub(super) fn is_quiet(&self) -> bool {
        // Otherwise there is something to read that was decrypted already.
        if let Self::Tls(stream) = self
            && !stream.get_ref().1.wants_read()
        {
            return false;
        }
        self.socket()
            .poll_read_ready(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    }
}

impl AsyncRead for Link {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(task, into),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(task, into),
        }
    }
}

impl AsyncWrite for Link {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(task, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(task, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(task, pieces),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(task, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(task),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(task),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(task),
        }
    }
}
