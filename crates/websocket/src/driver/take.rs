//! What a turn takes: one event, or all the messages of one read.

use offhook_protocol::{Event, ReceiveMode};

use super::{Ready, buffers};

/// What a turn is for.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    /// How messages are taken.
    pub(super) mode: ReceiveMode,
    /// Whether what is taken is answered within the turn: then no more is read while too much is
    /// unsent.
    pub(super) replies: bool,
    /// Whether the future may be dropped without a word, as those that only poll are.
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
    /// For whole messages, answered on the spot.
    pub(crate) const REPLIES: Self = Self {
        mode: ReceiveMode::Whole,
        replies: true,
        watched: false,
    };

    /// For a poll that belongs to no future of ours.
    #[must_use]
    pub(crate) const fn watched(mut self) -> Self {
        self.watched = true;
        self
    }
}

/// What takes the events of a turn.
pub(super) trait Take {
    type Taken;

    /// Makes something of an event that ends the turn, or nothing yet.
    fn event(&mut self, event: Event<'_>) -> Option<Self::Taken>;

    /// Whether something waits to be given at the [`end`](Self::end).
    fn has_some(&self) -> bool;

    /// What was made of the events of one read.
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

/// The messages of one read. What follows them and is no message, a Close or a breach of the
/// protocol, waits: they are to be answered first.
pub(super) struct Batch<'a> {
    ready: &'a mut Ready,
    bytes: usize,
}

/// How many messages are taken ahead of the user. 64: enough to make a turn cheap, and few enough
/// that what was read is not held twice.
pub(super) const BATCH: usize = 64;

/// How many bytes are taken ahead. As many as one read brings: more is there only where it was
/// compressed, and then it would be as many messages of the longest kind.
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
        // A chunk is what is left of a message whose reader was dropped.
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
