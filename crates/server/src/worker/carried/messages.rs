//! The messages of one request.

use offhook_dialects::{
    Incoming,
    socketio::packet::{Record, records},
};

/// The messages of one request: its body, of which one message after the other is taken. A small body
/// may have tens of thousands, which would take many times its memory as values of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Messages {
    /// One on each line.
    Lines(String),
    /// Records of Engine.IO, all of which are valid.
    Records(String),
}

impl Messages {
    /// The records of a payload of Engine.IO. Returns `None` if it is not a payload.
    pub(crate) fn of_payload(payload: String) -> Option<Self> {
        let is_valid = records(&payload).all(|record| record.is_ok());
        is_valid.then_some(Self::Records(payload))
    }

    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = Record<'_>> + '_> {
        match self {
            Self::Lines(lines) => {
                let lines = lines.lines().filter(|line| !line.trim().is_empty());
                Box::new(lines.map(Record::Text))
            }
            Self::Records(payload) => Box::new(records(payload).flatten()),
        }
    }
}

/// A record as received data.
pub(super) fn incoming<'a>(record: &'a Record<'_>) -> Incoming<'a> {
    match record {
        Record::Text(text) => Incoming::Text(text),
        Record::Binary(bytes) => Incoming::Binary(bytes),
    }
}
