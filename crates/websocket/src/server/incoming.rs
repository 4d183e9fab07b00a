//! A client that waits for an answer.

use std::future::poll_fn;
use std::io::{self, IoSlice};

use offhook_protocol::handshake::{Accepted, Refusal, Request, ServerDecision};

use super::connections::Connections;
use crate::error::Error;
#[cfg(feature = "http2")]
use crate::http2::Answer;
use crate::settings::Settings;
use crate::socket::WebSocket;
use crate::transport::Transport;

/// A client that asks for a connection, and waits for the answer.
#[derive(Debug)]
#[must_use = "accept or reject it, the client waits"]
pub struct Incoming {
    decision: ServerDecision,
    way: Way,
    settings: Settings,
    connections: Option<Connections>,
}

/// How it is answered.
#[derive(Debug)]
pub(super) enum Way {
    /// HTTP/1.1: the connection becomes the WebSocket; these bytes came already.
    Upgrade(Transport, Vec<u8>),
    #[cfg(feature = "http2")]
    Stream(Answer),
}

impl Incoming {
    pub(super) const fn new(
        decision: ServerDecision,
        way: Way,
        settings: Settings,
        connections: Option<Connections>,
    ) -> Self {
        Self {
            decision,
            way,
            settings,
            connections,
        }
    }

    /// What the client asks for.
    #[must_use]
    pub fn request(&self) -> &Request {
        self.decision.request()
    }

    /// The answer as it stands, to choose the subprotocol or to add headers.
    pub fn decision(&mut self) -> &mut ServerDecision {
        &mut self.decision
    }

    /// Says yes.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn accept(self) -> Result<WebSocket, Error> {
        let Accepted {
            response,
            negotiated,
            ..
        } = self.decision.accept();
        let (transport, unread) = match self.way {
            Way::Upgrade(mut transport, unread) => {
                let head = response.into_bytes();
                write_all(&mut transport, &head)
                    .await
                    .map_err(Error::Lost)?;
                (transport, unread)
            }
            #[cfg(feature = "http2")]
            Way::Stream(answer) => (answer.accept(&response).map_err(Error::Lost)?, Vec::new()),
        };
        let socket = WebSocket::server(transport, negotiated, &unread, &self.settings);
        Ok(socket.tracked_by(self.connections.as_ref()))
    }

    /// Says no.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn reject(self, refusal: Refusal) -> Result<(), Error> {
        let response = self.decision.reject(refusal);
        match self.way {
            Way::Upgrade(mut transport, _) => {
                let head = response.into_bytes();
                say_and_shut(&mut transport, &head).await
            }
            #[cfg(feature = "http2")]
            Way::Stream(answer) => answer.refuse(&response).map_err(Error::Lost),
        }
    }
}

/// The last thing that is said over a transport.
pub(super) async fn say_and_shut(transport: &mut Transport, bytes: &[u8]) -> Result<(), Error> {
    write_all(transport, bytes).await.map_err(Error::Lost)?;
    // That the peer is gone already is no matter.
    let _ended = poll_fn(|cx| transport.poll_shutdown(cx)).await;
    Ok(())
}

async fn write_all(transport: &mut Transport, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let slices = [IoSlice::new(bytes)];
        let written = poll_fn(|cx| transport.poll_write(cx, &slices)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    poll_fn(|cx| transport.poll_flush(cx)).await
}
