//! One direction of a connection: perhaps a head, then frames.

use bytes::{Bytes, BytesMut};
use offhook_protocol::{PeerError, mask};

use super::LOOKED_AT;
use super::content::{Compression, Content, Findings, Messages};
use super::conversation::Side;
use super::head::{self, Head};
use super::header::{self, Header};
use super::rule::Broken;

/// A piece of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The opening handshake.
    Head(Side, Head),
    /// A frame.
    Frame(Box<Frame>),
    /// Bytes that are not a complete frame, at the end or where frames cannot be separated.
    Rest(Side, Rest),
}

/// A frame, valid or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) side: Side,
    /// Counted from 1, for each side.
    pub(crate) number: u64,
    /// The offset at which it starts among the bytes of its side.
    pub(crate) at: u64,
    pub(crate) header: Header,
    /// The payload as on the wire, up to the limit of what is examined.
    pub(crate) masked: Bytes,
    /// The payload without its mask.
    pub(crate) payload: Vec<u8>,
    pub(crate) content: Content,
    /// The packets of a dialect that the frame completes, in one line each.
    pub(crate) packets: Vec<String>,
    pub(crate) broken: Vec<Broken>,
    /// Notes that are not violations.
    pub(crate) notes: Vec<String>,
}

/// Bytes that are not a complete frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) why: String,
}

/// The bytes sent by one side.
#[derive(Debug)]
pub(super) struct Direction {
    side: Side,
    state: DirectionState,
    /// Bytes received and not processed yet.
    buffer: BytesMut,
    /// How much of a head was searched for its end: a head that arrives byte by byte is searched
    /// once.
    searched: usize,
    /// The offset at which `buffer` starts.
    at: u64,
    number: u64,
    /// For a frame that is too long to be stored: the number of outstanding bytes.
    skipped: u64,
    messages: Messages,
    last_key: Option<[u8; 4]>,
    is_closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DirectionState {
    /// A head may follow.
    Start,
    Frames,
    /// Frames cannot be separated any more.
    Lost,
}

impl Direction {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            state: DirectionState::Start,
            buffer: BytesMut::new(),
            searched: 0,
            at: 0,
            number: 0,
            skipped: 0,
            messages: Messages::default(),
            last_key: None,
            is_closed: false,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let skipped = bytes
            .len()
            .min(usize::try_from(self.skipped).unwrap_or(usize::MAX));
        self.skipped -= skipped as u64;
        self.at += skipped as u64;
        if self.state == DirectionState::Lost {
            // Only counted, since it may be gigabytes.
            self.skipped = 0;
            self.at += (bytes.len() - skipped) as u64;
        } else {
            self.buffer.extend_from_slice(&bytes[skipped..]);
        }
    }

    /// The bytes of the head, once complete; the rest is frames.
    pub(super) fn take_head(&mut self) -> Option<Bytes> {
        if self.state != DirectionState::Start || self.buffer.is_empty() {
            return None;
        }
        let start: &[u8] = match self.side {
            Side::Client => b"GET ",
            Side::Server => b"HTTP/",
        };
        let known = start.len().min(self.buffer.len());
        if self.buffer[..known] != start[..known] {
            self.state = DirectionState::Frames;
            return None;
        }
        // The end may have started in the part already searched.
        let from = self.searched.saturating_sub(3);
        let Some(end) = head::end(&self.buffer[from..]).map(|end| from + end) else {
            self.searched = self.buffer.len();
            // A longer head is not valid: it is parsed as frames, which report what is wrong.
            if self.buffer.len() > head::LONGEST {
                self.state = DirectionState::Frames;
            }
            return None;
        };
        self.state = DirectionState::Frames;
        Some(self.take(end))
    }

    /// The bytes that follow are not frames.
    pub(super) fn give_up(&mut self, why: &str) -> Option<Piece> {
        let at = self.at;
        let bytes = self.buffer.len() as u64;
        self.state = DirectionState::Lost;
        self.at += bytes;
        self.buffer.clear();
        let why = why.to_owned();
        (bytes > 0).then_some(Piece::Rest(self.side, Rest { at, bytes, why }))
    }

