//! Compressing messages to be sent (RFC 7692 §7.2.1).

use zlib_rs::{Deflate, DeflateFlush};

use super::config::{DeflateConfig, DeflateMemory, own_bits};
use super::negotiate::DeflateTerms;
use super::pool::{DeflateKind, DeflatePool, LentDeflate};
use super::window::Window;

/// The bytes that end every flushed stream; RFC 7692 §7.2.1 removes them.
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// zlib's `MIN_LOOKAHEAD`: its compressors never refer back further than the window minus this, so
/// that nothing older needs to be stored. It also makes a window of 9 bits (250 bytes of reach)
/// suitable for an agreement on 8 (256).
const LOOK_AHEAD: usize = 262;

/// The most by which the output grows at a time.
const STEP: usize = 16 * 1024;

/// How many bytes a compressed message may be longer than the original if context is kept: room for
/// the headers of stored blocks. Later messages can refer to a message that grew.
const GROWTH: usize = 16;

/// The longest message that may grow in order to be remembered in a kept window. A longer message
/// that does not shrink is not text: it would only displace what other messages refer to.
const SHORT: usize = 256;

/// How many bytes may be spent on growth before anything was saved. It is enough to start a stream
/// of short messages that shrink only in each other's context, and it is the total cost of a stream
/// that never shrinks.
const ADVANCE: usize = 64;

/// The most savings that are credited.
const MOST_CREDIT: usize = 512;

/// Compresses the messages of one direction.
///
/// Allocates nothing until the first message. From then on it owns a codec (dedicated), the last
/// bytes sent (pooled), or nothing (without context takeover, and shared).
#[derive(Debug)]
pub struct Compressor {
    pool: DeflatePool,
    kind: DeflateKind,
    keeps: Keeps,
    /// Held from the first chunk of a message to its last.
    message: Option<LentDeflate>,
    threshold: usize,
    /// How many bytes messages may still grow by, in total. Savings add to it.
    credit: usize,
}

/// The state between one message and the next.
#[derive(Debug)]
enum Keeps {
    Nothing,
    /// The bytes a borrowed codec needs to continue.
    Window(Window),
    /// The codec, and whether it continues or starts anew.
    Codec {
        idle: Option<LentDeflate>,
        context_takeover: bool,
    },
}

impl Compressor {
    /// A compressor with the terms of its direction.
    #[must_use]
    pub fn new(terms: DeflateTerms, config: &DeflateConfig, pool: &DeflatePool) -> Self {
        let window_bits = match config.memory {
            DeflateMemory::Pooled { window_bits } => terms.window_bits.min(window_bits),
            DeflateMemory::Dedicated | DeflateMemory::Shared => terms.window_bits,
        };
        let kind = kind(window_bits, config);
        let keeps = match config.memory {
            DeflateMemory::Dedicated => Keeps::Codec {
                idle: None,
                context_takeover: terms.context_takeover,
            },
            DeflateMemory::Pooled { .. } if terms.context_takeover => {
                Keeps::Window(Window::new(reach(kind.window_bits)))
            }
            DeflateMemory::Pooled { .. } | DeflateMemory::Shared => Keeps::Nothing,
        };
        let pool = pool.clone();
        Self {
            pool,
            kind,
            keeps,
            message: None,
            threshold: config.threshold,
            credit: ADVANCE,
        }
    }

    /// Compresses one whole message and appends it to `out`. Returns `false`, with `out` unchanged,
    /// if the message is short or would not shrink: send it uncompressed then.
    ///
    /// Where context is kept, a message may come out up to 16 bytes longer. Similar short messages
    /// shrink only in each other's context, so the first must be sent compressed for the next to
    /// refer to; and a dedicated codec cannot forget one message without forgetting everything. The
    /// growth is paid for by earlier savings and an initial credit of 64 bytes, so a stream that
    /// never shrinks is soon sent uncompressed.
    ///
    /// Never writes more to `out` than the length of the message plus 20 bytes, even while trying.
    #[must_use = "a message that was not compressed is sent without RSV1"]
    pub fn compress(&mut self, message: &[u8], out: &mut Vec<u8>) -> bool {
        if message.len() < self.threshold || message.is_empty() || self.message.is_some() {
            return false;
        }
        let slack = self.slack(message);
        let mut codec = self.begin();
        let start = out.len();
        let taken = compress_whole(&mut codec.stream, message, slack, out);
        if taken {
            self.settle(message.len(), out.len().saturating_sub(start));
        }
        // A message sent uncompressed does not pass through the peer's decompressor (RFC 7692
        // §6.2), so it must not stay in our context either.
        match &mut self.keeps {
            Keeps::Window(window) if taken => window.push(message),
            Keeps::Codec { .. } if !taken => codec.stream.reset(),
            Keeps::Nothing | Keeps::Window(_) | Keeps::Codec { .. } => {}
        }
        self.end(codec);
        taken
    }

