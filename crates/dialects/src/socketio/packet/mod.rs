//! Packets of Engine.IO v4, and packets of Socket.IO v5 inside them.
//!
//! A packet of Socket.IO with binary attachments consists of several messages, which [`Decoder`]
//! reassembles.

mod decode;
mod encode;
mod engine;

use std::fmt;

use bytes::Bytes;

pub use decode::Decoder;
pub(in crate::socketio) use encode::head;
pub use engine::{Engine, Record, SEPARATOR, records, write_record};

/// The maximum number of attachments of one packet. 8: an event needs at most one, and the stock
/// clients refuse more than 10.
pub const MAX_ATTACHMENTS: usize = 8;
/// The maximum length of a namespace in bytes. 200: the same as for a channel's name.
pub const MAX_NAMESPACE: usize = 200;
/// The main namespace, which is omitted on the wire.
pub const MAIN: &str = "/";

/// A whole packet of Socket.IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its type. Whether it is binary follows from its attachments.
    pub kind: Kind,
    /// The namespace, which starts with a slash.
    pub namespace: Box<str>,
    /// The number of the acknowledgement that an event requests, or that this packet is.
    pub ack: Option<u64>,
    /// The payload as JSON: an object for [`Kind::Connect`], an array for an event and an
    /// acknowledgement. Empty if there is none.
    pub json: Box<str>,
    /// The bytes that the placeholders stand for.
    pub attachments: Vec<Bytes>,
}

/// A type of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client connects to a namespace, or the server confirms that.
    Connect,
    /// Either side leaves a namespace.
    Disconnect,
    /// An event, which requests an acknowledgement if it has a number.
    Event,
    /// An acknowledgement.
    Ack,
    /// The server refuses to connect the client to a namespace.
    ConnectError,
}

/// Why a packet is invalid. The connection ends, because what follows it cannot be interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Invalid {}
