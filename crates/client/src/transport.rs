//! The transports of a client.

/// The transport of a client's messages; set by [`Builder::transport`](crate::Builder::transport).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Over a WebSocket.
    #[default]
    WebSocket,
    /// Over HTTP/1.1: messages are received by a stream of server-sent events, and sent by
    /// requests. For networks that block WebSockets.
    Events,
    /// Over HTTP/1.1: messages are received by long-polling, and sent by requests. For networks
    /// that hold back a response until it is complete.
    Polls,
}
