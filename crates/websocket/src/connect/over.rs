//! Connecting over an established stream.

use offhook_protocol::handshake::Headers;

use super::builder::Connect;
#[cfg(feature = "http2")]
use super::http2::Http2;
use super::over_stream;
use crate::error::Error;
use crate::socket::WebSocket;
use crate::transport::{Stream, Transport};

/// Opens a connection over an established stream; made by [`Connect::over`].
#[derive(Debug)]
#[must_use = "nothing is sent before `open`"]
pub struct Over<S> {
    pub(super) connect: Connect,
    pub(super) stream: S,
}

impl<S: Stream> Over<S> {
    /// Opens the connection.
    ///
    /// # Errors
    ///
    /// As [`Connect::open`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time.
    pub async fn open(self) -> Result<WebSocket, Error> {
        let (socket, _) = over_stream(&self.connect, Transport::boxed(self.stream)).await?;
        Ok(socket)
    }

    /// As [`open`](Self::open), and also returns the header fields of the server's answer.
    ///
    /// # Errors
    ///
    /// As [`Connect::open`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time.
    pub async fn open_with_headers(self) -> Result<(WebSocket, Headers), Error> {
        over_stream(&self.connect, Transport::boxed(self.stream)).await
    }

    /// Opens an HTTP/2 connection over the stream, for many WebSockets.
    ///
    /// # Errors
    ///
    /// As [`Connect::http2`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time.
    #[cfg(feature = "http2")]
    pub async fn http2(self) -> Result<Http2, Error> {
        Http2::over(&self.connect, Transport::boxed(self.stream)).await
    }
}
