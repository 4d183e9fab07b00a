//! Counts the frames that cost a client nothing but the server something: resets, and frames that
//! transport nothing. Has no I/O and no clock.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::config::Http2;

/// The time in which the frames are counted. 30 s: a burst of a client that closes many streams at once
/// is no flood.
const WINDOW: Duration = Duration::from_secs(30);

/// RFC 9113 §3.4: the length of the preface, which is followed by frames.
const PREFACE: usize = 24;

/// RFC 9113 §4.1: length, type, flags and stream.
const HEADER: usize = 9;

/// RFC 9113 §6, the types of frames.
const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// RFC 9113 §5.5: types that it does not define are ignored.
const UNDEFINED: u8 = 10;

const END_STREAM: u8 = 1;

/// RFC 9113 §6.9: what a `WINDOW_UPDATE` contains.
const INCREMENT: usize = 4;

/// RFC 9113 §6.9: the bit of an increment that is ignored when receiving.
const RESERVED: u32 = 1 << 31;

/// A `WINDOW_UPDATE` of less is small: it makes the server send a frame with as little. 1 KiB: clients
/// return some part of a window of 64 KiB or more at a time.
const SMALL_UPDATE: u32 = 1024;

/// How many small `WINDOW_UPDATE`s count as one frame without content. 32, which is 32,000 in 30 s by
/// default: a client that returns each message by itself sends two of them for each, and may receive
/// 500 small messages a second.
const UPDATES_PER_FRAME: u32 = 32;

/// What a client has sent too many of, with the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// Streams that it reset.
    Resets(u32),
    /// Frames that transport nothing.
    ControlFrames(u32),
    /// `WINDOW_UPDATE`s of a few bytes.
    SmallUpdates(u32),
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = WINDOW.as_secs();
        match self {
            Self::Resets(most) => write!(f, "more than {most} streams were reset in {seconds} s"),
            Self::ControlFrames(most) => {
                write!(
                    f,
                    "more than {most} frames without content came in {seconds} s"
                )
            }
            Self::SmallUpdates(most) => write!(
                f,
                "more than {most} WINDOW_UPDATE frames of less than {SMALL_UPDATE} bytes came in {seconds} s"
            ),
        }
    }
}

/// Parses what h2 reads, and counts.
#[derive(Debug)]
pub(super) struct Meter {
    most_resets: u32,
    most_control_frames: u32,
    resets: u32,
    control_frames: u32,
    small_updates: u32,
    /// When the counts began.
    since: Option<Instant>,
    /// How many bytes precede the next frame's header.
    skip: usize,
    /// The part of the header that was received, and its length. The increment of a `WINDOW_UPDATE`
    /// follows its header.
    header: [u8; HEADER + INCREMENT],
    filled: usize,
}

impl Meter {
    /// For a connection from which nothing was received yet.
    pub(super) const fn new(limits: &Http2) -> Self {
        Self {
            most_resets: limits.resets,
            most_control_frames: limits.control_frames,
            resets: 0,
            control_frames: 0,
            small_updates: 0,
            since: None,
            skip: PREFACE,
            header: [0; HEADER + INCREMENT],
            filled: 0,
        }
    }

