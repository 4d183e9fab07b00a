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
mod utf8;

pub use close_code::CloseCode;
pub use config::{Config, Keepalive, Limits};
pub use connection::{
    CloseFrame, Closed, ClosedBy, Connection, Deflate, Event, Input, MaskKeys, ReadyState,
    ReceiveMode, SentPing,
};
pub use error::{Error, LimitError, PeerError, SendError, TimeoutError};
pub use frame::{EncodedHeader, FrameHeader, MAX_CONTROL_LEN, MAX_HEADER_LEN, OpCode};
pub use mask::mask;
pub use message::{Chunk, Kind, Message, Outgoing, Sendable};
pub use prepared::Prepared;