    /// The next frame, once complete.
    pub(super) fn take_frame(&mut self, compression: Compression) -> Option<Piece> {
        if self.state != DirectionState::Frames || self.skipped > 0 {
            return None;
        }
        let header = Header::read(&self.buffer)?;
        let room = self.buffer.len() - header.bytes.len();
        let kept = usize::try_from(header.length)
            .unwrap_or(usize::MAX)
            .min(LOOKED_AT);
        if room < kept && !header.is_the_end() {
            return None;
        }
        let at = self.at;
        let _ = self.take(header.bytes.len());
        let masked = if header.is_the_end() {
            Bytes::new()
        } else {
            self.take(kept)
        };
        let frame = self.frame(at, header, masked, compression);
        if frame.header.is_the_end() {
            self.state = DirectionState::Lost;
            self.at += self.buffer.len() as u64;
            self.buffer.clear();
        } else {
            let missing = frame.header.length - kept as u64;
            let here = self
                .buffer
                .len()
                .min(usize::try_from(missing).unwrap_or(usize::MAX));
            self.skipped = missing - here as u64;
            let _ = self.take(here);
        }
        Some(Piece::Frame(Box::new(frame)))
    }

    /// The incomplete piece at the end.
    pub(super) fn finish(&mut self) -> Option<Piece> {
        let (at, bytes) = (self.at, self.buffer.len() as u64);
        if self.skipped > 0 {
            let why = format!("{} bytes of the last frame are missing", self.skipped);
            return Some(Piece::Rest(self.side, Rest { at, bytes, why }));
        }
        if bytes == 0 {
            return None;
        }
        let why = match Header::read(&self.buffer) {
            _ if self.state == DirectionState::Start => "a head without its end".to_owned(),
            Some(header) => {
                let there = bytes - header.bytes.len() as u64;
                let (name, length) = (header.name(), header.length);
                format!("a {name} frame with {there} of its {length} bytes")
            }
            None if bytes < header::LONGEST as u64 => "the start of a frame's header".to_owned(),
            None => "no frame".to_owned(),
        };
        Some(Piece::Rest(self.side, Rest { at, bytes, why }))
    }

    fn frame(&mut self, at: u64, header: Header, masked: Bytes, compression: Compression) -> Frame {
        self.number += 1;
        let mut findings = Findings::default();
        findings.broken.extend(header.broken().map(Broken::from));
        self.check_mask(&header, &mut findings);
        self.check_order(&header, &mut findings);
        let mut payload = masked.to_vec();
        if let Some(key) = header.mask {
            mask(&mut payload, key, 0);
        }
        let is_whole = payload.len() as u64 == header.length;
        if !is_whole && !header.is_the_end() {
            let note = format!("only the first {LOOKED_AT} bytes are examined");
            findings.notes.push(note);
        }
        let content = self
            .messages
            .take(&header, &payload, is_whole, compression, &mut findings);
        let Findings { broken, notes } = findings;
        let (side, number) = (self.side, self.number);
        Frame {
            side,
            number,
            at,
            header,
            masked,
            payload,
            content,
            packets: Vec::new(),
            broken,
            notes,
        }
    }

    fn check_mask(&mut self, header: &Header, findings: &mut Findings) {
        match (self.side, header.mask) {
            (Side::Client, None) => findings.broken.push(PeerError::NotMasked.into()),
            (Side::Server, Some(_)) => findings.broken.push(PeerError::Masked.into()),
            (Side::Client, Some(key)) => {
                if self.last_key == Some(key) {
                    // RFC 6455 §5.3: a fresh, unpredictable key for each frame.
                    let note = "the same masking key as the frame before; RFC 6455 §5.3 asks for \
                                a fresh, unpredictable one";
                    findings.notes.push(note.to_owned());
                }
                self.last_key = Some(key);
            }
            (Side::Server, None) => {}
        }
    }

    fn check_order(&mut self, header: &Header, findings: &mut Findings) {
        if self.is_closed {
            let rule = "nothing may follow a Close";
            findings.broken.push(Broken::new("RFC 6455 §5.5.1", rule));
        }
        self.is_closed |= header.opcode == 8;
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.at += count as u64;
        self.buffer.split_to(count).freeze()
    }
}
