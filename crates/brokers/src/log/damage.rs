//! Reads up to damaged data, and continues after it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use offhook_engine::{BrokerFailure, ChannelName};

use super::{
    open_error::failure_of,
    record::{self, log_key, offset_of},
    store::Store,
};

/// How many publications are tried individually: more than a damaged block of 4 KiB holds.
const ONE_BY_ONE: u64 = 4096;
/// How many publications are read individually before reading in sequence is tried again.
const SINGLE_READS: usize = 64;

/// Calls `each` with the key and value of publications from this offset on, until it returns that
/// it has enough or something cannot be read.
///
/// The store's iterator loses the publication before a damaged block, and also fails if such a
/// block is ahead in another table: publications are then read individually.
pub(super) fn read(
    store: &Store,
    number: u32,
    from: u64,
    mut each: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), BrokerFailure> {
    let mut next = from;
    loop {
        let begin = next;
        let in_a_row = || {
            store.read(number, begin, |key, value| {
                next = offset_of(key).map_or(next, |offset| offset + 1);
                each(key, value)
            })
        };
        // The store may panic on a damaged block; that is one failed read and must not end the
        // thread.
        let failure = match catch_unwind(AssertUnwindSafe(in_a_row)) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => failure_of(&error),
            Err(_) => BrokerFailure::StorageCorrupt,
        };
        if failure != BrokerFailure::StorageCorrupt {
            return Err(failure);
        }
        for _ in 0..SINGLE_READS {
            let bytes = single(store, number, next).ok_or(failure)?;
            if !each(&log_key(number, next), &bytes) {
                return Ok(());
            }
            next += 1;
        }
    }
}

/// One publication's bytes, if they can be read.
fn single(store: &Store, number: u32, offset: u64) -> Option<Vec<u8>> {
    let read = || store.record(number, offset).ok().flatten();
    catch_unwind(AssertUnwindSafe(read)).ok().flatten()
}

/// The next readable publication of a channel, from this offset up to the newest.
///
/// After a long damaged part, some readable publications may be skipped: a binary search finds the
/// end of the part in which it started.
pub(super) fn next_readable(
    store: &Store,
    channel: &ChannelName,
    number: u32,
    from: u64,
    head: u64,
) -> Option<u64> {
    let is_readable = |offset| is_readable(store, channel, number, offset);
    let near = from.saturating_add(ONE_BY_ONE).min(head);
    if let Some(found) = (from..=near).find(|offset| is_readable(*offset)) {
        return Some(found);
    }
    let (mut bad, mut step) = (near, ONE_BY_ONE);
    let mut good = loop {
        if bad >= head {
            return None;
        }
        let probe = bad.saturating_add(step).min(head);
        if is_readable(probe) {
            break probe;
        }
        bad = probe;
        step = step.saturating_mul(2);
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        if is_readable(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

fn is_readable(store: &Store, channel: &ChannelName, number: u32, offset: u64) -> bool {
    let bytes = single(store, number, offset);
    bytes.is_some_and(|bytes| record::is_publication(channel, &bytes))
}
