//! The content of frames: messages assembled from fragments, inflated, and checked for UTF-8.

use offhook_protocol::deflate::{Decompressor, DeflateConfig, DeflatePool, DeflateTerms};
use offhook_protocol::{CloseCode, PeerError};

use super::LOOKED_AT;
use super::header::{Header, RSV1};
use super::rule::{Broken, of_inflating};

/// The content of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A message or a part of one.
    Data {
        /// Whether its message is text.
        is_text: bool,
        /// The frame's part of its message.
        part: Part,
        /// The decompressed data, if it was compressed.
        inflated: Option<Vec<u8>>,
    },
    /// The closing handshake.
    Close {
        /// The close code.
        code: Option<CloseCode>,
        /// The close reason.
        reason: Vec<u8>,
    },
    /// A ping or a pong.
    Heartbeat,
    /// A frame with a reserved opcode.
    Unknown,
}

/// Which part of its message a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    First,
    Middle,
    Last,
}

/// What is known about compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// The handshake was not captured: frames with RSV1 are inflated tentatively.
    Unknown,
    /// Not negotiated.
    Off,
    /// Negotiated on these terms.
    On(DeflateTerms),
}

/// The messages of one direction.
#[derive(Debug, Default)]
pub(super) struct Messages {
    under_way: Option<UnderWay>,
    inflater: Option<Box<Decompressor>>,
    /// After an error no compressed message can be read: each refers to earlier ones.
    is_context_lost: bool,
}

#[derive(Debug)]
struct UnderWay {
    is_text: bool,
    is_compressed: bool,
    /// The first bytes of a character that the next fragment completes.
    begun: Vec<u8>,
    /// Invalid UTF-8 is reported once, and not at all if the data may be something else.
    is_text_broken: bool,
}

/// The findings about one frame.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) broken: Vec<Broken>,
    pub(super) notes: Vec<String>,
}

impl Messages {
    /// The content of this frame. `payload` is unmasked; `is_whole` says whether it is complete.
    pub(super) fn take(
        &mut self,
        header: &Header,
        payload: &[u8],
        is_whole: bool,
        compression: Compression,
        findings: &mut Findings,
    ) -> Content {
        check_reserved_bits(header, compression, findings);
        match header.opcode {
            0..=2 => self.data(header, payload, is_whole, compression, findings),
            8 => close(payload, findings),
            9 | 10 => Content::Heartbeat,
            _ => Content::Unknown,
        }
    }

    fn data(
        &mut self,
        header: &Header,
        payload: &[u8],
        is_whole: bool,
        compression: Compression,
        findings: &mut Findings,
    ) -> Content {
        let is_continuation = header.opcode == 0;
        let mut message = match (self.under_way.take(), is_continuation) {
            (Some(message), true) => message,
            (None, true) => {
                findings
                    .broken
                    .push(PeerError::UnexpectedContinuation.into());
                return Content::Unknown;
            }
            (before, false) => {
                if before.is_some() {
                    findings.broken.push(PeerError::MessageInterrupted.into());
                }
                UnderWay::begin(header, compression)
            }
        };
        let part = match (is_continuation, header.fin) {
            (false, true) => Part::Whole,
            (false, false) => Part::First,
            (true, false) => Part::Middle,
            (true, true) => Part::Last,
        };
        let is_text = message.is_text;
        let is_last = header.fin && is_whole;
        let inflated = if message.is_compressed {
            self.inflate(payload, is_last, compression, findings)
        } else {
            None
        };
        let is_readable = inflated.is_some() || !message.is_compressed;
        if is_text && is_readable {
            let plain = inflated.as_deref().unwrap_or(payload);
            message.check_text(plain, is_last, findings);
        }
        if !header.fin {
            self.under_way = Some(message);
        }
        Content::Data {
            is_text,
            part,
            inflated,
        }
    }

