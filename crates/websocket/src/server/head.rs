//! The first bytes of a connection: the HTTP version, and the request.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use offhook_protocol::handshake::{
    Rejection, ServerConfig, ServerDecision, ServerHandshake, ServerStep,
};
use tokio::io::ReadBuf;

use crate::driver::buffers;
use crate::transport::Transport;

/// What was received.
pub(super) enum Heard {
    /// A valid HTTP/1.1 handshake, and the bytes after it.
    Upgrade(Box<ServerDecision>, Vec<u8>),
    /// An invalid handshake.
    Rejected(Rejection),
    /// The HTTP/2 preface, with the bytes after it, which are still to be read.
    #[cfg(feature = "http2")]
    Http2(Vec<u8>),
}

/// Reads until the HTTP version is known and the request is complete.
pub(super) struct Listening {
    handshake: Option<ServerHandshake>,
    /// All bytes received, as long as they may be the HTTP/2 preface.
    #[cfg(feature = "http2")]
    preface: Option<Vec<u8>>,
}

impl Listening {
    /// Accepts only HTTP/1.1.
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        Self {
            handshake: Some(ServerHandshake::new(config)),
            #[cfg(feature = "http2")]
            preface: None,
        }
    }

    /// Also accepts HTTP/2, if the client starts with its preface (RFC 9113 §3.3).
    #[cfg(feature = "http2")]
    pub(super) fn or_http2(mut self) -> Self {
        self.preface = Some(Vec::new());
        self
    }

    /// Reads until the request is complete. Holds no buffer while it waits: a thousand slow heads
    /// cost only the bytes they have sent.
    pub(super) fn poll(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Heard>> {
        loop {
            let mut buffer = buffers::take_read();
            let mut read = ReadBuf::new(&mut buffer);
            let result = transport.poll_read(cx, &mut read);
            let len = read.filled().len();
            let heard = match &result {
                Poll::Ready(Ok(())) if len > 0 => self.hear(buffer.get(..len).unwrap_or_default()),
                Poll::Ready(_) | Poll::Pending => None,
            };
            buffers::give_read(buffer);
            if let Some(heard) = heard {
                return Poll::Ready(Ok(heard));
            }
            ready!(result)?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    #[cfg(feature = "http2")]
    fn hear(&mut self, bytes: &[u8]) -> Option<Heard> {
        use crate::http2::PREFACE;
        let Some(mut held) = self.preface.take() else {
            return self.receive(bytes);
        };
        held.extend_from_slice(bytes);
        if held.starts_with(PREFACE) {
            return Some(Heard::Http2(held));
        }
        if PREFACE.starts_with(&held) {
            self.preface = Some(held);
            return None;
        }
        self.receive(&held)
    }

    #[cfg(not(feature = "http2"))]
    fn hear(&mut self, bytes: &[u8]) -> Option<Heard> {
        self.receive(bytes)
    }

    fn receive(&mut self, bytes: &[u8]) -> Option<Heard> {
        match self.handshake.take()?.receive(bytes) {
            Ok(ServerStep::Incomplete(waiting)) => {
                self.handshake = Some(waiting);
                None
            }
            Ok(ServerStep::Request { decision, consumed }) => {
                let unread = bytes.get(consumed..).unwrap_or_default().to_vec();
                Some(Heard::Upgrade(Box::new(decision), unread))
            }
            Err(rejection) => Some(Heard::Rejected(rejection)),
        }
    }
}
