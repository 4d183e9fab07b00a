//! How a client's messages travel.

/// How a client's messages travel; set by [`Builder::transport`](crate::Builder::transport).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Over a WebSocket.
    #[default]
    WebSocket,
    /// Over HTTP/1.1: a stream of server-sent events for what is received, and requests for what is
    /// sent. For networks through which no WebSocket gets.
    Events,
    /// Over HTTP/1.1: requests that wait for messages, and requests for what is sent. For networks
    /// that hold back a response until it is complete.
    Polls,
}
