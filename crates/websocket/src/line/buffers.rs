//! Buffers that a thread's connections take turns with, so that an idle connection owns none.

use std::cell::RefCell;

/// How much one read may bring. 64 KiB: as much as a TCP receive buffer usually holds, so that a
/// busy connection needs one system call for all that has come.
pub(crate) const READ: usize = 64 * 1024;

/// How many read buffers a thread keeps for reuse; more are needed only while that many
/// connections are in the middle of a batch of messages.
const SPARE_READS: usize = 8;

/// How large an output buffer may have grown and still be kept for reuse.
const SPARE_WRITE: usize = 512 * 1024;

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare { reads: Vec::new(), write: None }) };
}

struct Spare {
    reads: Vec<Box<[u8]>>,
    write: Option<Vec<u8>>,
}

/// Takes a read buffer.
pub(crate) fn take_read() -> Box<[u8]> {
    SPARE
        .try_with(|spare| spare.borrow_mut().reads.pop())
        .ok()
        .flatten()
        .unwrap_or_else(|| vec![0; READ].into_boxed_slice())
}

/// Gives a read buffer back.
pub(crate) fn give_read(buffer: Box<[u8]>) {
    // While the thread ends there is nobody to keep it for.
    let _ended = SPARE.try_with(|spare| {
        let reads = &mut spare.borrow_mut().reads;
        if reads.len() < SPARE_READS {
            reads.push(buffer);
        }
    });
}

/// Takes the output buffer, or an empty one if another connection has it.
pub(crate) fn take_write() -> Vec<u8> {
    SPARE
        .try_with(|spare| spare.borrow_mut().write.take())
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// Gives the output buffer back.
pub(crate) fn give_write(buffer: Vec<u8>) {
    if buffer.capacity() > SPARE_WRITE {
        return;
    }
    let _ended = SPARE.try_with(|spare| spare.borrow_mut().write = Some(buffer));
}
