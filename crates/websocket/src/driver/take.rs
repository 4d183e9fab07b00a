//! What a turn returns: one event, or all messages of one read.

use offhook_protocol::{Event, ReceiveMode};

use super::{Ready, buffers};

/// The purpose of a turn.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    /// How messages are taken.
    pub(super) mode: ReceiveMode,
    /// Whether messages are answered within the turn: then reading stops while too much is unsent.
    pub(super) replies: bool,
    /// Whether the future may be dropped without a report, as is the case for poll functions.
    pub(super) watched: bool,
}

impl Turn {
    /// For whole messages.
    pub(crate) const WHOLE: Self = Self {
        mode: ReceiveMode::Whole,
        replies: false,
        watched: false,
    };
    /// For messages piece by piece.
    pub(crate) const CHUNKS: Self = Self {
        mode: ReceiveMode::Chunks,
        replies: false,
        watched: false,
    };
    /// For whole messages, answered within the turn.
    pub(crate) const REPLIES: Self = Self {
        mode: ReceiveMode::Whole,
        replies: true,
        watched: false,
    };

    /// For a poll function, behind which there is no future of this crate.
    #[must_use]
    pub(crate) const fn watched(mut self) -> Self {
        self.watched = true;
        self
    }
}

/// Takes the events of a turn.
pub(super) trait Take {
    type Taken;

    /// Processes an event; a value ends the turn.
    fn event(&mut self, event: Event<'_>) -> Option<Self::Taken>;

    /// Whether a value waits for the [`end`](Self::end).
    fn has_some(&self) -> bool;

    /// The value made of the events of one read.
    fn end(&mut self) -> Option<Self::Taken>;
}

/// One event at a time.
pub(super) struct Each<'a, F>(pub(super) &'a mut F);

impl<R, F: FnMut(Event<'_>) -> Option<R>> Take for Each<'_, F> {
    type Taken = R;

    #[inline]
    fn event(&mut self, event: Event<'_>) -> Option<R> {
        (self.0)(event)
    }

    fn has_some(&self) -> bool {
        false
    }

    fn end(&mut self) -> Option<R> {
        None
    }
}

/// The messages of one read. A Close or a protocol violation after them is processed later, so that
/// the messages can be answered first.
pub(super) struct Batch<'a> {
    ready: &'a mut Ready,
    bytes: usize,
}

/// How many messages are prefetched. 64: enough to make a turn cheap, and few enough that the data
/// read is not held twice.
pub(super) const BATCH: usize = 64;

/// How many bytes are prefetched: as many as one read returns. Compressed input can hold more, and
/// would otherwise yield this number of messages of the maximum size.
const BATCH_BYTES: usize = buffers::READ;

impl<'a> Batch<'a> {
    pub(super) const fn new(ready: &'a mut Ready) -> Self {
        Self { ready, bytes: 0 }
    }
}

impl Take for Batch<'_> {
    type Taken = ();

    #[inline]
    fn event(&mut self, event: Event<'_>) -> Option<()> {
        // A chunk here is the rest of a message whose reader was dropped.
        let Event::Message(message) = event else {
            return None;
        };
        self.bytes += message.as_bytes().len();
        self.ready.push(message.into());
        (self.ready.len() >= BATCH || self.bytes >= BATCH_BYTES).then_some(())
    }

    #[inline]
    fn has_some(&self) -> bool {
        !self.ready.is_empty()
    }

    #[inline]
    fn end(&mut self) -> Option<()> {
        self.has_some().then_some(())
    }
}
