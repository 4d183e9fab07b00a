//! A WebSocket as a stream of bytes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use offhook_protocol::{CloseCode, ReadyState};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::Error;
use crate::message::{Binary, Message};
use crate::socket::WebSocket;

/// A WebSocket whose binary messages form one stream of bytes in each direction, for everything
/// that uses [`AsyncRead`] and [`AsyncWrite`]: for example TCP or SSH through a WebSocket.
///
/// Message boundaries have no meaning. Text from the peer is an error. The peer's Close is the end
/// of the stream, and [`shutdown`](tokio::io::AsyncWriteExt::shutdown) sends a Close; what the peer
/// sent before its own can still be read. Writing waits while the send buffer is full, and no more
/// is read than was requested, so backpressure works in both directions.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let (near, far) = offhook::pair();
/// let (mut near, mut far) = (near.into_byte_stream(), far.into_byte_stream());
/// near.write_all(b"over the wire").await?;
/// near.shutdown().await?;
/// let mut heard = String::new();
/// far.read_to_string(&mut heard).await?;
/// assert_eq!(heard, "over the wire");
/// # Ok(())
/// # }
/// ```
pub struct ByteStream {
    socket: WebSocket,
    /// The message being read, and how much of it was read.
    message: Binary,
    read: usize,
}

/// The most that one write takes. 64 KiB: a message that every peer accepts.
const MESSAGE: usize = 64 * 1024;

impl WebSocket {
    /// Uses the WebSocket as a stream of bytes.
    #[must_use]
    pub fn into_byte_stream(self) -> ByteStream {
        ByteStream {
            socket: self,
            message: Binary::default(),
            read: 0,
        }
    }
}

impl ByteStream {
    /// The WebSocket, to see how it ended. Receiving messages from it in between loses the rest of
    /// a partly read one.
    #[must_use]
    pub fn socket(&self) -> &WebSocket {
        &self.socket
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let rest = self.message.get(self.read..).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.len().min(buffer.remaining());
                buffer.put_slice(rest.get(..count).unwrap_or_default());
                self.read += count;
                return Poll::Ready(Ok(()));
            }
            match ready!(self.socket.poll_recv(cx)) {
                Ok(Some(Message::Binary(message))) => {
                    self.message = message;
                    self.read = 0;
                }
                Ok(Some(Message::Text(_))) => {
                    let text = "the peer sent text where a stream of bytes was expected";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Ok(None) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(io_error(error))),
            }
        }
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let message = bytes.get(..MESSAGE).unwrap_or(bytes);
        if message.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let sent = self
            .socket
            .driver()
            .poll_send(cx, |outbound| outbound.send(message));
        sent.map(|sent| sent.map(|()| message.len()).map_err(io_error))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.socket.driver().poll_drained(cx)) {
            // The connection has ended, and everything was sent before.
            Err(Error::Closed(_)) if self.socket.unsent() == 0 => Poll::Ready(Ok(())),
            drained => Poll::Ready(drained.map_err(io_error)),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.socket.state() == ReadyState::Open {
            self.socket
                .sender()
                .close(CloseCode::NORMAL, "")
                .map_err(io_error)?;
        }
        self.poll_flush(cx)
    }
}

fn io_error(error: Error) -> io::Error {
    if let Error::Lost(error) = error {
        return error;
    }
    let kind = if matches!(error, Error::Closing | Error::Closed(_)) {
        io::ErrorKind::BrokenPipe
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, error)
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}