    /// Compresses the next piece of a message and appends it to `out`; `last` ends the message. The
    /// output for a piece may follow with a later one.
    ///
    /// A message started this way is compressed to its end, whatever its size.
    pub fn compress_chunk(&mut self, piece: &[u8], last: bool, out: &mut Vec<u8>) {
        let mut codec = match self.message.take() {
            Some(codec) => codec,
            None => self.begin(),
        };
        let flush = if last {
            DeflateFlush::SyncFlush
        } else {
            DeflateFlush::NoFlush
        };
        let start = out.len();
        run(&mut codec.stream, piece, flush, out, usize::MAX);
        if let Keeps::Window(window) = &mut self.keeps {
            window.push(piece);
        }
        if last {
            take_tail_away(out, start);
            self.end(codec);
        } else {
            self.message = Some(codec);
        }
    }

    /// Records a message that was sent compressed by
    /// [`compress_once`]: it is now in the peer's context, so it goes into ours.
    pub fn note_sent(&mut self, message: &[u8]) {
        match &mut self.keeps {
            Keeps::Window(window) => window.push(message),
            Keeps::Codec {
                idle: Some(codec),
                context_takeover: true,
            } => {
                // Allowed on a raw stream between blocks, which is the state after a flush. If it
                // failed, starting anew would be correct too: a stream without back-references
                // needs no shared context.
                if codec.stream.set_dictionary(message).is_err() {
                    codec.stream.reset();
                }
            }
            // Without a codec, nothing was sent before, and context that only the peer has is never
            // referred to.
            Keeps::Codec { .. } | Keeps::Nothing => {}
        }
    }

    /// The largest window that [`compress_once`] may have used for a message on this connection.
    #[must_use]
    pub fn window_bits(&self) -> u8 {
        self.kind.window_bits
    }

    /// How much longer than the message the result may be.
    fn slack(&self, message: &[u8]) -> usize {
        let may_grow = match self.keeps {
            Keeps::Window(_) => message.len() <= SHORT,
            Keeps::Codec {
                context_takeover, ..
            } => context_takeover,
            Keeps::Nothing => false,
        };
        if may_grow { self.credit.min(GROWTH) } else { 0 }
    }

    /// Credits the bytes that a message saved, or charges the bytes by which it grew.
    fn settle(&mut self, before: usize, after: usize) {
        self.credit = self
            .credit
            .saturating_add(before)
            .saturating_sub(after)
            .min(MOST_CREDIT);
    }

    fn begin(&mut self) -> LentDeflate {
        match &mut self.keeps {
            Keeps::Nothing => self.pool.lend_deflate(self.kind),
            Keeps::Window(window) => {
                let mut codec = self.pool.lend_deflate(self.kind);
                for run in window.runs() {
                    // Fails only in the middle of a stream. An empty dictionary would be harmless
                    // but not free.
                    if !run.is_empty() && codec.stream.set_dictionary(run).is_err() {
                        codec.stream.reset();
                    }
                }
                codec
            }
            Keeps::Codec {
                idle,
                context_takeover,
            } => match idle.take() {
                Some(mut codec) => {
                    if !*context_takeover {
                        codec.stream.reset();
                    }
                    codec
                }
                None => LentDeflate::new(self.kind),
            },
        }
    }

    fn end(&mut self, codec: LentDeflate) {
        match &mut self.keeps {
            Keeps::Codec { idle, .. } => *idle = Some(codec),
            Keeps::Nothing | Keeps::Window(_) => self.pool.take_back_deflate(codec),
        }
    }
}

