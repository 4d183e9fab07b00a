//! A stream that counts its system calls, or the equivalent of them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use offhook::protocol::handshake::Negotiated;
use offhook::{Link, LinkEnd, Pair, Settings, Transport, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads that returned data, and writes that accepted data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count {
    reads: Arc<AtomicUsize>,
    /// Reads, whether they returned data or not.
    polls: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
}

impl Count {
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn polls(&self) -> usize {
        self.polls.load(Ordering::Relaxed)
    }

    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Counted {
    end: LinkEnd,
    count: Count,
}

/// A client, a server whose stream is counted, and the link between them.
pub(crate) fn counted_pair(settings: &Settings) -> (WebSocket, WebSocket, Link, Count) {
    let (near, end, link) = Pair::new().capacity(1 << 20).link();
    let count = Count::default();
    let counted = Counted {
        end,
        count: count.clone(),
    };
    let agreed = Negotiated::default;
    let client = WebSocket::client(Transport::boxed(near), agreed(), &[], settings);
    let server = WebSocket::server(Transport::boxed(counted), agreed(), &[], settings);
    (client, server, link, count)
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.count.polls.fetch_add(1, Ordering::Relaxed);
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.end).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.count.reads.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.end).poll_write_vectored(cx, slices);
        if result.is_ready() {
            self.count.writes.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_shutdown(cx)
    }
}
