//! No library: the least that an echo server on tokio can do, as a baseline.
//!
//! All frames of one read are answered with one write. The read and write buffers belong to the
//! thread, so that an idle connection holds none. It trusts its client: no UTF-8 check, no
//! fragments, no limits.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use anyhow::{Context as _, Result, ensure};
use peers::{Echo, Io, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The size of one read.
const READ_BUFFER: usize = 256 * 1024;

thread_local! {
    static BUFFERS: RefCell<Buffers> =
        RefCell::new(Buffers { input: vec![0; READ_BUFFER], output: Vec::new() });
}

struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
}

struct BareTokio;

impl Echo for BareTokio {
    async fn serve(mut stream: impl Io, _options: Arc<Options>) -> Result<()> {
        let mut connection = Connection::default();
        upgrade(&mut stream).await?;
        while !connection.closed {
            if poll_fn(|cx| connection.turn(&mut stream, cx)).await? == 0 {
                return Ok(());
            }
            if !connection.unsent.is_empty() {
                stream.write_all(&connection.unsent).await?;
                connection.unsent = Vec::new();
            }
        }
        stream.shutdown().await?;
        Ok(())
    }
}

async fn upgrade(stream: &mut impl Io) -> Result<()> {
    let mut head = Vec::with_capacity(1024);
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(
            stream.read_buf(&mut head).await? > 0,
            "the client closed the connection"
        );
    }
    let head = String::from_utf8(head)?;
    let key = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find_map(|(name, value)| {
            name.eq_ignore_ascii_case("sec-websocket-key")
                .then_some(value)
        });
    let accept = derive_accept_key(key.context("no key")?.as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(response.as_bytes()).await?;
    Ok(())
}

/// Empty while idle.
#[derive(Default)]
struct Connection {
    /// The start of an incomplete frame.
    partial: Vec<u8>,
    /// Output that did not fit into the socket.
    unsent: Vec<u8>,
    closed: bool,
}

impl Connection {
    /// Reads once, answers, and returns the number of bytes read.
    fn turn(&mut self, stream: &mut impl Io, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        BUFFERS.with_borrow_mut(|Buffers { input, output }| {
            let mut read = ReadBuf::new(input);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
            let input = read.filled_mut();
            let count = input.len();
            output.clear();
            if self.partial.is_empty() {
                let used = self.answer(input, output);
                self.partial.extend_from_slice(&input[used..]);
            } else {
                let mut partial = std::mem::take(&mut self.partial);
                partial.extend_from_slice(input);
                let used = self.answer(&mut partial, output);
                partial.drain(..used);
                if !partial.is_empty() {
                    self.partial = partial;
                }
            }
            let mut sent = 0;
            while sent < output.len() {
                match Pin::new(&mut *stream).poll_write(cx, &output[sent..]) {
                    Poll::Ready(more) => sent += more?,
                    Poll::Pending => break,
                }
            }
            self.unsent.extend_from_slice(&output[sent..]);
            Poll::Ready(Ok(count))
        })
    }

    /// Unmasks complete frames and appends their echoes; returns the number of bytes consumed.
    fn answer(&mut self, input: &mut [u8], output: &mut Vec<u8>) -> usize {
        let mut used = 0;
        while let Some(frame) = frame(&input[used..]) {
            let whole = frame.head + frame.length;
            let Some(bytes) = input.get_mut(used..used + whole) else {
                break;
            };
            let (head, payload) = bytes.split_at_mut(frame.head);
            unmask(payload, &head[frame.head - 4..]);
            self.closed |= head[0] & 0x0F == 8;
            output.push(head[0]);
            output.push(head[1] & 0x7F);
            output.extend_from_slice(&head[2..frame.head - 4]);
            output.extend_from_slice(payload);
            used += whole;
        }
        used
    }
}

struct Frame {
    head: usize,
    length: usize,
}

/// The sizes of a masked frame's header and payload (RFC 6455 §5.2), once the header is complete.
fn frame(bytes: &[u8]) -> Option<Frame> {
    let (head, length) = match bytes.get(1)? & 0x7F {
        126 => (
            8,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (
            14,
            u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize,
        ),
        length => (6, usize::from(length)),
    };
    (bytes.len() >= head).then_some(Frame { head, length })
}

fn unmask(payload: &mut [u8], mask: &[u8]) {
    let mask = [mask[0], mask[1], mask[2], mask[3]];
    let wide = (u64::from(u32::from_ne_bytes(mask)) << 32) | u64::from(u32::from_ne_bytes(mask));
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        let bytes: [u8; 8] = (&*word).try_into().unwrap_or_default();
        word.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

fn main() -> Result<()> {
    peers::run::<BareTokio>()
}
