//! A transport in memory: reads and writes as on a socket, without the kernel.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that one read returns.
pub const READ: usize = 64 * 1024;

/// The buffer that writes go to, over and over; small enough to stay in the cache.
const SINK: usize = 256 * 1024;

/// Reads return the same bytes over and over; writes go into a ring. Every candidate pays for the
/// same copies.
pub struct Memory {
    source: Arc<[u8]>,
    at: usize,
    sink: Vec<u8>,
    sink_at: usize,
    /// Bytes written in total.
    pub written: u64,
}

impl Memory {
    pub fn new(source: &Arc<[u8]>) -> Self {
        Self {
            source: source.clone(),
            at: 0,
            sink: vec![0; SINK],
            sink_at: 0,
            written: 0,
        }
    }

    /// Reads once, into memory that need not be initialised first.
    pub fn read_into(&mut self, room: &mut impl BufMut) {
        let most = room.remaining_mut();
        room.put_slice(self.next(most));
    }

    fn next(&mut self, room: usize) -> &[u8] {
        let len = room.min(READ).min(self.source.len() - self.at);
        let from = self.at;
        self.at = (self.at + len) % self.source.len();
        &self.source[from..from + len]
    }
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.next(buffer.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Write for Memory {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let all = bytes.len();
        self.written += all as u64;
        while !bytes.is_empty() {
            let step = bytes.len().min(SINK - self.sink_at);
            self.sink[self.sink_at..self.sink_at + step].copy_from_slice(&bytes[..step]);
            self.sink_at = (self.sink_at + step) % SINK;
            bytes = &bytes[step..];
        }
        Ok(all)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        slices.iter().map(|slice| self.write(slice)).sum()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        buffer.put_slice(self.next(room));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs a future that never has to wait, because memory is always ready.
pub fn run<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("memory is always ready"),
    }
}
