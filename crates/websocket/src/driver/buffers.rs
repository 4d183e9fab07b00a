//! Buffers that a thread's connections take turns with, so that an idle connection owns none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use offhook_protocol::Input;

use super::now;
use super::ready::Queue;

/// A buffer to read into, and how much of what was read is not used up.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Box<[u8]>,
    from: usize,
    to: usize,
    /// When it was read.
    at: Instant,
}

impl ReadBuffer {
    fn new(len: usize) -> Box<Self> {
        Box::new(Self {
            bytes: vec![0; len].into_boxed_slice(),
            from: 0,
            to: 0,
            at: now(),
        })
    }

    /// With a copy of bytes that were read elsewhere.
    pub(crate) fn with(bytes: &[u8]) -> Box<Self> {
        let mut buffer = if bytes.len() > READ {
            Self::new(bytes.len())
        } else {
            take_read()
        };
        for (to, from) in buffer.bytes.iter_mut().zip(bytes) {
            *to = *from;
        }
        buffer.filled(bytes.len());
        buffer
    }

    /// With a copy of what another has not used up, in no more memory than that.
    pub(super) fn keeping(other: &Self) -> Box<Self> {
        let unread = other.bytes.get(other.from..other.to).unwrap_or_default();
        Box::new(Self {
            bytes: unread.into(),
            from: 0,
            to: unread.len(),
            at: other.at,
        })
    }

    /// Notes that the first `len` bytes were read now, and gives the time.
    #[inline]
    pub(crate) fn filled(&mut self, len: usize) -> Instant {
        self.from = 0;
        self.to = len;
        self.at = now();
        self.at
    }

    /// Notes that all but the last `len` bytes are used up.
    #[inline]
    pub(crate) fn leave(&mut self, len: usize) {
        self.from = self.to.saturating_sub(len);
    }

    /// Whether all of it is used up.
    pub(super) const fn is_used_up(&self) -> bool {
        self.from == self.to
    }

    /// What is not used up, to be received.
    #[inline]
    pub(crate) fn input(&mut self) -> Input<'_> {
        let unread = self.bytes.get_mut(self.from..self.to).unwrap_or_default();
        Input::rest(unread, self.at)
    }
}

impl Deref for ReadBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for ReadBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// How much one read may bring. 64 KiB: as much as a TCP receive buffer usually holds, so that a
/// busy connection needs one system call for all that has come.
pub(crate) const READ: usize = 64 * 1024;

/// How many read buffers a thread keeps for reuse; more are needed only while that many
/// connections are in the middle of a batch of messages.
const SPARE_READS: usize = 8;

/// How large an output buffer may have grown and still be kept for reuse.
const SPARE_WRITE: usize = 512 * 1024;

/// How many bytes of output buffers a thread keeps for reuse. 4 MiB: whoever sends the same to a
/// thousand connections has an output buffer for each, until all have been written.
const SPARE_WRITES: usize = 4 * 1024 * 1024;

thread_local! {
    static SPARE: RefCell<Spare> =
        const { RefCell::new(Spare { reads: Vec::new(), writes: Vec::new(), held: 0, queue: None }) };
}

struct Spare {
    #[expect(
        clippy::vec_box,
        reason = "a connection holds the box, to be small without it"
    )]
    reads: Vec<Box<ReadBuffer>>,
    writes: Vec<Vec<u8>>,
    /// Bytes of memory in `writes`; at most [`SPARE_WRITES`].
    held: usize,
    queue: Option<Box<Queue>>,
}

/// Takes a read buffer.
pub(crate) fn take_read() -> Box<ReadBuffer> {
    SPARE
        .try_with(|spare| spare.borrow_mut().reads.pop())
        .ok()
        .flatten()
        .unwrap_or_else(|| ReadBuffer::new(READ))
}

/// Gives a read buffer back.
pub(crate) fn give_read(buffer: Box<ReadBuffer>) {
    if buffer.len() < READ {
        return;
    }
    // While the thread ends there is nobody to keep it for.
    let _ended = SPARE.try_with(|spare| {
        let reads = &mut spare.borrow_mut().reads;
        if reads.len() < SPARE_READS {
            reads.push(buffer);
        }
    });
}

/// Takes an output buffer: the last that was given back, which is the one most likely in the
/// processor's cache.
pub(crate) fn take_write() -> Vec<u8> {
    let taken = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        let buffer = spare.writes.pop()?;
        spare.held -= buffer.capacity();
        Some(buffer)
    });
    taken.ok().flatten().unwrap_or_default()
}

/// Gives an output buffer back.
pub(crate) fn give_write(buffer: Vec<u8>) {
    let capacity = buffer.capacity();
    if capacity == 0 || capacity > SPARE_WRITE {
        return;
    }
    let _ended = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.held + capacity <= SPARE_WRITES {
            spare.held += capacity;
            spare.writes.push(buffer);
        }
    });
}

/// Takes the list for messages taken ahead, or an empty one if another connection has it.
pub(super) fn take_queue() -> Box<Queue> {
    SPARE
        .try_with(|spare| spare.borrow_mut().queue.take())
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// Gives the list back, empty.
pub(super) fn give_queue(queue: Box<Queue>) {
    let _ended = SPARE.try_with(|spare| spare.borrow_mut().queue = Some(queue));
}
