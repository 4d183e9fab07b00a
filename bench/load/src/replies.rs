//! Parses the server's frames and compares their payload with what was sent.

use anyhow::{Result, ensure};

use crate::deflate::{Agreement, Inflater};
use crate::ring::Ring;

/// How much of each end of a piece is compared: all of a small message, a sample of a large one.
const SAMPLE: usize = 64;

/// The result of one read.
#[derive(Default, Debug)]
pub struct Heard {
    /// The number of complete messages, each the expected one.
    pub messages: usize,
    /// Payloads of pings to answer.
    pub pings: Vec<Vec<u8>>,
    /// The server sent a Close frame.
    pub close: bool,
}

/// The reader of one connection: its position within a frame, and within the ring.
pub struct Replies {
    head: [u8; 10],
    head_length: usize,
    frame: Option<Frame>,
    control: Vec<u8>,
    /// The next expected message, how many of its bytes were received, and whether it has begun.
    next: usize,
    heard: usize,
    begun: bool,
    compressed: bool,
    inflater: Option<Inflater>,
    inflated: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Frame {
    last: bool,
    opcode: u8,
    left: usize,
}

impl Replies {
    /// A reader that has received nothing yet.
    #[must_use]
    pub fn new(deflate: Option<Agreement>) -> Self {
        Self {
            head: [0; 10],
            head_length: 0,
            frame: None,
            control: Vec::new(),
            next: 0,
            heard: 0,
            begun: false,
            compressed: false,
            inflater: deflate.map(Inflater::new),
            inflated: Vec::new(),
        }
    }

    /// Expects the first message of another ring.
    pub fn restart(&mut self) {
        self.next = 0;
    }

    /// Processes received bytes.
    pub fn take(&mut self, mut bytes: &[u8], ring: &Ring, heard: &mut Heard) -> Result<()> {
        while !bytes.is_empty() {
            let Some(frame) = self.frame else {
                bytes = self.small_frames(bytes, ring, heard)?;
                bytes = self.take_head(bytes, ring)?;
                if self.frame.is_some_and(|frame| frame.left == 0) {
                    self.finish_frame(ring, heard)?;
                }
                continue;
            };
            let (piece, rest) = bytes.split_at(frame.left.min(bytes.len()));
            bytes = rest;
            self.take_payload(frame, piece, ring)?;
            let left = frame.left - piece.len();
            self.frame = Some(Frame { left, ..frame });
            if left == 0 {
                self.finish_frame(ring, heard)?;
            }
        }
        Ok(())
    }

