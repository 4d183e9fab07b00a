//! Prefetched messages.

use std::collections::VecDeque;
use std::fmt;

use super::buffers;
use super::take::BATCH;
use crate::message::Message;

/// Messages in order. An idle connection holds no memory for them: a task that starts to wait
/// [returns](Self::rest) the list.
#[derive(Default)]
pub(crate) struct Ready(Option<Box<Queue>>);

/// A list of messages shared by the connections of a thread.
#[derive(Default)]
pub(super) struct Queue(VecDeque<Message>);

impl Ready {
    /// Takes the next message.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Message> {
        self.0.as_mut()?.0.pop_front()
    }

    /// Returns the list if it is empty.
    pub(super) fn rest(&mut self) {
        // It is longer only if messages were stored while waiting for a pong.
        if self.is_empty()
            && let Some(queue) = self.0.take()
            && queue.0.capacity() <= 2 * BATCH
        {
            buffers::give_queue(queue);
        }
    }

    /// Appends a message.
    #[inline]
    pub(crate) fn push(&mut self, message: Message) {
        let queue = self.0.get_or_insert_with(buffers::take_queue);
        queue.0.push_back(message);
    }

    /// The number of messages.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.0.len())
    }

    /// Whether it is empty.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All messages, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.0.iter().flat_map(|queue| &queue.0)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ready").field(&self.len()).finish()
    }
}
