//! HTTP/3 over QUIC: requests, WebSockets (RFC 9220) and WebTransport sessions on the streams of one
//! connection.
//!
//! ```text
//!                           ┌─▶ control stream, QPACK ─▶ unidirectional
//!                           ├─▶ request ─▶ http::answer ─▶ answer::send          (a task each)
//! UDP ─▶ quinn ─▶ serve ────┼─▶ CONNECT websocket ─▶ door::upgrade ─▶ Worker::open
//!        a thread           ├─▶ CONNECT webtransport ─▶ session ─▶ Worker::serve_session
//!                           └─▶ streams of sessions ─▶ session
//! ```
//!
//! quinn implements QUIC; `offhook-http3` knows what the bytes on its streams mean. One thread receives the
//! packets of all connections; each connection, with everything on it, belongs to the worker that has
//! accepted it. A client that changes its address therefore keeps its connection.
//!
//! Requests are handled, and WebSockets are opened, by the same code as over HTTP/1.1 and HTTP/2.

mod answer;
mod body;
mod connection;
mod endpoint;
mod handshake;
mod request;
mod session;
mod stream;
mod unidirectional;
mod websocket;

pub(crate) use body::Body;
pub(crate) use endpoint::{Quic, QuicThread, start};
pub(crate) use handshake::accept;
