//! Encodes packets of Socket.IO.

use std::fmt::Write;

use super::{Kind, MAIN, Packet};
use crate::dialect::Payload;

impl Packet {
    /// A packet without an acknowledgement number and attachments.
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, json: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            ack: None,
            json: json.into(),
            attachments: Vec::new(),
        }
    }

    /// Appends the packet's messages, each of which is a message of Engine.IO.
    pub fn write(self, out: &mut Vec<Payload>) {
        let count = self.attachments.len();
        let mut text = head(self.kind, count, &self.namespace);
        text.reserve(self.json.len().saturating_add(8));
        if let Some(ack) = self.ack {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "{ack}");
        }
        text.push_str(&self.json);
        out.push(text.into());
        let attachments = self.attachments.into_iter();
        out.extend(attachments.map(|bytes| Payload::Binary(bytes.into())));
    }
}

/// The beginning of a packet, up to and including its namespace.
pub(in crate::socketio) fn head(kind: Kind, attachments: usize, namespace: &str) -> String {
    let mut text = String::from("4");
    text.push(match (kind, attachments) {
        (Kind::Connect, _) => '0',
        (Kind::Disconnect, _) => '1',
        (Kind::Event, 0) => '2',
        (Kind::Ack, 0) => '3',
        (Kind::ConnectError, _) => '4',
        (Kind::Event, _) => '5',
        (Kind::Ack, _) => '6',
    });
    if attachments > 0 {
        let _infallible = write!(text, "{attachments}-");
    }
    if namespace != MAIN {
        text.push_str(namespace);
        text.push(',');
    }
    text
}
