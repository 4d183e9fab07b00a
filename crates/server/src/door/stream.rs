//! A client's connection, plain or with TLS, optionally with bytes that were already read.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use offhook::Transport;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;

use super::tls::HTTP_2;

/// A client's connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether client and server have agreed on HTTP/2 during the TLS handshake.
    pub(super) fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            #[cfg(unix)]
            Self::Unix(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP_2),
        }
    }

    /// Whether the bytes are those that the client sends, and not encrypted.
    pub(super) const fn is_plain(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }

    /// The certificate that the client has presented, which was verified.
    pub(super) fn certificate(&self) -> Option<&[u8]> {
        let Self::Tls(stream) = self else {
            return None;
        };
        let own = stream.get_ref().1.peer_certificates()?.first()?;
        Some(own.as_ref())
    }

    /// Disables Nagle's algorithm, if it is TCP.
    pub(super) fn send_at_once(&self) {
        if let Self::Plain(stream) = self {
            // An error of the client's socket will be noticed by reading from it.
            let _best_effort = stream.set_nodelay(true);
        }
    }
}

impl From<Stream> for Transport {
    fn from(stream: Stream) -> Self {
        match stream {
            // Unwrapped, so that the connection uses its socket directly.
            Stream::Plain(stream) => stream.into(),
            #[cfg(unix)]
            Stream::Unix(stream) => Self::Unix(stream),
            Stream::Tls(stream) => {
                let peer = stream.get_ref().0.peer_addr().ok();
                Self::Boxed(stream, peer.map(Box::new))
            }
        }
    }
}

macro_rules! of_either {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut *$self {
            Stream::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            #[cfg(unix)]
            Stream::Unix($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Stream::Tls($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        of_either!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_either!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_shutdown(cx))
    }
}

/// A connection with bytes already read from it, for a layer that reads them again.
#[derive(Debug)]
pub(crate) struct Rewound {
    unread: Vec<u8>,
    used: usize,
    stream: Stream,
    /// How long the client may accept no bytes while output is pending.
    patience: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Rewound {
    /// Writes fail if the client accepts no bytes for `patience` while output is pending. Unlike a
    /// WebSocket's client, it cannot be pinged.
    pub(crate) const fn new(stream: Stream, unread: Vec<u8>, patience: Duration) -> Self {
        Self {
            unread,
            used: 0,
            stream,
            patience,
            stalled: None,
        }
    }

    fn wait(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Returns the stream, and the bytes that were not read again.
    pub(crate) fn into_parts(self) -> (Stream, Vec<u8>) {
        let unread = self.unread.get(self.used..).unwrap_or_default().to_vec();
        (self.stream, unread)
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.unread.get(self.used..).unwrap_or_default();
        if left.is_empty() {
            self.unread = Vec::new();
            self.used = 0;
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(left.get(..count).unwrap_or_default());
        self.used += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wait(written, cx)
    }

    /// Supported, but not announced by `is_write_vectored`: hyper would then queue slices, where it now
    /// copies small answers into one buffer.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wait(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
