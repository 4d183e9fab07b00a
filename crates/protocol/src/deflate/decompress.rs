//! Decompressing received messages (RFC 7692 §7.2.2).

use zlib_rs::{Inflate, InflateFlush, Status};

use super::compress::TAIL;
use super::config::{DeflateConfig, DeflateMemory};
use super::negotiate::DeflateTerms;
use super::pool::{DeflatePool, LentInflate};
use super::window::Window;

mod error;
pub use error::InflateError;

/// RFC 7692 §7.2.2: the tail is appended to every message. The byte after it is a guard: a stream
/// that stops at the end of the tail's block does not consume it; one that is inside another block
/// does.
const TAIL_AND_GUARD: [u8; 5] = [TAIL[0], TAIL[1], TAIL[2], TAIL[3], 0x00];

/// The most by which the output grows at a time; limits are checked in between.
const STEP: usize = 16 * 1024;

/// zlib's fast loop needs this much room, so provide it.
const LEAST_STEP: usize = 512;

/// Decompresses the messages of one direction as they arrive.
///
/// Allocates nothing until the first message. A codec is held from a message's first byte to its
/// last (permanently when dedicated). Between messages only the bytes that the peer may refer to
/// are kept, at most 2^`window_bits`, and none without context takeover.
///
/// **A peer that refers back further than agreed** is detected where it would cost memory: earlier
/// messages are kept only as far back as agreed, so a reference beyond them fails with
/// [`WindowExceeded`](InflateError::WindowExceeded). A reference further back than agreed but
/// within its own message is decoded: zlib-rs does not check distances separately, and reading
/// every message twice for a harmless violation is not worth the time.
#[derive(Debug)]
pub struct Decompressor {
    pool: DeflatePool,
    codec: Option<LentInflate>,
    window: Window,
    message: Progress,
    limits: Limits,
    context_takeover: bool,
    dedicated: bool,
    /// A dedicated codec with the largest window already has the context.
    continuous: bool,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    message: u64,
    ratio: Option<u32>,
    ratio_floor: u64,
}

/// The progress of the message being decompressed.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    begun: bool,
    taken: u64,
    given: u64,
    /// How many blocks were marked as the last of their stream.
    stream_ends: u64,
}

/// The input and output of one call, and the position in both.
struct Call<'a> {
    input: &'a [u8],
    consumed: usize,
    out: &'a mut Vec<u8>,
    /// The length that `out` must not exceed.
    end: usize,
    /// The length of `out` up to which the window contains it.
    kept: usize,
}

/// What one call to [`Decompressor::decompress`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inflated {
    /// How many bytes of the input were consumed. Pass the rest again.
    pub consumed: usize,
    /// Whether the message is complete. If not, it waits for more input or, if as many bytes were
    /// produced as there was room for, for more room.
    pub finished: bool,
}

impl Decompressor {
    /// A decompressor with the terms of its direction, for messages of at most `max_message` bytes.
    #[must_use]
    pub fn new(
        terms: DeflateTerms,
        max_message: u64,
        config: &DeflateConfig,
        pool: &DeflatePool,
    ) -> Self {
        let dedicated = config.memory == DeflateMemory::Dedicated;
        Self {
            pool: pool.clone(),
            codec: None,
            window: Window::new(1 << terms.window_bits),
            message: Progress::default(),
            limits: Limits {
                message: max_message,
                ratio: config.max_ratio,
                ratio_floor: config.ratio_floor,
            },
            context_takeover: terms.context_takeover,
            dedicated,
            continuous: dedicated && terms.context_takeover && terms.window_bits == 15,
        }
    }

    /// Decompresses the next bytes of a message and appends at most `room` bytes to `out`. `last`
    /// means that the message ends with `input`.
    ///
    /// When it stops because `room` is used up, call again with the rest of the input, even if
    /// empty, and the same `last`, until the input is consumed and, at the message's end,
    /// [`finished`](Inflated::finished) is set.
    ///
    /// # Errors
    ///
    /// See [`InflateError`]. `out` then holds what was decoded before the error; the decompressor
    /// cannot be used any more.
    pub fn decompress(
        &mut self,
        input: &[u8],
        last: bool,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Result<Inflated, InflateError> {
        let mut codec = self.begin();
        let end = out.len().saturating_add(room);
        let kept = out.len();
        let mut call = Call {
            input,
            consumed: 0,
            out,
            end,
            kept,
        };
        let drained = self.inflate(&mut codec, &mut call)?;
        let finished = drained && last;
        if finished {
            end_message(&mut codec.stream)?;
        }
        if self.context_takeover || !finished {
            self.keep(&mut call);
        }
        let consumed = call.consumed;
        self.codec = Some(codec);
        if finished {
            self.end();
        }
        Ok(Inflated { consumed, finished })
    }

    /// How many bytes it keeps between messages.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.window.owned()
    }

    fn begin(&mut self) -> LentInflate {
        match self.codec.take() {
            Some(codec) if self.message.begun => codec,
            held => {
                self.message.begun = true;
                self.at_message_start(held)
            }
        }
    }

    fn at_message_start(&self, held: Option<LentInflate>) -> LentInflate {
        let mut codec = match held {
            Some(codec) if self.continuous => return codec,
            Some(mut codec) => {
                codec.stream.reset(false);
                codec
            }
            None => self.pool.lend_inflate(),
        };
        self.teach(&mut codec);
        codec
    }

    fn end(&mut self) {
        self.message = Progress::default();
        if !self.context_takeover {
            self.window.clear();
        }
        if !self.dedicated
            && let Some(codec) = self.codec.take()
        {
            self.pool.take_back_inflate(codec);
        }
    }

