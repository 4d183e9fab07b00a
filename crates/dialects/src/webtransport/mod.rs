//! The native dialect over WebTransport, specified in `docs/webtransport.md`: the same messages, which this
//! module frames on the session's control stream, and places on a stream of their subscription or into
//! datagrams where the client has asked for that.
//!
//! What the dialect says is a sequence of [`Placed`] messages in the transport's own form: see
//! [`Placed::read`]. The transport does not look into messages.

mod dialect;
mod framing;
mod own;
mod placed;

pub use dialect::{OverWebTransport, Settings};
pub use framing::framed;
pub use placed::Placed;
