//! Many WebSockets over one connection of HTTP/2 (RFC 8441): what both ends share, and the
//! server's. The client's is in [`connect`](crate::connect).
//!
//! ```text
//!  TCP, TLS ──► h2's connection ──┬─► stream ──► Transport::Boxed ──► WebSocket
//!                 │  keepalive,   ├─► stream ──► ...
//!                 └─ one task     └─► stream ──► ...
//! ```
//!
//! Frames, HPACK, flow control and the defence against floods of resets, settings, pings and
//! headers are the h2 crate's. Here a stream becomes a stream of bytes, and a request a handshake.

mod keepalive;
mod limits;
mod server;
mod stream;

use std::io;

pub(crate) use keepalive::Keepalive;
pub use limits::Http2Limits;
pub(crate) use limits::field_list;
pub(crate) use server::{Answer, PREFACE, Streams};
pub(crate) use stream::H2Stream;

/// What went wrong with a stream, or with the connection under it.
pub(crate) fn io_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    // RFC 8441 §5: a TCP reset is RST_STREAM with CANCEL here.
    let kind = if error.is_reset() {
        io::ErrorKind::ConnectionReset
    } else {
        io::ErrorKind::ConnectionAborted
    };
    io::Error::new(kind, error)
}
