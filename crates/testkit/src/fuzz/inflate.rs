//! Fuzzing decompression, compared with a plain inflate of the same bytes.

use offhook_protocol::deflate::{
    Decompressor, DeflateConfig, DeflateMemory, DeflatePool, DeflateTerms, InflateError,
};
use zlib_rs::{Inflate, InflateFlush, Status};

use super::{CUTS, Choices, cut};

/// The maximum message size.
const MOST: u64 = 64 * 1024;

/// The bytes that RFC 7692 §7.2.1 removes from a message and §7.2.2 appends again.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Decompresses messages, each prefixed by its length.
///
/// # Panics
/// If the outcome depends on how the bytes are split, exceeds a limit, or differs from a plain
/// inflate.
pub fn inflate(data: &[u8]) {
    let mut choices = Choices(data);
    let config = DeflateConfig::default().memory(match choices.byte() % 3 {
        0 => DeflateMemory::Dedicated,
        1 => DeflateMemory::Pooled { window_bits: 10 },
        _ => DeflateMemory::Shared,
    });
    let config = config.max_ratio(choices.flag().then_some(20), 256);
    let terms = DeflateTerms {
        window_bits: 8 + choices.byte() % 8,
        context_takeover: choices.flag(),
    };
    let mut messages = Vec::new();
    while !choices.rest().is_empty() && messages.len() < 16 {
        let len = usize::from(choices.short() % 1024).min(choices.rest().len());
        let (message, rest) = choices.rest().split_at(len);
        messages.push(message);
        choices = Choices(rest);
    }
    let decompressor = || Decompressor::new(terms, MOST, &config, &DeflatePool::default());
    let at_once = run(&mut decompressor(), &messages, &[usize::MAX]);
    for sizes in CUTS {
        let in_cuts = run(&mut decompressor(), &messages, sizes);
        let by_ratio = |outcome: &Outcome| matches!(outcome.1, Some(InflateError::Ratio { .. }));
        if by_ratio(&at_once) || by_ratio(&in_cuts) {
            // The limit is checked against the output so far, so near the limit the result may
            // depend on splits.
            let both = at_once.0.len().min(in_cuts.0.len());
            assert_eq!(at_once.0[..both], in_cuts.0[..both]);
            continue;
        }
        assert_eq!(at_once.0, in_cuts.0, "in pieces of {sizes:?}");
        // The kind of error depends on zlib-rs: its fast path loses the reason.
        assert_eq!(at_once.1.is_some(), in_cuts.1.is_some());
    }
    compare(&at_once, &messages, terms);
}

type Outcome = (Vec<Vec<u8>>, Option<InflateError>);

/// The messages before the first one that fails, and its error.
fn run(decompressor: &mut Decompressor, messages: &[&[u8]], sizes: &[usize]) -> Outcome {
    let mut whole = Vec::new();
    for message in messages {
        match one(decompressor, message, sizes) {
            Ok(out) => whole.push(out),
            Err(error) => return (whole, Some(error)),
        }
    }
    (whole, None)
}

fn one(
    decompressor: &mut Decompressor,
    message: &[u8],
    sizes: &[usize],
) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    for piece in cut(message, sizes) {
        feed(decompressor, piece, false, &mut out)?;
    }
    feed(decompressor, &[], true, &mut out)?;
    Ok(out)
}

/// Feeds a piece with little room, so that every call produces a bounded output.
#[expect(
    clippy::panic_in_result_fn,
    reason = "a violated guarantee is not an `InflateError`"
)]
fn feed(
    decompressor: &mut Decompressor,
    mut piece: &[u8],
    last: bool,
    out: &mut Vec<u8>,
) -> Result<(), InflateError> {
    const ROOM: usize = 1000;
    loop {
        let before = out.len();
        let step = decompressor.decompress(piece, last, out, ROOM)?;
        assert!(out.len() - before <= ROOM && out.len() as u64 <= MOST);
        piece = &piece[step.consumed..];
        if step.finished {
            assert!(last && piece.is_empty());
            return Ok(());
        }
        if out.len() - before < ROOM {
            assert!(piece.is_empty(), "it had room, so it took everything");
            assert!(!last, "it had everything, so it finished");
            return Ok(());
        }
    }
}

/// What our decompressor produced, a plain inflate with the largest window must produce as well;
/// what ours rejected as corrupt, it must reject.
fn compare((whole, error): &Outcome, messages: &[&[u8]], terms: DeflateTerms) {
    let mut plain = Inflate::new(false, 15);
    for (index, message) in messages.iter().enumerate() {
        if !terms.context_takeover {
            plain = Inflate::new(false, 15);
        }
        let theirs = plain_inflate(&mut plain, message);
        match (whole.get(index), theirs) {
            (_, Plain::Ended) => return,
            (Some(ours), Plain::Out(theirs)) => assert_eq!(*ours, theirs, "message {index}"),
            (Some(_), Plain::Corrupt) => panic!("message {index} is corrupt, and was taken"),
            (None, Plain::Out(_)) => {
                let corrupt = *error == Some(InflateError::Corrupt);
                assert!(
                    !corrupt || !is_between_blocks(&mut plain),
                    "message {index}"
                );
            }
            (None, Plain::Corrupt) => {}
        }
        if index >= whole.len() {
            return;
        }
    }
}

enum Plain {
    Out(Vec<u8>),
    /// The bytes are not a DEFLATE stream, end inside a block, or produce too much.
    Corrupt,
    /// A block was marked as the last one. RFC 7692 §7.2.3.5 allows more to follow; a plain inflate
    /// ends there.
    Ended,
}

/// Whether a last, empty block can follow now. If a message ends inside a block, the plain inflate
/// waits for more; ours knows that nothing follows.
fn is_between_blocks(inflate: &mut Inflate) -> bool {
    let last_block = [0x01, 0x00, 0x00, 0xff, 0xff];
    let so_far = inflate.total_out();
    let status = inflate.decompress(&last_block, &mut [0; 64], InflateFlush::SyncFlush);
    matches!(status, Ok(Status::StreamEnd)) && inflate.total_out() == so_far
}

fn plain_inflate(inflate: &mut Inflate, message: &[u8]) -> Plain {
    let mut out = vec![0; MOST as usize + 1];
    let len = match feed_plain(inflate, message, &mut out) {
        Ok(len) => len,
        Err(end) => return end,
    };
    out.truncate(len);
    match feed_plain(inflate, &TAIL, &mut [0; 64]) {
        Ok(0) => Plain::Out(out),
        // The tail should be an empty block; here it is data of the block before it.
        Ok(_) => Plain::Corrupt,
        Err(end) => end,
    }
}

/// The length of the output of the whole input.
fn feed_plain(inflate: &mut Inflate, input: &[u8], out: &mut [u8]) -> Result<usize, Plain> {
    let (from, so_far) = (inflate.total_in(), inflate.total_out());
    match inflate.decompress(input, out, InflateFlush::SyncFlush) {
        Ok(Status::StreamEnd) => return Err(Plain::Ended),
        Ok(Status::Ok | Status::BufError) => {}
        Err(_) => return Err(Plain::Corrupt),
    }
    if inflate.total_in() - from == input.len() as u64 {
        Ok((inflate.total_out() - so_far) as usize)
    } else {
        Err(Plain::Corrupt)
    }
}
