//! Messages that wait to be sent, unframed and in order.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::frame::OpCode;
use crate::message::Kind;
use crate::prepared::Prepared;

/// The queue of messages that wait to be sent. Boxed in the outbound half, which has one only while
/// something waits.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Invariant: only the message at the front may be partly sent.
    queue: VecDeque<Queued>,
    /// Messages sent while another one is being written piece by piece. They follow when it ends.
    behind: VecDeque<Queued>,
    /// Payload bytes in `queue` and `behind`.
    pub(crate) bytes: usize,
    /// The payload bytes in `behind`.
    pub(crate) bytes_behind: usize,
    /// The answer to the latest ping, while too many earlier pongs are unsent.
    pub(crate) pong: Option<Vec<u8>>,
}

impl Backlog {
    /// Whether nothing can be sent now.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether something can be sent, now or once earlier pongs have been written.
    pub(crate) fn has_output(&self) -> bool {
        !self.queue.is_empty() || self.pong.is_some()
    }

    /// Whether nothing waits: no message and no pong.
    pub(crate) fn is_over(&self) -> bool {
        self.queue.is_empty() && self.behind.is_empty() && self.pong.is_none()
    }

    /// Appends a message; an urgent one goes before those that are not urgent.
    pub(crate) fn put(&mut self, queued: Queued) {
        self.bytes = self.bytes.saturating_add(queued.len());
        insert(&mut self.queue, queued);
    }

    /// As `put`, behind the message that is being written piece by piece.
    pub(crate) fn put_behind(&mut self, queued: Queued) {
        self.bytes = self.bytes.saturating_add(queued.len());
        self.bytes_behind = self.bytes_behind.saturating_add(queued.len());
        insert(&mut self.behind, queued);
    }

    /// The message written piece by piece has ended: the messages after it join the queue.
    pub(crate) fn release(&mut self) {
        self.bytes_behind = 0;
        self.queue.append(&mut self.behind);
    }

    /// Puts the rest of a partly sent message back at the front.
    pub(crate) fn put_back(&mut self, rest: Queued) {
        self.bytes = self.bytes.saturating_add(rest.len());
        self.queue.push_front(rest);
    }

    /// Takes the next entry.
    pub(crate) fn take(&mut self) -> Option<Queued> {
        let next = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(next.len());
        Some(next)
    }
}

/// Appends an entry; an urgent one goes before those that are not urgent.
fn insert(queue: &mut VecDeque<Queued>, queued: Queued) {
    let place = if queued.is_urgent() {
        queue.iter().position(Queued::gives_way)
    } else {
        None
    };
    queue.insert(place.unwrap_or(queue.len()), queued);
}

/// One entry of the queue.
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
    /// Whole frames.
    Framed {
        frames: Bytes,
    },
    /// The rest of a partly sent message.
    Rest {
        opcode: OpCode,
        rsv1: bool,
        payload: Bytes,
    },
    /// A piece of a message that is written piece by piece.
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
            Self::Framed { frames } => frames.len(),
        }
    }

    fn is_urgent(&self) -> bool {
        matches!(
            self,
            Self::Message { urgent: true, .. } | Self::Prepared { urgent: true, .. }
        )
    }

    /// Whether an urgent message may be put before it.
    fn gives_way(&self) -> bool {
        match self {
            Self::Message { urgent, .. } | Self::Prepared { urgent, .. } => !*urgent,
            Self::Framed { .. } => true,
            Self::Rest { .. } => false,
            Self::Piece { first, .. } => *first,
        }
    }
}
