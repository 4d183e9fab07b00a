//! Observing the bytes of a connection.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Transport;

/// Observes every byte of a connection, above TLS and below the frames, for tools that show what
/// happens. See [`Connect::wiretap`](crate::Connect::wiretap).
pub trait Wiretap: Send + Sync + 'static {
    /// A connection was made; the bytes that follow start with its opening handshake. Called again
    /// after a redirect.
    fn connected(&self) {}

    /// These bytes were sent.
    fn sent(&self, bytes: &[u8]);

    /// These bytes were received.
    fn received(&self, bytes: &[u8]);
}

/// The observer, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Listener(pub(crate) Option<Arc<dyn Wiretap>>);

impl Listener {
    /// Attaches the observer to the transport.
    pub(crate) fn on(&self, transport: Transport) -> Transport {
        let Some(tap) = &self.0 else {
            return transport;
        };
        tap.connected();
        let tap = Arc::clone(tap);
        let peer = transport.peer_addr();
        Transport::boxed(Tapped { transport, tap }).with_peer_addr(peer)
    }

    #[cfg(feature = "http2")]
    pub(crate) fn is_listening(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "listening"
        } else {
            "nobody"
        })
    }
}

struct Tapped {
    transport: Transport,
    tap: Arc<dyn Wiretap>,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.transport.poll_read(cx, buffer);
        let came = buffer.filled().get(before..).unwrap_or_default();
        if !came.is_empty() {
            self.tap.received(came);
        }
        read
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.transport.poll_write(cx, &[IoSlice::new(bytes)]);
        if let Poll::Ready(Ok(count)) = written {
            self.tap.sent(bytes.get(..count).unwrap_or(bytes));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_shutdown(cx)
    }
}
