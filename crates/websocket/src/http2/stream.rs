//! An HTTP/2 stream as a stream of bytes.

use std::any::Any;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::io_error;

/// The most that one write takes.
const CHUNK: usize = 64 * 1024;

/// How long to wait, after ending a stream, for the other end to end it too. Then it is reset, as
/// RFC 9113 §8.1 allows a server that needs no more of a request.
const FAREWELL: Duration = Duration::from_secs(1);

/// Both directions of a stream (RFC 8441 §5: DATA frames carry what TCP would).
///
/// If it is dropped after a shutdown, it waits briefly for the other end's `END_STREAM`; otherwise
/// it is reset with CANCEL.
pub(crate) struct H2Stream {
    /// `None` only during drop.
    halves: Option<Halves>,
}

struct Halves {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// Received bytes that did not fit into the reader's buffer.
    unread: Bytes,
    /// Whether our `END_STREAM` was sent.
    ended: bool,
    /// The permit it holds on a client's connection.
    place: Option<OwnedSemaphorePermit>,
    /// What a server wants to be dropped together with the stream.
    held: Option<Box<dyn Any + Send>>,
}

impl H2Stream {
    pub(crate) fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self {
            halves: Some(Halves {
                send,
                receive,
                unread: Bytes::new(),
                ended: false,
                place: None,
                held: None,
            }),
        }
    }

    /// Holds this permit until the stream is gone.
    pub(crate) fn in_place(mut self, place: OwnedSemaphorePermit) -> Self {
        if let Some(halves) = &mut self.halves {
            halves.place = Some(place);
        }
        self
    }

    /// Holds this until the stream is gone.
    pub(crate) fn holding(mut self, held: Box<dyn Any + Send>) -> Self {
        if let Some(halves) = &mut self.halves {
            halves.held = Some(held);
        }
        self
    }

    fn halves(&mut self) -> io::Result<&mut Halves> {
        self.halves
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Halves {
    /// Fills the buffer with the available data. Adds nothing at `END_STREAM`.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let ended = loop {
            let count = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(count));
            if buffer.remaining() == 0 {
                break Ok(());
            }
            match self.receive.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => self.unread = data,
                Poll::Ready(Some(Err(error))) => break Err(io_error(error)),
                Poll::Ready(None) => break Ok(()),
                Poll::Pending if buffer.filled().len() == before => return Poll::Pending,
                Poll::Pending => break Ok(()),
            }
        };
        let taken = buffer.filled().len() - before;
        if taken == 0 {
            return Poll::Ready(ended);
        }
        // The other end may send as much again as was consumed. The next call reports how the
        // stream ended.
        let released = self.receive.flow_control().release_capacity(taken);
        Poll::Ready(released.map_err(io_error))
    }

    /// Sends as much as the windows and h2's own buffer have room for.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(wanted.min(CHUNK));
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Err(self.why_closed(cx))),
            }
        }
        let mut left = wanted.min(CHUNK).min(self.send.capacity());
        let mut data = BytesMut::with_capacity(left);
        for slice in slices {
            let (part, _) = slice.split_at(slice.len().min(left));
            data.extend_from_slice(part);
            left -= part.len();
        }
        let count = data.len();
        let sent = self.send.send_data(data.freeze(), false);
        Poll::Ready(sent.map(|()| count).map_err(io_error))
    }

    fn why_closed(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.send.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => io::Error::new(
                io::ErrorKind::ConnectionReset,
                format!("the stream was reset: {}", reason.description()),
            ),
            Poll::Ready(Err(error)) => io_error(error),
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }

    /// RFC 8441 §5: `END_STREAM` corresponds to an orderly TCP close.
    fn end(&mut self) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        self.send.send_data(Bytes::new(), true).map_err(io_error)
    }

    /// Waits for the other end to end the stream too, and discards what still arrives.
    async fn farewell(mut self) {
        let drain = async {
            while let Some(Ok(data)) = poll_fn(|cx| self.receive.poll_data(cx)).await {
                let flow = self.receive.flow_control();
                if flow.release_capacity(data.len()).is_err() {
                    return;
                }
            }
        };
        // The peer has ended the stream, or its time is up.
        let _ended = tokio::time::timeout(FAREWELL, drain).await;
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        let Some(halves) = self.halves.take() else {
            return;
        };
        if halves.ended
            && !halves.receive.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(halves.farewell());
        }
    }
}

impl AsyncRead for H2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.halves()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for H2Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.halves()?.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.halves()?.poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The connection sends what was written; its task was already woken.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.halves()?.end())
    }
}
