//! No library: the least that an echo server on tokio can do, as a baseline. It trusts its client
//! and checks nothing.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The size of one read. It grows for a longer frame.
const READ: usize = 64 * 1024;

/// Answers all frames of one read with one write.
pub async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut input = vec![0; READ];
    let mut held = 0;
    let mut output = Vec::new();
    loop {
        if held == input.len() {
            input.resize(2 * held, 0);
        }
        let read = stream.read(&mut input[held..]).await?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let used = answer(&mut input[..held], &mut output);
        input.copy_within(used..held, 0);
        held -= used;
        stream.write_all(&output).await?;
        output.clear();
    }
}

/// Unmasks complete frames and appends their echoes; returns the number of bytes consumed.
fn answer(input: &mut [u8], output: &mut Vec<u8>) -> usize {
    let mut used = 0;
    while let Some((head, len)) = sizes(&input[used..]) {
        let Some(frame) = input.get_mut(used..used + head + len) else {
            break;
        };
        let (head_bytes, payload) = frame.split_at_mut(head);
        let (before, key) = head_bytes.split_at(head - 4);
        unmask(payload, [key[0], key[1], key[2], key[3]]);
        output.extend([before[0], before[1] & 0x7f]);
        output.extend_from_slice(&before[2..]);
        output.extend_from_slice(payload);
        used += head + len;
    }
    used
}

/// The lengths of a masked frame's header and payload (RFC 6455 §5.2), once the header is complete.
fn sizes(bytes: &[u8]) -> Option<(usize, usize)> {
    let (head, len) = match bytes.get(1)? & 0x7f {
        126 => (8, u16::from_be_bytes(*bytes[2..].first_chunk()?).into()),
        127 => (14, u64::from_be_bytes(*bytes[2..].first_chunk()?) as usize),
        len => (6, len.into()),
    };
    (bytes.len() >= head).then_some((head, len))
}

fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let word = u64::from(u32::from_le_bytes(key));
    let wide = word << 32 | word;
    let (words, tail) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_le_bytes(*bytes) ^ wide).to_le_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}
