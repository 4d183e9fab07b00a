//! Bytes in, events out: the receiving half of a connection.

use std::borrow::Cow;
use std::sync::Arc;

use super::assembly::{Assembly, inflate_whole};
use super::frame_position::{FramePosition, Payload};
use super::{CloseFrame, Event, Input, ReceiveMode};
use crate::Config;
use crate::deflate::Decompressor;
use crate::error::{Error, LimitError, PeerError};
use crate::frame::{FrameHeader, OpCode};
use crate::mask::{mask_rotated, rotate};
use crate::message::{Kind, Message};

/// Compressed input of a chunked message is taken in pieces of this size, which bounds the bytes
/// waiting to be inflated.
const COMPRESSED_PIECE: usize = 16 * 1024;

/// The receiving half of a [`Connection`](crate::Connection): parses frames, validates them and
/// assembles messages.
///
/// It has neither a clock nor output. [`Outbound::react`](super::Outbound::react) does what an
/// event requires of the other half, such as answering a ping. It must be given every result of
/// [`receive`](Self::receive) that is not a message.
#[derive(Debug)]
pub struct Inbound {
    pub(super) config: Arc<Config>,
    is_server: bool,
    receive_mode: ReceiveMode,
    /// Whether input is ignored: the peer's Close was received, or the connection has failed or
    /// ended.
    pub(super) deaf: bool,
    /// Whether part of a message arrived since this was last queried.
    pub(super) progress: bool,
    pub(super) position: FramePosition,
    /// A control frame that is not complete yet; at most 125 bytes.
    #[expect(
        clippy::box_collection,
        reason = "hardly any connection has one: a third of the size"
    )]
    control: Option<Box<Vec<u8>>>,
    /// `Some` from the first frame of a message to its last, unless the first frame holds all of
    /// it.
    pub(super) assembly: Option<Box<Assembly>>,
    decompressor: Option<Box<Decompressor>>,
}

/// The available part of a frame's payload.
struct Piece<'b> {
    bytes: &'b mut [u8],
    opcode: OpCode,
    /// Whether the frame ends with this piece.
    ends_frame: bool,
    /// Whether the message ends with this piece.
    ends_message: bool,
    /// Payload bytes of this frame that are still to arrive.
    coming: u64,
}

impl Inbound {
    pub(super) fn new(config: Arc<Config>, is_server: bool) -> Self {
        Self {
            config,
            is_server,
            receive_mode: ReceiveMode::default(),
            deaf: false,
            progress: false,
            position: FramePosition::default(),
            control: None,
            assembly: None,
            decompressor: None,
        }
    }

    pub(super) fn set_decompressor(&mut self, decompressor: Decompressor) {
        self.decompressor = Some(Box::new(decompressor));
    }