    /// Counts what was received, and stops at the frame that exceeds a limit.
    pub(super) fn count(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= WINDOW {
            (self.resets, self.control_frames, self.small_updates) = (0, 0, 0);
            self.since = Some(now);
        }
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            let (_, rest) = bytes.split_at(skipped);
            let wanted = self.wanted();
            let (header, rest) = rest.split_at(rest.len().min(wanted - self.filled));
            bytes = rest;
            for (to, from) in self.header.iter_mut().skip(self.filled).zip(header) {
                *to = *from;
            }
            self.filled += header.len();
            // The header tells whether more than it is wanted.
            if self.filled == self.wanted() {
                self.filled = 0;
                self.count_frame()?;
            }
        }
        Ok(())
    }

    /// How many bytes of a frame are parsed.
    fn wanted(&self) -> usize {
        match self.header {
            [0, 0, 4, WINDOW_UPDATE, ..] if self.filled >= HEADER => HEADER + INCREMENT,
            _ => HEADER,
        }
    }

    fn count_frame(&mut self) -> Result<(), Flood> {
        let [a, b, c, kind, flags, _, _, _, _, increment @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        // 24 bits.
        self.skip = length as usize;
        let is_empty = length == 0 && flags & END_STREAM == 0;
        match kind {
            RST_STREAM => {
                self.resets += 1;
                if self.resets > self.most_resets {
                    return Err(Flood::Resets(self.most_resets));
                }
            }
            DATA if !is_empty => {}
            DATA | PRIORITY | SETTINGS | PING | UNDEFINED.. => {
                self.control_frames += 1;
                if self.control_frames > self.most_control_frames {
                    return Err(Flood::ControlFrames(self.most_control_frames));
                }
            }
            // Any other length is an error, for which h2 ends the connection.
            WINDOW_UPDATE if length as usize == INCREMENT => {
                self.skip = 0;
                if u32::from_be_bytes(increment) & !RESERVED < SMALL_UPDATE {
                    return self.count_update();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn count_update(&mut self) -> Result<(), Flood> {
        self.small_updates += 1;
        let most = self.most_control_frames.saturating_mul(UPDATES_PER_FRAME);
        if self.small_updates > most {
            return Err(Flood::SmallUpdates(most));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: (u32, u32) = (3, 5);

    fn meter() -> Meter {
        let (resets, control_frames) = LIMITS;
        Meter::new(&Http2 {
            resets,
            control_frames,
            ..Http2::default()
        })
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length, &[kind, flags, 0, 0, 0, 1][..], payload].concat()
    }

    fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
        [&[b'P'; PREFACE][..], &frames.concat()].concat()
    }

    #[test]
    fn resets_above_the_limit_are_a_flood_however_the_bytes_are_cut() {
        let now = Instant::now();
        let four: Vec<_> = (0..4).map(|_| frame(RST_STREAM, 0, &[0; 4])).collect();
        let (allowed, last) = (connection(&four[..3]), &four[3]);
        for size in [1, 2, 7, 9, 10, 1000] {
            let mut meter = meter();
            for piece in allowed.chunks(size) {
                assert_eq!(meter.count(piece, now), Ok(()), "pieces of {size}");
            }
            let (most, rest) = last.split_at(HEADER - 1);
            assert_eq!(meter.count(most, now), Ok(()), "pieces of {size}");
            assert_eq!(meter.count(rest, now), Err(Flood::Resets(3)));
        }
    }

    #[test]
    fn frames_without_content_are_counted_together() {
        let now = Instant::now();
        let empty = [
            frame(SETTINGS, 0, &[0; 6]),
            frame(PING, 0, &[0; 8]),
            frame(PRIORITY, 0, &[0; 5]),
            frame(DATA, 0, &[]),
            frame(0xFA, 0, b"unknown"),
        ];
        let mut meter = meter();
        assert_eq!(meter.count(&connection(&empty), now), Ok(()));
        let flood = meter.count(&frame(PING, 1, &[0; 8]), now);
        assert_eq!(flood, Err(Flood::ControlFrames(5)));
    }

    #[test]
    fn what_transports_something_is_not_counted() {
        let now = Instant::now();
        let useful = [
            frame(DATA, 0, &[RST_STREAM; 20]),
            frame(DATA, END_STREAM, &[]),
            frame(1, 4, &[0; 30]),
            frame(WINDOW_UPDATE, 0, &[0, 0, 4, 0]),
            frame(9, 4, &[]),
        ];
        let mut meter = meter();
        assert_eq!(meter.count(&connection(&[]), now), Ok(()));
        for _ in 0..100 {
            assert_eq!(meter.count(&useful.concat(), now), Ok(()));
        }
    }

    #[test]
    fn small_updates_of_windows_are_counted_however_the_bytes_are_cut() {
        let now = Instant::now();
        let most = 5 * UPDATES_PER_FRAME;
        let updates = frame(WINDOW_UPDATE, 0, &[0, 0, 3, 0xFF]).repeat(most as usize);
        // Bytes of an increment are not taken for a header.
        let allowed = connection(&[updates, frame(DATA, 0, &[RST_STREAM; 20])]);
        let last = frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]);
        for size in [1, 2, 9, 10, 12, 13, 1000] {
            let mut meter = meter();
            for piece in allowed.chunks(size) {
                assert_eq!(meter.count(piece, now), Ok(()), "pieces of {size}");
            }
            let (most_of_it, rest) = last.split_at(HEADER + INCREMENT - 1);
            assert_eq!(meter.count(most_of_it, now), Ok(()), "pieces of {size}");
            assert_eq!(meter.count(rest, now), Err(Flood::SmallUpdates(most)));
        }
    }

    #[test]
    fn the_reserved_bit_does_not_make_an_update_large() {
        let now = Instant::now();
        let most = 5 * UPDATES_PER_FRAME;
        let update = frame(WINDOW_UPDATE, 0, &[0x80, 0, 0, 1]);
        let mut meter = meter();
        let allowed = connection(&[update.repeat(most as usize)]);
        assert_eq!(meter.count(&allowed, now), Ok(()));
        assert_eq!(meter.count(&update, now), Err(Flood::SmallUpdates(most)));
    }

    #[test]
    fn after_the_interval_counting_starts_anew() {
        let begun = Instant::now();
        let three = vec![frame(RST_STREAM, 0, &[0; 4]); 3];
        let mut meter = meter();
        assert_eq!(meter.count(&connection(&three), begun), Ok(()));
        let later = begun + WINDOW;
        assert_eq!(meter.count(&three.concat(), later), Ok(()));
        let again = meter.count(&frame(RST_STREAM, 0, &[0; 4]), later);
        assert_eq!(again, Err(Flood::Resets(3)));
    }
}