    /// The fast path of a pipelined run: complete, uncompressed messages of at most 125 bytes, one
    /// after another.
    fn small_frames<'a>(
        &mut self,
        mut bytes: &'a [u8],
        ring: &Ring,
        heard: &mut Heard,
    ) -> Result<&'a [u8]> {
        while let [first, length @ 0..=125, rest @ ..] = bytes
            && *first == 0x80 | ring.opcode
            && self.head_length == 0
            && !self.begun
            && let Some((payload, rest)) = rest.split_at_checked(usize::from(*length))
        {
            ensure!(
                ring.lap() > 0 && payload == ring.message(self.next),
                "not what was sent"
            );
            self.advance(ring, heard);
            bytes = rest;
        }
        Ok(bytes)
    }

    fn take_head<'a>(&mut self, bytes: &'a [u8], ring: &Ring) -> Result<&'a [u8]> {
        let mut bytes = bytes;
        while let Some((byte, rest)) = bytes.split_first() {
            self.head[self.head_length] = *byte;
            self.head_length += 1;
            bytes = rest;
            let needed = match self.head[1] & 0x7F {
                _ if self.head_length < 2 => continue,
                126 => 4,
                127 => 10,
                _ => 2,
            };
            if self.head_length == needed {
                self.begin_frame(ring)?;
                break;
            }
        }
        Ok(bytes)
    }

    fn begin_frame(&mut self, ring: &Ring) -> Result<()> {
        let head = self.head;
        ensure!(
            head[1] & 0x80 == 0,
            "a masked frame from the server (RFC 6455 §5.1)"
        );
        let left = match head[1] {
            126 => usize::from(u16::from_be_bytes([head[2], head[3]])),
            127 => {
                let [_, _, length @ ..] = head;
                usize::try_from(u64::from_be_bytes(length))?
            }
            length => usize::from(length),
        };
        let frame = Frame {
            last: head[0] & 0x80 != 0,
            opcode: head[0] & 0x0F,
            left,
        };
        let compressed = head[0] & 0x40 != 0;
        ensure!(head[0] & 0x30 == 0, "a reserved bit is set (RFC 6455 §5.2)");
        if frame.opcode < 8 {
            let expected = if self.begun { 0 } else { ring.opcode };
            ensure!(
                frame.opcode == expected,
                "opcode {}, not {expected}",
                frame.opcode
            );
            ensure!(
                !compressed || self.inflater.is_some(),
                "compressed without agreement"
            );
            ensure!(
                !compressed || !self.begun,
                "RSV1 on a continuation (RFC 7692 §6.1)"
            );
            self.compressed |= compressed;
            self.begun = true;
        } else {
            ensure!(
                left <= 125 && frame.last,
                "a long or fragmented control frame"
            );
        }
        self.head_length = 0;
        self.frame = Some(frame);
        Ok(())
    }

    fn take_payload(&mut self, frame: Frame, piece: &[u8], ring: &Ring) -> Result<()> {
        if frame.opcode >= 8 {
            self.control.extend_from_slice(piece);
            return Ok(());
        }
        if let Some(inflater) = self.inflater.as_mut().filter(|_| self.compressed) {
            inflater.push(piece);
            return Ok(());
        }
        ensure!(ring.lap() > 0, "a message that answers nothing");
        let message = ring.message(self.next);
        let expected = message.get(self.heard..self.heard + piece.len());
        ensure!(
            expected.is_some_and(|expected| alike(piece, expected)),
            "not what was sent"
        );
        self.heard += piece.len();
        Ok(())
    }

    fn finish_frame(&mut self, ring: &Ring, heard: &mut Heard) -> Result<()> {
        let Some(frame) = self.frame.take() else {
            return Ok(());
        };
        match frame.opcode {
            8 => {
                heard.close = true;
                self.control.clear();
            }
            9 => heard.pings.push(std::mem::take(&mut self.control)),
            10 => self.control.clear(),
            _ if frame.last => self.finish_message(ring, heard)?,
            _ => {}
        }
        Ok(())
    }

    fn finish_message(&mut self, ring: &Ring, heard: &mut Heard) -> Result<()> {
        ensure!(ring.lap() > 0, "a message that answers nothing");
        let expected = ring.message(self.next);
        match self.inflater.as_mut().filter(|_| self.compressed) {
            Some(inflater) => {
                inflater.finish(expected.len(), &mut self.inflated)?;
                ensure!(
                    self.inflated == expected,
                    "does not inflate to what was sent"
                );
            }
            None => ensure!(self.heard == expected.len(), "shorter than what was sent"),
        }
        self.advance(ring, heard);
        Ok(())
    }

    fn advance(&mut self, ring: &Ring, heard: &mut Heard) {
        self.heard = 0;
        self.begun = false;
        self.compressed = false;
        self.next += 1;
        if self.next == ring.lap() {
            self.next = 0;
        }
        heard.messages += 1;
    }
}

fn alike(piece: &[u8], expected: &[u8]) -> bool {
    if piece.len() <= 2 * SAMPLE {
        return piece == expected;
    }
    piece[..SAMPLE] == expected[..SAMPLE]
        && piece[piece.len() - SAMPLE..] == expected[expected.len() - SAMPLE..]
}
