//! The stream below a connection as one type, so that [`WebSocket`](crate::WebSocket) has no type
//! parameter and a plain TCP connection needs no indirection.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// Any stream of bytes that a connection can be made over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// An open transport.
#[non_exhaustive]
pub enum Transport {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
    /// Anything else: TLS, an HTTP/2 stream, an in-memory pipe; with the peer's address, if it is
    /// known. The address is boxed so that sockets, which know their own, do not pay for it.
    Boxed(Box<dyn Stream>, Option<Box<SocketAddr>>),
}

impl Transport {
    /// Wraps a stream of any type.
    pub fn boxed(stream: impl Stream) -> Self {
        Self::Boxed(Box::new(stream), None)
    }

    /// The two halves of an HTTP/2 stream, for a server that drives an h2 connection itself and has
    /// answered an extended CONNECT with the head that accepts it (RFC 8441 §5): DATA frames carry what
    /// TCP would. `receive` is the body of the request, `send` what h2 returned for the answer's head.
    ///
    /// [`Acceptor`](crate::Acceptor) does all of this itself. The stream makes progress only while
    /// its connection is polled.
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn http2(send: h2::SendStream<bytes::Bytes>, receive: h2::RecvStream) -> Self {
        Self::boxed(crate::http2::H2Stream::new(send, receive))
    }

    /// Like [`http2`](Self::http2), and drops `held` together with the stream: for servers that keep
    /// account of the streams of a connection.
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn http2_holding(
        send: h2::SendStream<bytes::Bytes>,
        receive: h2::RecvStream,
        held: impl Send + 'static,
    ) -> Self {
        let stream = crate::http2::H2Stream::new(send, receive);
        Self::boxed(stream.holding(Box::new(held)))
    }

    /// Sets the peer's address, for [`peer_addr`](Self::peer_addr). Ignored for sockets, which know
    /// it themselves.
    #[must_use]
    pub fn with_peer_addr(mut self, peer: Option<SocketAddr>) -> Self {
        if let Self::Boxed(_, known) = &mut self {
            *known = peer.map(Box::new);
        }
        self
    }

    /// Converts it to a stream for a layer above.
    pub(crate) fn into_stream(self) -> Box<dyn Stream> {
        match self {
            Self::Tcp(stream) => Box::new(stream),
            #[cfg(unix)]
            Self::Unix(stream) => Box::new(stream),
            Self::Boxed(stream, _) => stream,
        }
    }

    /// The peer's address, if it has one.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            #[cfg(unix)]
            Self::Unix(_) => None,
            Self::Boxed(_, peer) => peer.as_deref().copied(),
        }
    }

    #[inline]
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Boxed(stream, _) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    /// Appends available data to a buffer, as far as it has room, and returns how much that was.
    pub(crate) fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        // These futures hold no state: dropped while they wait, they have read nothing.
        match self {
            Self::Tcp(stream) => pin!(stream.read_buf(buffer)).poll(cx),
            #[cfg(unix)]
            Self::Unix(stream) => pin!(stream.read_buf(buffer)).poll(cx),
            Self::Boxed(stream, _) => pin!(stream.read_buf(buffer)).poll(cx),
        }
    }

    /// Writes without registering a waker. `None` if the transport does not support that.
    #[inline]
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Some(match slices {
                [slice] => stream.try_write(slice),
                _ => stream.try_write_vectored(slices),
            }),
            #[cfg(unix)]
            Self::Unix(stream) => Some(stream.try_write_vectored(slices)),
            Self::Boxed(..) => None,
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Boxed(stream, _) => match slices {
                [first, ..] if !stream.is_write_vectored() => {
                    Pin::new(stream).poll_write(cx, first)
                }
                _ => Pin::new(stream).poll_write_vectored(cx, slices),
            },
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // Sockets have nothing to flush.
            Self::Tcp(_) => Poll::Ready(Ok(())),
            #[cfg(unix)]
            Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Boxed(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Boxed(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// For a transport that has no driver yet.
impl Transport {
    /// Waits for data and reads it; 0 at the end of the stream.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        poll_fn(|cx| self.poll_read(cx, &mut buffer)).await?;
        Ok(buffer.filled().len())
    }

    /// Fills the buffer; an earlier end of the stream is an error.
    pub(crate) async fn read_exact(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read(buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }

    /// Writes all bytes and flushes.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.poll_write(cx, &[IoSlice::new(bytes)])).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }
}

impl From<TcpStream> for Transport {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Transport {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(stream) => stream.fmt(f),
            #[cfg(unix)]
            Self::Unix(stream) => stream.fmt(f),
            Self::Boxed(..) => f.write_str("Boxed(..)"),
        }
    }
}
