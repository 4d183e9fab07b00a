//! Frames of request streams and control streams (RFC 9114 §7).

use bytes::Bytes;

use crate::{Code, Error, varint};

/// The content of a message.
pub const DATA: u64 = 0x00;
/// A field section.
pub const HEADERS: u64 = 0x01;
/// Cancels a push.
pub const CANCEL_PUSH: u64 = 0x03;
/// The settings of a connection.
pub const SETTINGS: u64 = 0x04;
/// Announces a push.
pub const PUSH_PROMISE: u64 = 0x05;
/// No further requests are accepted.
pub const GOAWAY: u64 = 0x07;
/// The limit of pushes.
pub const MAX_PUSH_ID: u64 = 0x0d;

/// A frame, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole frame that is neither DATA nor of an unknown type.
    Whole {
        /// Its type.
        kind: u64,
        /// Its content.
        payload: Vec<u8>,
    },
    /// Content of a message: a piece of a DATA frame, which is never empty.
    Data(Bytes),
}

/// Reads the frames of one stream. What is not DATA is collected up to a limit; DATA is passed on in
/// pieces as it arrives; frames of unknown types are skipped (RFC 9114 §9).
///
/// Call [`receive`](Self::receive) with the bytes of the stream, then [`next`](Self::next) until it
/// returns none.
#[derive(Debug)]
pub struct Frames {
    unread: Vec<u8>,
    /// Bytes of `unread` that were read.
    read: usize,
    limit: usize,
    within: Within,
    /// Frames without content since the last content, of DATA or of an unknown type.
    empty: u32,
}

/// How many frames in a row may have no content. 100: no peer has a reason to send more than a few, and
/// each costs more to receive than to send (RFC 9114 §10.5). Frames of unknown types with content do not
/// count: browsers send as many `PRIORITY_UPDATE` frames (RFC 9218 §7.2) as they like.
const MOST_EMPTY: u32 = 100;

#[derive(Clone, Copy, Debug)]
enum Within {
    Head,
    Whole { kind: u64, length: usize },
    Data { left: u64 },
    Skipped { left: u64 },
}

impl Frames {
    /// Frames other than DATA may have this many bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            unread: Vec::new(),
            read: 0,
            limit,
            within: Within::Head,
            empty: 0,
        }
    }

    /// Passes bytes of the stream.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.unread.drain(..self.read.min(self.unread.len()));
        self.read = 0;
        self.unread.extend_from_slice(bytes);
    }

    /// Whether a frame has begun and is not complete, so that the stream must not end here.
    #[must_use]
    pub fn is_within_frame(&self) -> bool {
        let is_between = matches!(self.within, Within::Head | Within::Data { left: 0 });
        !is_between || !self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        self.unread.get(self.read..).unwrap_or_default()
    }

    /// The next frame or piece; none if more bytes are needed.
    ///
    /// # Errors
    /// A frame that is too long, or too many that are empty.
    #[expect(
        clippy::should_implement_trait,
        reason = "none is not the end: more may follow"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            match self.within {
                Within::Head => {
                    if !self.read_head()? {
                        return Ok(None);
                    }
                }
                Within::Whole { kind, length } => {
                    let Some(payload) = self.take(length) else {
                        return Ok(None);
                    };
                    self.within = Within::Head;
                    return Ok(Some(Frame::Whole { kind, payload }));
                }
                Within::Data { left: 0 } | Within::Skipped { left: 0 } => {
                    self.within = Within::Head;
                }
                Within::Data { left } => {
                    let piece = self.take_up_to(left);
                    if piece.is_empty() {
                        return Ok(None);
                    }
                    self.empty = 0;
                    let left = left.saturating_sub(piece.len() as u64);
                    self.within = Within::Data { left };
                    return Ok(Some(Frame::Data(piece.into())));
                }
                Within::Skipped { left } => {
                    let skipped = self.take_up_to(left).len() as u64;
                    if skipped == 0 {
                        return Ok(None);
                    }
                    self.empty = 0;
                    let left = left.saturating_sub(skipped);
                    self.within = Within::Skipped { left };
                }
            }
        }
    }

    /// Reads the head of a frame; returns whether it was complete.
    fn read_head(&mut self) -> Result<bool, Error> {
        let mut rest = self.rest();
        let before = rest.len();
        let (Some(kind), Some(length)) = (varint::read(&mut rest), varint::read(&mut rest)) else {
            return Ok(false);
        };
        self.read = self.read.saturating_add(before.saturating_sub(rest.len()));
        let is_known = matches!(
            kind,
            HEADERS | CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID
        );
        // RFC 9114 §7.2.8: types of HTTP/2 that HTTP/3 does not have.
        if matches!(kind, 0x02 | 0x06 | 0x08 | 0x09) {
            return Err(Error::new(
                Code::FRAME_UNEXPECTED,
                "a frame of a type that only HTTP/2 has",
            ));
        }
        if !is_known {
            self.empty = self.empty.saturating_add(1);
            if self.empty > MOST_EMPTY {
                let detail = "too many frames without content";
                return Err(Error::new(Code::EXCESSIVE_LOAD, detail));
            }
            self.within = match kind {
                DATA => Within::Data { left: length },
                _ => Within::Skipped { left: length },
            };
            return Ok(true);
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > self.limit {
            let detail = "a frame is longer than this side accepts";
            return Err(Error::new(Code::EXCESSIVE_LOAD, detail));
        }
        self.within = Within::Whole { kind, length };
        Ok(true)
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let taken = self.rest().get(..length)?.to_vec();
        self.read = self.read.saturating_add(length);
        Some(taken)
    }

    fn take_up_to(&mut self, most: u64) -> Vec<u8> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let length = self.rest().len().min(most);
        self.take(length).unwrap_or_default()
    }
}

/// Writes a frame.
pub fn write(kind: u64, payload: &[u8], out: &mut Vec<u8>) {
    write_head(kind, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Writes the head of a frame whose content follows.
pub fn write_head(kind: u64, length: usize, out: &mut Vec<u8>) {
    varint::write(kind, out);
    varint::write(length as u64, out);
}
