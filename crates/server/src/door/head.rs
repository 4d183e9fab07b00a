//! The first bytes of a connection: a WebSocket handshake, or another request.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use offhook::protocol::handshake::{
    Rejection, ServerConfig, ServerDecision, ServerHandshake, ServerStep,
};
use tokio::io::{AsyncRead, ReadBuf};

use super::stream::Stream;

/// What was received.
pub(super) enum Heard {
    /// A valid handshake, and the bytes after it.
    WebSocket(Box<ServerDecision>, Vec<u8>),
    /// Bytes for an HTTP server, which reads all of them again.
    Http(Vec<u8>),
    /// The same, of a client that speaks HTTP/2.
    Http2(Vec<u8>),
    /// An invalid handshake, with the reason, and all its bytes.
    Rejected(Rejection, Vec<u8>),
}

/// The size of one read. 4 KiB: twice a typical head.
const READ: usize = 4096;

/// RFC 9113 §3.4: what a client of HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until the head is complete. No buffer is held while waiting. `http2`: the client may speak
/// HTTP/2.
pub(super) async fn hear(
    stream: &mut Stream,
    config: &Arc<ServerConfig>,
    http2: bool,
) -> io::Result<Heard> {
    if http2 && stream.is_http2() {
        return Ok(Heard::Http2(Vec::new()));
    }
    let mut listening = Listening {
        handshake: Some(ServerHandshake::new(Arc::clone(config))),
        heard: Vec::new(),
        // RFC 9113 §3.3: over TLS, HTTP/2 is only spoken if ALPN has chosen it.
        prior_knowledge: http2 && stream.is_plain(),
    };
    poll_fn(|cx| listening.poll(stream, cx)).await
}

struct Listening {
    handshake: Option<ServerHandshake>,
    /// All bytes received; bounded by the limit on heads plus one read.
    heard: Vec<u8>,
    /// Whether the client may begin with HTTP/2.
    prior_knowledge: bool,
}

impl Listening {
    fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<Heard>> {
        loop {
            let mut buffer = [0; READ];
            let mut read = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if let Some(heard) = self.take(read.filled()) {
                return Poll::Ready(Ok(heard));
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Option<Heard> {
        self.heard.extend_from_slice(bytes);
        match self.handshake.take()?.receive(bytes) {
            Ok(ServerStep::Incomplete(waiting)) => {
                self.handshake = Some(waiting);
                None
            }
            Ok(ServerStep::Request { decision, consumed }) => {
                let unread = bytes.get(consumed..).unwrap_or_default().to_vec();
                Some(Heard::WebSocket(Box::new(decision), unread))
            }
            // The preface is written so that every parser of HTTP/1.1 refuses it. It may do so before
            // the whole preface has arrived; the rest is checked by who reads it again.
            Err(_) if self.prior_knowledge && agrees(&self.heard, PREFACE) => {
                Some(Heard::Http2(std::mem::take(&mut self.heard)))
            }
            Err(
                Rejection::NotAnUpgrade
                | Rejection::Method { .. }
                | Rejection::HttpVersion
                | Rejection::Body,
            ) => Some(Heard::Http(std::mem::take(&mut self.heard))),
            Err(rejection) => Some(Heard::Rejected(rejection, std::mem::take(&mut self.heard))),
        }
    }
}

/// Whether two texts agree as far as both go.
fn agrees(some: &[u8], other: &[u8]) -> bool {
    some.starts_with(other) || other.starts_with(some)
}
