//! What waits for its turn to be sent, unframed, in order.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::frame::OpCode;
use crate::message::Kind;
use crate::prepared::Prepared;

/// What waits for its turn. Boxed in the connection: it is there only while something waits.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Invariant: only the front may have begun to be sent.
    queue: VecDeque<Queued>,
    /// Payload bytes in `queue`.
    pub(crate) bytes: usize,
    /// The answer to the latest ping, while too many earlier ones are unsent.
    pub(crate) pong: Option<Vec<u8>>,
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Puts a message to the end, an urgent one before those that give way.
    pub(crate) fn put(&mut self, queued: Queued) {
        self.bytes = self.bytes.saturating_add(queued.len());
        let place = match &queued {
            Queued::Message { urgent, .. } | Queued::Prepared { urgent, .. } if *urgent => {
                self.queue.iter().position(Queued::gives_way)
            }
            Queued::Message { .. }
            | Queued::Prepared { .. }
            | Queued::Rest { .. }
            | Queued::Piece { .. } => None,
        };
        self.queue.insert(place.unwrap_or(self.queue.len()), queued);
    }

    /// Puts what is left of a message back to the front.
    pub(crate) fn put_back(&mut self, rest: Queued) {
        self.bytes = self.bytes.saturating_add(rest.len());
        self.queue.push_front(rest);
    }

    /// Takes what is next.
    pub(crate) fn take(&mut self) -> Option<Queued> {
        let next = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(next.len());
        Some(next)
    }
}

/// One thing that waits.
#[derive(Debug)]
pub(crate) enum Queued {
    Message {
        kind: Kind,
        payload: Bytes,
        urgent: bool,
    },
    Prepared {
        message: Prepared,
        urgent: bool,
    },
    /// What is left of a message that has begun.
    Rest {
        opcode: OpCode,
        rsv1: bool,
        payload: Bytes,
    },
    /// A piece of a message that is being written piece by piece.
    Piece {
        kind: Kind,
        payload: Bytes,
        first: bool,
        last: bool,
    },
}

impl Queued {
    fn len(&self) -> usize {
        match self {
            Self::Message { payload, .. }
            | Self::Rest { payload, .. }
            | Self::Piece { payload, .. } => payload.len(),
            Self::Prepared { message, .. } => message.as_bytes().len(),
        }
    }

    /// Whether an urgent message may be put before it.
    fn gives_way(&self) -> bool {
        match self {
            Self::Message { urgent, .. } | Self::Prepared { urgent, .. } => !*urgent,
            Self::Rest { .. } => false,
            Self::Piece { first, .. } => *first,
        }
    }
}
