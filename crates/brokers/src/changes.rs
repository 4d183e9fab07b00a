//! A queue of changes of channels, for one reader outside of the workers.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use offhook_engine::{ChannelName, PresenceChange};

/// A change of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelChange {
    /// The channel has its first subscriber. Subscriptions to filters do not count.
    Occupied(ChannelName),
    /// The channel has lost its last subscriber.
    Vacated(ChannelName),
    /// A member has joined or left, or changed its info, which is reported as another join.
    Member {
        /// The change.
        change: Arc<PresenceChange>,
        /// The number of the channel's members after it. If several changed at once, after all of them.
        members: u64,
    },
}

impl ChannelChange {
    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        match self {
            Self::Occupied(channel) | Self::Vacated(channel) => channel,
            Self::Member { change, .. } => &change.channel,
        }
    }
}

/// A bounded queue from a broker to one reader. When it is full, the oldest changes are dropped and
/// counted.
pub struct Changes {
    queue: Mutex<Queue>,
    limit: usize,
    wanted: Box<dyn Fn(&ChannelName) -> bool + Send + Sync>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    changes: VecDeque<ChannelChange>,
    dropped: u64,
}

impl Changes {
    /// A queue of at most `limit` changes of the channels that `wanted` names. `wake` is called,
    /// from any thread, when a change is put into an empty queue. Neither function may block.
    pub fn new(
        limit: usize,
        wanted: impl Fn(&ChannelName) -> bool + Send + Sync + 'static,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            queue: Mutex::default(),
            limit: limit.max(1),
            wanted: Box::new(wanted),
            wake: Box::new(wake),
        }
    }

    /// Takes all changes, in order, and how many were dropped before them since the last call.
    #[must_use]
    pub fn take(&self) -> (VecDeque<ChannelChange>, u64) {
        let Queue { changes, dropped } = mem::take(&mut *self.lock());
        (changes, dropped)
    }

    pub(crate) fn put(&self, change: ChannelChange) {
        if !(self.wanted)(change.channel()) {
            return;
        }
        let mut queue = self.lock();
        let was_empty = queue.changes.is_empty();
        if queue.changes.len() >= self.limit {
            queue.changes.pop_front();
            queue.dropped += 1;
        }
        queue.changes.push_back(change);
        drop(queue);
        if was_empty {
            (self.wake)();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic elsewhere leaves the queue in a valid state.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