    /// Decodes until all input is consumed and its output written (`true`), or until there is no
    /// more room (`false`).
    fn inflate(
        &mut self,
        codec: &mut LentInflate,
        call: &mut Call<'_>,
    ) -> Result<bool, InflateError> {
        let mut step = call.input.len().saturating_mul(4).clamp(LEAST_STEP, STEP);
        loop {
            let left = call.end.saturating_sub(call.out.len());
            let room = step.min(left).min(self.room_in_message());
            let fed = call.feed(&mut codec.stream, room)?;
            self.message.taken = self.message.taken.saturating_add(count(fed.taken));
            self.message.given = self.message.given.saturating_add(count(fed.given));
            self.check_limits()?;
            if fed.status == Status::StreamEnd {
                self.go_on_after_a_last_block(codec, call)?;
            } else if fed.given < room {
                // There was room, so all input was consumed. The error cannot occur; it is here
                // because the alternative would be an endless loop.
                let drained = call.consumed == call.input.len();
                return if drained {
                    Ok(true)
                } else {
                    Err(InflateError::Corrupt)
                };
            } else if fed.given == left {
                return Ok(false);
            }
            step = STEP;
        }
    }

    /// RFC 7692 §7.2.3.5: a block may be marked as the last of its stream. The message continues
    /// after it, and so does the context.
    fn go_on_after_a_last_block(
        &mut self,
        codec: &mut LentInflate,
        call: &mut Call<'_>,
    ) -> Result<(), InflateError> {
        // Restoring the context takes a microsecond, while an empty last block takes two bytes: a
        // message of only such blocks would cost a hundred times what it should.
        let ends = self.message.stream_ends.saturating_add(1);
        if ends > 16_u64.saturating_add(self.message.taken / 512) {
            return Err(InflateError::Corrupt);
        }
        self.message.stream_ends = ends;
        self.keep(call);
        codec.stream.reset(false);
        self.teach(codec);
        Ok(())
    }

    fn keep(&mut self, call: &mut Call<'_>) {
        self.window
            .push(call.out.get(call.kept..).unwrap_or_default());
        call.kept = call.out.len();
    }

    fn teach(&self, codec: &mut LentInflate) {
        for run in self.window.runs() {
            if !run.is_empty() {
                // A raw stream accepts a dictionary at any time. If it did not, the stream would
                // miss the context and fail as corrupt.
                let _ = codec.stream.set_dictionary(run);
            }
        }
    }

    /// One byte more than allowed: enough to detect that a message is too long.
    fn room_in_message(&self) -> usize {
        let left = self
            .limits
            .message
            .saturating_sub(self.message.given)
            .saturating_add(1);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    fn check_limits(&self) -> Result<(), InflateError> {
        let Limits {
            message,
            ratio,
            ratio_floor,
        } = self.limits;
        if self.message.given > message {
            return Err(InflateError::TooLarge { limit: message });
        }
        match ratio {
            Some(limit)
                if self.message.given > ratio_floor
                    && self.message.given > self.message.taken.saturating_mul(limit.into()) =>
            {
                Err(InflateError::Ratio { limit })
            }
            _ => Ok(()),
        }
    }
}

/// The result of one call to zlib.
struct Fed {
    taken: usize,
    given: usize,
    status: Status,
}

impl Call<'_> {
    fn feed(&mut self, inflate: &mut Inflate, room: usize) -> Result<Fed, InflateError> {
        let start = self.out.len();
        self.out.resize(start.saturating_add(room), 0);
        let input = self.input.get(self.consumed..).unwrap_or_default();
        let target = self.out.get_mut(start..).unwrap_or_default();
        let before = inflate.total_out();
        let fed = feed(inflate, input, target, InflateFlush::NoFlush);
        let given = difference(inflate.total_out(), before);
        self.out.truncate(start.saturating_add(given));
        let fed = fed?;
        self.consumed = self.consumed.saturating_add(fed.taken);
        Ok(fed)
    }
}

fn feed(
    inflate: &mut Inflate,
    input: &[u8],
    target: &mut [u8],
    flush: InflateFlush,
) -> Result<Fed, InflateError> {
    let (taken, given) = (inflate.total_in(), inflate.total_out());
    match inflate.decompress(input, target, flush) {
        Ok(status) => Ok(Fed {
            taken: difference(inflate.total_in(), taken),
            given: difference(inflate.total_out(), given),
            status,
        }),
        Err(_) if inflate.error_message() == Some("invalid distance too far back") => {
            Err(InflateError::WindowExceeded)
        }
        Err(_) => Err(InflateError::Corrupt),
    }
}

/// RFC 7692 §7.2.2: appends the tail, which must complete an empty block, and
/// nothing else.
fn end_message(inflate: &mut Inflate) -> Result<(), InflateError> {
    let mut scratch = [0; 1];
    let mut rest = TAIL_AND_GUARD.as_slice();
    // `Block` stops at the end of each block: the one that may be open before the tail, and the
    // tail's own.
    for _ in 0..3 {
        let fed = feed(inflate, rest, &mut scratch, InflateFlush::Block)?;
        rest = rest.get(fed.taken..).unwrap_or_default();
        if fed.given > 0 || fed.status == Status::StreamEnd {
            return Err(InflateError::Corrupt);
        }
        match rest.len() {
            0 => return Err(InflateError::Corrupt),
            1 => return Ok(()),
            _ => {}
        }
    }
    Err(InflateError::Corrupt)
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn difference(now: u64, before: u64) -> usize {
    usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
