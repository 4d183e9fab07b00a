//! States that were read, for the readers of their other pages: a large one takes hundreds of
//! milliseconds to read, which must not be spent on each page.

use std::{collections::VecDeque, sync::Arc};

use offhook_engine::{ChannelName, Publication};

use super::read_queue::StateJob;

/// Bytes of the states that are kept. 32 MiB: one of the largest, or thousands of small ones. A larger
/// state is read for each page.
const BYTES: usize = 32 << 20;

/// Bytes of a value in addition to its weight.
const VALUE: usize = 256;

/// States kept at most, so that finding one takes no time.
const COUNT: usize = 64;

/// Ticks after which a state that nobody reads is forgotten: a reader asks for the next page at once.
const UNREAD: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct KeptStates {
    all: VecDeque<Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    channel: ChannelName,
    number: u32,
    /// The head for which it was read, and how often the store had been opened again.
    head: u64,
    reopened: u64,
    values: Vec<Arc<Publication>>,
    bytes: usize,
    unread: u32,
}

impl KeptStates {
    /// The state at the head that a job asks for, if it is kept.
    pub(super) fn get(
        &mut self,
        job: &StateJob,
        reopened: u64,
    ) -> Option<impl Iterator<Item = Arc<Publication>> + use<'_>> {
        let kept = self.all.iter_mut().find(|kept| {
            kept.number == job.number
                && kept.channel == job.channel
                && kept.head == job.stream.head.offset
                && kept.reopened == reopened
        })?;
        kept.unread = 0;
        Some(kept.values.iter().cloned())
    }

    /// Keeps a state that was read for a job, instead of an older one of its channel.
    pub(super) fn keep(&mut self, job: &StateJob, reopened: u64, values: &[Arc<Publication>]) {
        self.forget(|kept| kept.channel == job.channel);
        let bytes = values.iter().map(|value| value.weight() + VALUE).sum();
        if bytes > BYTES {
            return;
        }
        while self.bytes + bytes > BYTES || self.all.len() >= COUNT {
            let Some(oldest) = self.all.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes;
        }
        self.bytes += bytes;
        self.all.push_back(Kept {
            channel: job.channel.clone(),
            number: job.number,
            head: job.stream.head.offset,
            reopened,
            values: values.to_vec(),
            bytes,
            unread: 0,
        });
    }

    /// Forgets those that were not read for some ticks.
    pub(super) fn tick(&mut self) {
        for kept in &mut self.all {
            kept.unread += 1;
        }
        self.forget(|kept| kept.unread > UNREAD);
    }

    fn forget(&mut self, is_over: impl Fn(&Kept) -> bool) {
        self.all.retain(|kept| !is_over(kept));
        self.bytes = self.all.iter().map(|kept| kept.bytes).sum();
    }
}
