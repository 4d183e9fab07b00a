//! A client that waits for an answer.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use offhook_protocol::handshake::{Accepted, InvalidHeader, Refusal, Request, ServerDecision};

use super::connections::Connections;
use super::served::Served;
use crate::error::Error;
#[cfg(feature = "http2")]
use crate::http2::Answer;
use crate::settings::Settings;
use crate::socket::WebSocket;
use crate::trace::Span;
use crate::transport::Transport;

/// A client's request for a connection, waiting for the answer.
#[derive(Debug)]
#[must_use = "accept or reject it: the client is waiting"]
pub struct Incoming(Box<Parts>);

/// Boxed: a handler holds it in its future for as long as the connection lasts.
#[derive(Debug)]
struct Parts {
    decision: ServerDecision,
    way: Way,
    settings: Settings,
    connections: Option<Connections>,
    served: Option<Arc<Served>>,
    span: Span,
}

/// How the request is answered.
#[derive(Debug)]
pub(super) enum Way {
    /// HTTP/1.1: the connection becomes the WebSocket; these bytes were already read.
    Upgrade(Transport, Vec<u8>),
    #[cfg(feature = "http2")]
    Stream(Answer),
}

impl Way {
    fn peer_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Upgrade(transport, _) => transport.peer_addr(),
            #[cfg(feature = "http2")]
            Self::Stream(answer) => answer.peer_addr(),
        }
    }
}

impl Incoming {
    pub(super) fn new(
        decision: ServerDecision,
        way: Way,
        settings: Settings,
        connections: Option<Connections>,
    ) -> Self {
        let span = Span::request(|| way.peer_addr(), decision.request());
        Self(Box::new(Parts {
            decision,
            way,
            settings,
            connections,
            served: None,
            span,
        }))
    }

    /// Makes this server responsible for finishing the connection.
    pub(super) fn served_by(mut self, served: Arc<Served>) -> Self {
        self.0.served = Some(served);
        self
    }

    /// The client's request.
    #[must_use]
    pub fn request(&self) -> &Request {
        self.0.decision.request()
    }

    /// The client's address; see [`WebSocket::peer_addr`].
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.0.way.peer_addr()
    }

    /// The span of the resulting connection.
    pub(super) fn span(&self) -> Span {
        self.0.span.clone()
    }

    /// The pending answer: use it to select the subprotocol or to decline compression.
    pub fn decision(&mut self) -> &mut ServerDecision {
        &mut self.0.decision
    }

    /// Adds a header field, such as `Set-Cookie`, to the accepting response.
    ///
    /// # Errors
    /// The header field is invalid, or is one that the handshake sets itself.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, InvalidHeader> {
        self.0.decision.add_header(name, value)?;
        Ok(self)
    }

    /// Accepts the request and opens the WebSocket.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn accept(self) -> Result<WebSocket, Error> {
        let Parts {
            decision,
            way,
            settings,
            connections,
            served,
            span,
        } = *self.0;
        let Accepted {
            response,
            negotiated,
            ..
        } = decision.accept();
        let (transport, unread) = match way {
            Way::Upgrade(mut transport, unread) => {
                let head = response.into_bytes();
                transport.write_all(&head).await.map_err(Error::Lost)?;
                (transport, unread)
            }
            #[cfg(feature = "http2")]
            Way::Stream(answer) => (answer.accept(&response).map_err(Error::Lost)?, Vec::new()),
        };
        let socket = WebSocket::server_in(span, transport, negotiated, &unread, &settings);
        if let Some(served) = served {
            served.opened(&socket);
        }
        Ok(socket.tracked_by(connections.as_ref()))
    }

    /// Rejects the request.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn reject(self, refusal: Refusal) -> Result<(), Error> {
        let Parts {
            decision,
            way,
            span,
            ..
        } = *self.0;
        span.refused(refusal.status());
        let response = decision.reject(refusal);
        match way {
            Way::Upgrade(mut transport, _) => {
                let head = response.into_bytes();
                say_and_shut(&mut transport, &head).await
            }
            #[cfg(feature = "http2")]
            Way::Stream(answer) => answer.refuse(&response).map_err(Error::Lost),
        }
    }
}

/// Writes the last bytes of a connection and shuts it down.
pub(super) async fn say_and_shut(transport: &mut Transport, bytes: &[u8]) -> Result<(), Error> {
    transport.write_all(bytes).await.map_err(Error::Lost)?;
    // It does not matter if the peer is already gone.
    let _ended = poll_fn(|cx| transport.poll_shutdown(cx)).await;
    Ok(())
}
