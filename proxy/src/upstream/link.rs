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

use super::{http2::Stream, preamble::Secured};
/// A connection to an instance. The clear case costs a branch.
pub(crate) enum Link {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// One of the streams of a connection that others use, too.
    Http2(Box<Stream>),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear(_) => "Clear",
            Self::Tls(_) => "Tls",
            Self::Http2(_) => "Http2",
        })
    }
}

impl From<TcpStream> for Link {
    fn from(stream: TcpStream) -> Self {
        Self::Clear(stream)
    }
}

impl From<Secured> for Link {
    fn from(secured: Secured) -> Self {
        match secured {
            Secured::Clear(stream) => Self::Clear(stream),
            Secured::Tls(stream) => Self::Tls(stream),
        }
    }
}

impl Link {
    /// Whether it may carry another request after this one.
    pub(super) fn is_kept(&self) -> bool {
        !matches!(self, Self::Http2(_))
    }

    /// Whether the instance is known not to have begun with the request.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self, Self::Http2(stream) if stream.is_refused())
    }

    /// The connection below, if it is nobody else's.
    pub(super) fn below(&self) -> Option<&TcpStream> {
        match self {
            Self::Clear(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.get_ref().0),
            Self::Http2(_) => None,
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
        self.below().is_some_and(|stream| {
            stream
                .poll_read_ready(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        })
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
            Self::Http2(stream) => Pin::new(stream.as_mut()).poll_read(task, into),
        }
    }
}

impl AsyncWrite for Link {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(task, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(task, bytes),
            Self::Http2(stream) => Pin::new(stream.as_mut()).poll_write(task, bytes),
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
            Self::Http2(stream) => Pin::new(stream.as_mut()).poll_write_vectored(task, pieces),
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
            Self::Http2(stream) => Pin::new(stream.as_mut()).poll_flush(task),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(task),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(task),
            Self::Http2(stream) => Pin::new(stream.as_mut()).poll_shutdown(task),
        }
    }
}