/// Compresses a message for any connection whose [`Compressor::window_bits`] are at least
/// `window_bits`, with context takeover or without: the message refers only to itself. Appends it
/// to `out` and returns `true` if it shrinks.
///
/// Report it with [`Compressor::note_sent`] on each connection that sends it.
#[must_use = "a message that was not compressed is sent without RSV1"]
pub fn compress_once(
    message: &[u8],
    window_bits: u8,
    config: &DeflateConfig,
    pool: &DeflatePool,
    out: &mut Vec<u8>,
) -> bool {
    if message.len() < config.threshold || message.is_empty() {
        return false;
    }
    let mut codec = pool.lend_deflate(kind(window_bits, config));
    let shrunk = compress_whole(&mut codec.stream, message, 0, out);
    pool.take_back_deflate(codec);
    shrunk
}

fn kind(window_bits: u8, config: &DeflateConfig) -> DeflateKind {
    DeflateKind {
        window_bits: own_bits(window_bits),
        level: config.level,
        mem_level: config.mem_level,
    }
}

/// How far back a compressor with this window can refer.
fn reach(window_bits: u8) -> usize {
    (1_usize << window_bits).saturating_sub(LOOK_AHEAD)
}

/// Appends the compressed message to `out` if it is shorter than the message plus `slack`.
fn compress_whole(stream: &mut Deflate, message: &[u8], slack: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let less_than = message.len().saturating_add(slack);
    let most = less_than.saturating_add(TAIL.len());
    let finished = run(stream, message, DeflateFlush::SyncFlush, out, most);
    if finished {
        take_tail_away(out, start);
    } else {
        drain(stream);
    }
    let taken = finished && out.len().saturating_sub(start) < less_than;
    if !taken {
        out.truncate(start);
    }
    taken
}

/// Feeds `input` and flushes, appending at most `most` bytes to `out`. Returns `false` if that was
/// not enough.
fn run(
    stream: &mut Deflate,
    mut input: &[u8],
    flush: DeflateFlush,
    out: &mut Vec<u8>,
    mut most: usize,
) -> bool {
    // A flush needs more than six bytes of room, or it is repeated.
    let mut step = input.len().saturating_add(16).min(STEP);
    loop {
        let start = out.len();
        let room = step.min(most);
        out.resize(start.saturating_add(room), 0);
        let (fed, given) = (stream.total_in(), stream.total_out());
        let target = out.get_mut(start..).unwrap_or_default();
        // zlib reports a lack of room or of input as an error, but the stream stays valid: the
        // totals show its progress.
        let _ = stream.compress(input, target, flush);
        let fed = difference(stream.total_in(), fed);
        let given = difference(stream.total_out(), given);
        input = input.get(fed..).unwrap_or_default();
        out.truncate(start.saturating_add(given));
        most = most.saturating_sub(given);
        // zlib takes at most four gigabytes at a time: room left over means that it is done only if
        // all input was consumed.
        if given < room && (input.is_empty() || fed == 0) {
            return input.is_empty();
        }
        if most == 0 {
            return false;
        }
        step = STEP;
    }
}

/// Takes the remaining output of a stream that was abandoned. `reset` alone would leave it with
/// less room for its output than it assumes (zlib-rs 0.6.8), and a later message would make it
/// panic.
fn drain(stream: &mut Deflate) {
    let mut scratch = [0; 1024];
    loop {
        let before = stream.total_out();
        let _ = stream.compress(&[], &mut scratch, DeflateFlush::SyncFlush);
        if difference(stream.total_out(), before) < scratch.len() {
            return;
        }
    }
}

fn difference(now: u64, before: u64) -> usize {
    usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX)
}

/// RFC 7692 §7.2.1: removes the four bytes that end a flush.
fn take_tail_away(out: &mut Vec<u8>, start: usize) {
    let produced = out.get(start..).unwrap_or_default();
    if produced.ends_with(&TAIL) {
        out.truncate(out.len().saturating_sub(TAIL.len()));
    } else {
        // A dedicated stream that was just flushed does not flush again for an empty message. RFC
        // 7692 §7.2.3.6 defines this one byte for it.
        out.push(0x00);
    }
}

#[cfg(test)]
mod tests;
