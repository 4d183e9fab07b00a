//! Writing to and reading from a transport that has no driver yet.

use std::future::poll_fn;
use std::io::{self, IoSlice};

use tokio::io::ReadBuf;

use crate::Transport;

/// Writes all bytes and flushes.
pub(super) async fn write_all(transport: &mut Transport, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| transport.poll_write(cx, &[IoSlice::new(bytes)])).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    poll_fn(|cx| transport.poll_flush(cx)).await
}

/// Waits for data and reads it; 0 at the end of the stream.
pub(super) async fn read(transport: &mut Transport, buffer: &mut [u8]) -> io::Result<usize> {
    let mut buffer = ReadBuf::new(buffer);
    poll_fn(|cx| transport.poll_read(cx, &mut buffer)).await?;
    Ok(buffer.filled().len())
}

/// Fills the buffer; an earlier end of the stream is an error.
pub(super) async fn read_exact(transport: &mut Transport, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match read(transport, buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => buffer = &mut buffer[count..],
        }
    }
    Ok(())
}
