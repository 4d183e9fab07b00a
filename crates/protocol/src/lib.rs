#![doc = include_str!("lib.md")]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::panic
    )
)]

mod close_code;
mod config;
mod connection;
pub mod deflate;
mod error;
mod frame;
pub mod handshake;
mod mask;
mod message;
mod prepared;
mod shown;
mod utf8;

pub use close_code::CloseCode;
pub use config::{Config, Keepalive, Limits};
pub use connection::{
    CloseFrame, Closed, ClosedBy, Connection, Deflate, Event, Input, MaskKeys, ReadyState,
    ReceiveMode, SentPing,
};

/// The two halves of a [`Connection`], for drivers that read and write in different places. For
/// example, a driver can hand out messages without the lock that its senders share.
///
/// Take them apart with [`Connection::into_halves`]. After that, call the outbound half's
/// [`heard`](halves::Outbound::heard) whenever bytes arrived; pass every result of
/// [`Inbound::receive`](halves::Inbound::receive) other than a message to
/// [`Outbound::react`](halves::Outbound::react), and call [`received`](halves::Outbound::received)
/// when messages arrived. Once [`Outbound::is_over`](halves::Outbound::is_over) returns `true`,
/// stop receiving.
///
/// A driver of many connections can [lend](halves::lend_with) each of them the buffer in which its
/// output is corked, and [take it back](halves::reclaim) when all of it has left.
pub mod halves {
    pub use crate::connection::{Frames, Inbound, Outbound, lend, lend_with, reclaim};
}
pub use error::{Error, LimitError, PeerError, SendError, TimeoutError};
pub use frame::{EncodedHeader, FrameHeader, MAX_CONTROL_LEN, MAX_HEADER_LEN, OpCode};
pub use mask::mask;
#[doc(hidden)]
pub use message::sealed;
pub use message::{Chunk, Kind, Message, Outgoing, Sendable};
pub use prepared::Prepared;
pub use shown::Shown;