    /// The connection's configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes the next event from `input`, or consumes all of `input` and returns `None`; see
    /// [`Connection::receive`](crate::Connection::receive).
    ///
    /// # Errors
    /// Returned once, when the connection must be failed. All later input is ignored.
    #[inline]
    pub fn receive<'b>(&mut self, input: &mut Input<'b>) -> Result<Option<Event<'b>>, Error> {
        if self.deaf {
            // RFC 6455 §5.5.1, §7.1.7: nothing after a Close frame, or a failure, is processed.
            input.discard();
            return Ok(None);
        }
        let received = match self.message_at_hand(input) {
            Ok(Some(message)) => return Ok(Some(Event::Message(message))),
            Ok(None) => self.next_event(input),
            Err(error) => Err(error),
        };
        if received.is_err() {
            input.discard();
            self.end();
        }
        received
    }

    /// Ignores all input from now on, and frees what is held.
    #[cold]
    pub fn end(&mut self) {
        self.deaf = true;
        self.assembly = None;
        self.control = None;
    }

    /// Bytes of memory that an incomplete message takes; 0 if there is none.
    #[must_use]
    pub fn incomplete_bytes(&self) -> usize {
        let assembly = self.assembly.as_ref();
        // A message that has begun counts as one byte even if it takes no memory yet.
        assembly.map_or(0, |assembly| assembly.capacity().max(1))
    }

    /// Whether part of a message arrived since the last call: a long message on a slow link does
    /// not count as idle.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// The common case: one frame, uncompressed and complete in the input. Inlined and separate
    /// from the rest, so that a small message costs little more than parsing its header.
    #[inline]
    fn message_at_hand<'b>(&mut self, input: &mut Input<'b>) -> Result<Option<Message<'b>>, Error> {
        if !self.message_comes_next(input) || self.receive_mode == ReceiveMode::Chunks {
            return Ok(None);
        }
        let Some((header, taken)) = FrameHeader::parse(input.as_slice())? else {
            return Ok(None);
        };
        let whole = (input.len().saturating_sub(taken) as u64) >= header.payload_len;
        if !whole || header.rsv1 {
            return Ok(None);
        }
        self.admit(&header)?;
        input.take(taken);
        self.whole_message(&header, input)
    }

    /// Whether `input` continues with a message in a single frame, as far as its first byte tells.
    /// A driver that takes several messages before answering them stops when it does not: after a
    /// Close or a protocol violation has been received, nothing can be sent.
    #[must_use]
    #[inline]
    pub fn message_comes_next(&self, input: &Input<'_>) -> bool {
        let between = self.is_between_messages();
        match input.as_slice().first() {
            // FIN and a message opcode; RSV1 is allowed if compression was negotiated.
            Some(0x81 | 0x82) => between,
            Some(0xc1 | 0xc2) => between && self.decompressor.is_some(),
            Some(_) | None => false,
        }
    }

    /// Whether the next bytes begin a message, or a control frame between two messages.
    #[must_use]
    #[inline]
    pub fn is_between_messages(&self) -> bool {
        matches!(self.position, FramePosition::Header { len: 0, .. }) && self.assembly.is_none()
    }

    /// Whether `input` continues with a control frame, as far as its first byte tells, or is inside
    /// one. A driver that must not take messages yet, because the application does not request any,
    /// can still answer pings that precede them: [`receive`](Self::receive) returns no message
    /// then.
    #[must_use]
    pub fn control_comes_next(&self, input: &Input<'_>) -> bool {
        let Some(next) = input.as_slice().first() else {
            return false;
        };
        if self.assembly.as_deref().is_some_and(Assembly::has_backlog) {
            return false;
        }
        match &self.position {
            FramePosition::Header { len: 0, .. } => next & 0x08 != 0,
            FramePosition::Header { bytes, .. } => {
                bytes.first().is_some_and(|first| first & 0x08 != 0)
            }
            FramePosition::Payload { opcode, .. } => opcode.is_control(),
        }
    }

    /// How messages are returned from now on. When switching to chunks, an incomplete message is
    /// returned in chunks from here on, starting with the part already received. When switching to
    /// whole messages, an incomplete message continues in chunks if a chunk of it was already
    /// returned.
    #[inline]
    pub fn set_receive_mode(&mut self, mode: ReceiveMode) {
        self.receive_mode = mode;
        if let Some(assembly) = &mut self.assembly {
            assembly.set_chunked(mode == ReceiveMode::Chunks);
        }
    }

    fn next_event<'b>(&mut self, input: &mut Input<'b>) -> Result<Option<Event<'b>>, Error> {
        loop {
            if let Some(event) = self.inflate_backlog()? {
                return Ok(Some(event));
            }
            let payload = match self.position.payload() {
                Some(payload) => payload,
                None => {
                    let Some(header) = self.next_header(input)? else {
                        return Ok(None);
                    };
                    self.admit(&header)?;
                    if let Some(message) = self.whole_message(&header, input)? {
                        return Ok(Some(Event::Message(message)));
                    }
                    self.begin_payload(&header)?
                }
            };
            if payload.remaining > 0 && input.is_empty() {
                return Ok(None);
            }
            let piece = self.take_piece(payload, input);
            let event = if piece.opcode.is_control() {
                self.on_control(piece)?
            } else {
                self.on_data(piece)?
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Parses a header from the input, together with the part kept from earlier input.
    #[inline]
    fn next_header(&mut self, input: &mut Input<'_>) -> Result<Option<FrameHeader>, PeerError> {
        let FramePosition::Header { bytes, len } = &mut self.position else {
            return Ok(None);
        };
        if *len == 0
            && let Some((header, taken)) = FrameHeader::parse(input.as_slice())?
        {
            input.take(taken);
            return Ok(Some(header));
        }
        while !input.is_empty() {
            let at = usize::from(*len);
            for (slot, byte) in bytes.iter_mut().skip(at).zip(input.take(1)) {
                *slot = *byte;
                *len = len.saturating_add(1);
            }
            let so_far = bytes.get(..usize::from(*len)).unwrap_or_default();
            if let Some((header, _)) = FrameHeader::parse(so_far)? {
                *len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Checks whether the peer may send this frame now.
    #[inline]
    fn admit(&mut self, header: &FrameHeader) -> Result<(), Error> {
        // RFC 6455 §5.1: a client masks, a server does not.
        match (self.is_server, header.mask) {
            (true, None) => return Err(PeerError::NotMasked.into()),
            (false, Some(_)) => return Err(PeerError::Masked.into()),
            _ => {}
        }
        // RFC 6455 §5.2: reserved bits are 0 unless an extension gives them a meaning.
        // RFC 7692 §6: RSV1 is set on the first frame of a compressed message only.
        let may_compress = matches!(header.opcode, OpCode::Text | OpCode::Binary);
        if header.rsv23 || header.rsv1 && !(may_compress && self.decompressor.is_some()) {
            return Err(PeerError::ReservedBit.into());
        }
        if header.opcode.is_control() {
            return Ok(());
        }
        // RFC 6455 §5.4: fragments of one message are not interleaved with another's.
        match (header.opcode, &mut self.assembly) {
            (OpCode::Continuation, None) => Err(PeerError::UnexpectedContinuation.into()),
            (OpCode::Continuation, Some(assembly)) => assembly.admit(header, &self.config.limits),
            (_, Some(_)) => Err(PeerError::MessageInterrupted.into()),
            (_, None) => {
                let limit = self.config.limits.message_size;
                let whole = self.receive_mode == ReceiveMode::Whole;
                if whole && !header.rsv1 && header.payload_len > limit {
                    return Err(LimitError::MessageTooLong { limit }.into());
                }
                Ok(())
            }
        }
    }

    /// A message in a single frame that is complete in the input, compressed or not.
    #[inline]
    fn whole_message<'b>(
        &mut self,
        header: &FrameHeader,
        input: &mut Input<'b>,
    ) -> Result<Option<Message<'b>>, Error> {
        let kind = match header.opcode {
            OpCode::Text => Kind::Text,
            OpCode::Binary => Kind::Binary,
            OpCode::Continuation | OpCode::Close | OpCode::Ping | OpCode::Pong => return Ok(None),
        };
        let Ok(len) = usize::try_from(header.payload_len) else {
            return Ok(None);
        };
        if !header.fin || len > input.len() || self.receive_mode == ReceiveMode::Chunks {
            return Ok(None);
        }
        let payload = input.take(len);
        if let Some(key) = header.mask {
            mask_rotated(payload, key);
        }
        if header.rsv1 {
            let Some(decompressor) = &mut self.decompressor else {
                return Ok(None);
            };
            return inflate_whole(kind, payload, decompressor, &self.config.limits).map(Some);
        }
        Ok(Some(match kind {
            Kind::Binary => Message::Binary(Cow::Borrowed(payload)),
            Kind::Text => {
                let text =
                    simdutf8::basic::from_utf8(payload).map_err(|_| PeerError::InvalidUtf8)?;
                Message::Text(Cow::Borrowed(text))
            }
        }))
    }

    /// Prepares for a frame whose payload is processed piece by piece.
    fn begin_payload(&mut self, header: &FrameHeader) -> Result<Payload, Error> {
        let begun = match header.opcode {
            OpCode::Text => Some(Kind::Text),
            OpCode::Binary => Some(Kind::Binary),
            OpCode::Continuation | OpCode::Close | OpCode::Ping | OpCode::Pong => None,
        };
        if let Some(kind) = begun {
            let chunked = self.receive_mode == ReceiveMode::Chunks;
            let mut assembly = Box::new(Assembly::new(kind, header.rsv1, chunked));
            assembly.admit(header, &self.config.limits)?;
            self.assembly = Some(assembly);
        }
        let payload = Payload {
            opcode: header.opcode,
            fin: header.fin,
            key: header.mask.unwrap_or_default(),
            remaining: header.payload_len,
        };
        self.position = payload.into();
        Ok(payload)
    }

    /// Takes the part of the frame that is in the input, and unmasks it.
    fn take_piece<'b>(&mut self, payload: Payload, input: &mut Input<'b>) -> Piece<'b> {
        let inflates_later = self
            .assembly
            .as_ref()
            .is_some_and(|a| a.compressed && a.chunked);
        let most = if inflates_later {
            COMPRESSED_PIECE
        } else {
            usize::MAX
        };
        let wanted = usize::try_from(payload.remaining)
            .unwrap_or(usize::MAX)
            .min(most);
        let bytes = input.take(wanted);
        if payload.key != [0; 4] {
            mask_rotated(bytes, payload.key);
        }
        let remaining = self.advance(payload, bytes.len());
        Piece {
            bytes,
            opcode: payload.opcode,
            ends_frame: remaining == 0,
            ends_message: remaining == 0 && payload.fin,
            coming: remaining,
        }
    }

    /// Records that the next bytes of a frame have arrived, and returns how many are outstanding.
    pub(super) fn advance(&mut self, payload: Payload, taken: usize) -> u64 {
        let taken = taken as u64;
        let remaining = payload.remaining.saturating_sub(taken);
        self.position = if remaining == 0 {
            FramePosition::default()
        } else {
            let key = rotate(payload.key, taken);
            let rest = Payload {
                key,
                remaining,
                ..payload
            };
            rest.into()
        };
        remaining
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the piece's bytes are given on"
    )]
    fn on_data<'b>(&mut self, piece: Piece<'b>) -> Result<Option<Event<'b>>, Error> {
        if !piece.bytes.is_empty() {
            self.progress = true;
        }
        let Some(assembly) = &mut self.assembly else {
            return Ok(None);
        };
        let decompressor = self.decompressor.as_mut().filter(|_| assembly.compressed);
        match (assembly.chunked, decompressor) {
            (true, Some(_)) => {
                assembly.hold(piece.bytes, piece.ends_message);
                return Ok(None);
            }
            (true, None) => {
                let chunk = assembly.chunk(piece.bytes, piece.ends_message)?;
                if piece.ends_message {
                    self.assembly = None;
                }
                return Ok(chunk.map(Event::Chunk));
            }
            (false, Some(decompressor)) => {
                let limits = &self.config.limits;
                let last = piece.ends_message;
                assembly.append_compressed(piece.bytes, last, decompressor, limits)?;
            }
            (false, None) => assembly.append(piece.bytes, piece.coming, &self.config.limits)?,
        }
        if !piece.ends_message {
            return Ok(None);
        }
        let whole = self
            .assembly
            .take()
            .map(|assembly| assembly.finish())
            .transpose()?;
        Ok(whole.map(Event::Message))
    }

    /// The next chunk of the compressed bytes taken before.
    fn inflate_backlog<'b>(&mut self) -> Result<Option<Event<'b>>, Error> {
        while let (Some(assembly), Some(decompressor)) =
            (&mut self.assembly, &mut self.decompressor)
        {
            if !assembly.has_backlog() {
                break;
            }
            let Some(chunk) = assembly.inflate_chunk(decompressor)? else {
                continue;
            };
            if chunk.last {
                self.assembly = None;
            }
            return Ok(Some(Event::Chunk(chunk)));
        }
        Ok(None)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the piece's bytes are given on"
    )]
    fn on_control<'b>(&mut self, piece: Piece<'b>) -> Result<Option<Event<'b>>, Error> {
        let payload: Cow<'b, [u8]> = if piece.ends_frame && self.control.is_none() {
            Cow::Borrowed(piece.bytes)
        } else {
            // At most 125 bytes: the header was checked.
            let mut control = self.control.take().unwrap_or_default();
            control.extend_from_slice(piece.bytes);
            if !piece.ends_frame {
                self.control = Some(control);
                return Ok(None);
            }
            Cow::Owned(*control)
        };
        match piece.opcode {
            OpCode::Ping => Ok(Some(Event::Ping(payload))),
            OpCode::Pong => Ok(Some(Event::Pong { payload, rtt: None })),
            OpCode::Close => {
                let frame = CloseFrame::parse(&payload)?;
                self.end();
                Ok(Some(Event::Close(frame)))
            }
            OpCode::Continuation | OpCode::Text | OpCode::Binary => Ok(None),
        }
    }
}