    fn inflate(
        &mut self,
        payload: &[u8],
        is_last: bool,
        compression: Compression,
        findings: &mut Findings,
    ) -> Option<Vec<u8>> {
        if self.is_context_lost {
            let note = "not inflated: it refers to data that could not be read";
            findings.notes.push(note.to_owned());
            return None;
        }
        let inflater = self
            .inflater
            .get_or_insert_with(|| Box::new(inflater(compression)));
        let mut plain = Vec::new();
        match inflater.decompress(payload, is_last, &mut plain, LOOKED_AT) {
            Ok(done) if done.consumed == payload.len() => Some(plain),
            Ok(_) => {
                self.is_context_lost = true;
                findings
                    .notes
                    .push(format!("inflates to more than {LOOKED_AT} bytes"));
                Some(plain)
            }
            Err(error) => {
                self.is_context_lost = true;
                match of_inflating(error) {
                    // The data it refers to may not have been captured.
                    Some(_) if compression == Compression::Unknown => findings.notes.push(format!(
                        "not inflated: {error}; without the handshake and all that came before, \
                         that need not be its fault"
                    )),
                    Some(broken) => findings.broken.push(broken),
                    None => findings.notes.push(format!("not inflated: {error}")),
                }
                None
            }
        }
    }
}

/// If the terms are unknown, a decompressor that handles any terms.
fn inflater(compression: Compression) -> Decompressor {
    let terms = match compression {
        Compression::On(terms) => terms,
        Compression::Unknown | Compression::Off => DeflateTerms {
            window_bits: 15,
            context_takeover: true,
        },
    };
    let config = DeflateConfig::default();
    Decompressor::new(terms, LOOKED_AT as u64, &config, &DeflatePool::default())
}

impl UnderWay {
    fn begin(header: &Header, compression: Compression) -> Self {
        Self {
            is_text: header.opcode == 1,
            is_compressed: header.is_compressed() && compression != Compression::Off,
            begun: Vec::new(),
            // With unknown reserved bits, the data may be anything.
            is_text_broken: header.rsv & !allowed_bits(header, compression) != 0,
        }
    }

    /// RFC 6455 §8.1, across any fragmentation: RFC 6455 §5.6 lets a fragment end in the middle of
    /// a character.
    fn check_text(&mut self, plain: &[u8], is_last: bool, findings: &mut Findings) {
        if self.is_text_broken {
            return;
        }
        let before = self.begun.len();
        self.begun.extend_from_slice(plain);
        let text = std::mem::take(&mut self.begun);
        let Err(error) = std::str::from_utf8(&text) else {
            return;
        };
        let is_unfinished = error.error_len().is_none() && !is_last;
        if is_unfinished {
            self.begun = text[error.valid_up_to()..].to_vec();
            return;
        }
        self.is_text_broken = true;
        findings.broken.push(PeerError::InvalidUtf8.into());
        let at = error.valid_up_to().saturating_sub(before);
        findings.notes.push(format!(
            "invalid UTF-8 from byte {at} of this frame's data on"
        ));
    }
}

/// The reserved bits that a frame may have. RFC 7692 §6: RSV1 is set on the first frame of a
/// compressed message, and only there.
fn allowed_bits(header: &Header, compression: Compression) -> u8 {
    let may_be_compressed = matches!(header.opcode, 1 | 2) && compression != Compression::Off;
    if may_be_compressed { RSV1 } else { 0 }
}

fn check_reserved_bits(header: &Header, compression: Compression, findings: &mut Findings) {
    let allowed = allowed_bits(header, compression);
    if header.rsv & !allowed != 0 {
        let is_misplaced = header.rsv == RSV1 && compression != Compression::Off;
        findings.broken.push(if is_misplaced {
            let rule = "RSV1 is set only on the first frame of a compressed message";
            Broken::new("RFC 7692 §6.1", rule)
        } else {
            PeerError::ReservedBit.into()
        });
    }
    if header.rsv & allowed != 0 && compression == Compression::Unknown {
        let note = "RSV1 is assumed to mean permessage-deflate: the handshake was not seen";
        findings.notes.push(note.to_owned());
    }
}

fn close(payload: &[u8], findings: &mut Findings) -> Content {
    let Some((code, reason)) = payload.split_first_chunk() else {
        if !payload.is_empty() {
            findings.broken.push(PeerError::CloseTooShort.into());
        }
        let (code, reason) = (None, Vec::new());
        return Content::Close { code, reason };
    };
    let code = CloseCode::new(u16::from_be_bytes(*code));
    if !code.is_sendable() {
        findings
            .broken
            .push(PeerError::CloseCode(code.get()).into());
    }
    if std::str::from_utf8(reason).is_err() {
        // RFC 6455 §5.5.1: the reason is UTF-8.
        let rule = "the reason of a Close must be UTF-8";
        findings.broken.push(Broken::new("RFC 6455 §5.5.1", rule));
    }
    let (code, reason) = (Some(code), reason.to_vec());
    Content::Close { code, reason }
}
