//! Messages on a stream: each is preceded by its length, 4 bytes, the most significant one first.

use std::io;

use quinn::{ReadExactError, RecvStream};

/// The longest message in bytes. 16 MiB: many times the server's longest message.
const LONGEST: u32 = 16 << 20;

/// A message with its length in front.
pub(crate) fn framed(text: &str) -> io::Result<Vec<u8>> {
    let length = u32::try_from(text.len()).ok().filter(|len| *len <= LONGEST);
    let length = length.ok_or_else(|| {
        let len = text.len();
        io::Error::other(format!("a message of {len} bytes; the limit is {LONGEST}"))
    })?;
    let mut framed = Vec::with_capacity(text.len() + 4);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(text.as_bytes());
    Ok(framed)
}

/// The next message of a stream; none at its end.
pub(crate) async fn next(receive: &mut RecvStream) -> io::Result<Option<String>> {
    let mut length = [0; 4];
    match receive.read_exact(&mut length).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(io::Error::other(error)),
    }
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        let text =
            format!("the server announces a message of {length} bytes; the limit is {LONGEST}");
        return Err(io::Error::other(text));
    }
    // The bytes are allocated as they arrive, not as announced.
    let mut left = usize::try_from(length).unwrap_or(usize::MAX);
    let mut message = Vec::new();
    while left > 0 {
        let chunk = receive
            .read_chunk(left, true)
            .await
            .map_err(io::Error::other)?;
        let chunk = chunk.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        left = left.saturating_sub(chunk.bytes.len());
        message.extend_from_slice(&chunk.bytes);
    }
    let text = String::from_utf8(message);
    text.map(Some)
        .map_err(|_| io::Error::other("a message is not UTF-8"))
}
