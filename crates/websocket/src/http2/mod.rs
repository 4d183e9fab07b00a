//! WebSockets over one HTTP/2 connection (RFC 8441): code shared by both ends, and the server's.
//! The client's is in [`connect`](crate::connect).
//!
//! ```text
//!  TCP, TLS ──► h2's connection ──┬─► stream ──► Transport::Boxed ──► WebSocket
//!                 │  keepalive,   ├─► stream ──► ...
//!                 └─ one task     └─► stream ──► ...
//! ```
//!
//! The h2 crate implements frames, HPACK, flow control and the defence against floods of resets,
//! settings, pings and headers. This module turns a stream into a stream of bytes and a request
//! into a handshake.

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

/// Converts an error of a stream, or of its connection.
pub(crate) fn io_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    // RFC 8441 §5: RST_STREAM with CANCEL corresponds to a TCP reset.
    let kind = if error.is_reset() {
        io::ErrorKind::ConnectionReset
    } else {
        io::ErrorKind::ConnectionAborted
    };
    io::Error::new(kind, error)
}
