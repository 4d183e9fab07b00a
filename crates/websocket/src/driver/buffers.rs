//! Buffers shared by the connections of a thread, so that an idle connection owns none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use offhook_protocol::Input;

use super::now;
use super::ready::Queue;

/// A buffer to read into, with the range of bytes that are not consumed yet.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Box<[u8]>,
    from: usize,
    to: usize,
    /// When the bytes were read.
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

    /// A buffer with a copy of bytes that were read elsewhere.
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

    /// A buffer with a copy of the unconsumed bytes of another one, in no more memory than that.
    pub(super) fn keeping(other: &Self) -> Box<Self> {
        let unread = other.bytes.get(other.from..other.to).unwrap_or_default();
        Box::new(Self {
            bytes: unread.into(),
            from: 0,
            to: unread.len(),
            at: other.at,
        })
    }

    /// Records that the first `len` bytes were read now, and returns the time.
    #[inline]
    pub(crate) fn filled(&mut self, len: usize) -> Instant {
        self.from = 0;
        self.to = len;
        self.at = now();
        self.at
    }

    /// Records that all but the last `len` bytes are consumed.
    #[inline]
    pub(crate) fn leave(&mut self, len: usize) {
        self.from = self.to.saturating_sub(len);
    }

    /// Whether all bytes are consumed.
    pub(super) const fn is_used_up(&self) -> bool {
        self.from == self.to
    }

    /// The unconsumed bytes, to be passed to the connection.
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

/// The most that one read returns. 64 KiB: about what a TCP receive buffer holds, so that a busy
/// connection needs one system call for everything that has arrived.
pub(crate) const READ: usize = 64 * 1024;

/// How many read buffers a thread keeps for reuse. More exist only while more connections are in
/// the middle of a batch of messages.
const SPARE_READS: usize = 8;

/// The largest capacity at which an output buffer is kept for reuse.
const SPARE_WRITE: usize = 512 * 1024;

/// How many bytes of output buffers a thread keeps for reuse. 4 MiB: a broadcast to a thousand
/// connections needs an output buffer for each, until all have been written.
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

/// Returns a read buffer.
pub(crate) fn give_read(buffer: Box<ReadBuffer>) {
    if buffer.len() < READ {
        return;
    }
    // The thread is ending: the buffer is dropped.
    let _ended = SPARE.try_with(|spare| {
        let reads = &mut spare.borrow_mut().reads;
        if reads.len() < SPARE_READS {
            reads.push(buffer);
        }
    });
}

/// Takes an output buffer: the one returned last, which is most likely in the processor's cache.
pub(crate) fn take_write() -> Vec<u8> {
    let taken = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        let buffer = spare.writes.pop()?;
        spare.held -= buffer.capacity();
        Some(buffer)
    });
    taken.ok().flatten().unwrap_or_default()
}

/// Returns an output buffer.
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

/// Takes the thread's list for prefetched messages, or an empty one if another connection is using
/// it.
pub(super) fn take_queue() -> Box<Queue> {
    SPARE
        .try_with(|spare| spare.borrow_mut().queue.take())
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// Returns the list, empty.
pub(super) fn give_queue(queue: Box<Queue>) {
    let _ended = SPARE.try_with(|spare| spare.borrow_mut().queue = Some(queue));
}
