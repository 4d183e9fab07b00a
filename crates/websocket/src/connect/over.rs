//! A connection over a stream that somebody else has connected.

use offhook_protocol::handshake::Headers;

use super::builder::Connect;
#[cfg(feature = "http2")]
use super::http2::Http2;
use super::over_stream;
use crate::error::Error;
use crate::socket::WebSocket;
use crate::transport::{Stream, Transport};

/// A connection to be made over a stream, from [`Connect::over`].
#[derive(Debug)]
#[must_use = "nothing is asked before `open`"]
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

    /// As [`open`](Self::open), and gives the fields of the server's answer as well.
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

    /// Opens a connection of HTTP/2 over the stream, for many WebSockets.
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
