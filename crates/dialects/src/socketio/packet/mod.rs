//! Packets of Engine.IO v4 and of Socket.IO v5, which travel inside of them.
//!
//! A packet of Socket.IO with binary attachments takes several messages: [`Decoder`] puts them
//! together.

mod decode;
mod encode;
mod engine;

use std::fmt;

use bytes::Bytes;

pub use decode::Decoder;
pub(in crate::socketio) use encode::head;
pub use engine::{Engine, Record, SEPARATOR, records, write_record};

/// The maximum number of attachments of one packet. 8: data is one attachment, a page of history has
/// some, and the stock clients refuse more than 10.
pub const MAX_ATTACHMENTS: usize = 8;
/// The maximum length of a namespace in bytes. 200: as a channel's name.
pub const MAX_NAMESPACE: usize = 200;
/// The main namespace, which is left out on the wire.
pub const MAIN: &str = "/";

/// A whole packet of Socket.IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its type. Whether it is binary follows from its attachments.
    pub kind: Kind,
    /// The namespace, which starts with a slash.
    pub namespace: Box<str>,
    /// The number of the acknowledgement: that is wanted by an event, or that this is.
    pub ack: Option<u64>,
    /// The payload as JSON: an object for [`Kind::Connect`], an array for an event and an
    /// acknowledgement. Empty if there is none.
    pub json: Box<str>,
    /// What its placeholders stand for.
    pub attachments: Vec<Bytes>,
}

/// A type of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client enters a namespace, or the server lets it.
    Connect,
    /// Either leaves a namespace.
    Disconnect,
    /// An event, with an acknowledgement if it has a number.
    Event,
    /// An acknowledgement.
    Ack,
    /// The server does not let the client into a namespace.
    ConnectError,
}

/// Why a packet is not one. The connection ends: what follows it can't be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Invalid {}
