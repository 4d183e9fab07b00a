//! Messages that are framed and compressed once for any number of connections.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::deflate::{DeflateConfig, DeflatePool, compress_once};
use crate::frame::{FrameHeader, OpCode};
use crate::message::{Kind, Outgoing};

/// A message ready for the wire, shared by reference count.
///
/// A server that sends the same bytes to many connections frames and compresses them once, and
/// sends a reference to the result with the same methods as any other message. A
/// message longer than [`Config::fragment_size`](crate::Config::fragment_size) is fragmented like
/// any other; its payload is still shared. A client must mask each frame with its own key (RFC 6455
/// §5.3), so it shares only the uncompressed payload.
///
/// ```
/// use offhook_protocol::Prepared;
/// use offhook_protocol::deflate::{DeflateConfig, DeflatePool};
///
/// let news = Prepared::new("the same for all of you");
///
/// let (config, pool) = (DeflateConfig::default(), DeflatePool::default());
/// let also_compressed = Prepared::with_deflate("x".repeat(1000), &config, &pool);
/// # let _ = (news, also_compressed);
/// ```
#[derive(Clone)]
pub struct Prepared(Arc<Inner>);

struct Inner {
    kind: Kind,
    plain: Framed,
    /// Whether it may be compressed.
    deflates: bool,
    /// The compressed form, which refers only to itself.
    compressed: Option<Framed>,
}

/// A message as one frame without a mask.
pub(crate) struct Framed {
    /// Header and payload.
    frame: Bytes,
    header_len: usize,
    pub(crate) rsv1: bool,
}

/// The window that shared messages are compressed with: zlib's smallest, so that nearly every
/// negotiated window allows it. A larger one gains little within a message of a few KiB.
const WINDOW_BITS: u8 = 9;

impl Prepared {
    /// Frames a message. It is sent uncompressed even if compression was negotiated.
    #[must_use]
    pub fn new<'a>(message: impl Into<Outgoing<'a>>) -> Self {
        Self::frame(&message.into(), None)
    }

    /// Frames a message and also compresses it, for the connections that negotiated compression.
    ///
    /// It is compressed without context and with zlib's smallest window, which refers back no
    /// further than the smallest window that can be negotiated, so every such connection can send
    /// it.
    #[must_use]
    pub fn with_deflate<'a>(
        message: impl Into<Outgoing<'a>>,
        config: &DeflateConfig,
        pool: &DeflatePool,
    ) -> Self {
        Self::frame(&message.into(), Some((config, pool)))
    }

    fn frame(message: &Outgoing<'_>, deflate: Option<(&DeflateConfig, &DeflatePool)>) -> Self {
        let opcode = message.kind.opcode();
        let payload = message.as_bytes();
        let plain = Framed::new(opcode, false, payload);
        let compressed = deflate.and_then(|(config, pool)| {
            let mut bytes = Vec::new();
            compress_once(payload, WINDOW_BITS, config, pool, &mut bytes)
                .then(|| Framed::new(opcode, true, &bytes))
        });
        Self(Arc::new(Inner {
            kind: message.kind,
            plain,
            deflates: deflate.is_some(),
            compressed,
        }))
    }

    /// The type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The payload, uncompressed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.plain.payload_bytes()
    }

    pub(crate) fn plain(&self) -> &Framed {
        &self.0.plain
    }

    /// The compressed frame.
    pub(crate) fn compressed(&self) -> Option<&Framed> {
        self.0.compressed.as_ref()
    }

    pub(crate) fn deflates(&self) -> bool {
        self.0.deflates
    }

    /// The payload, uncompressed and shared.
    pub(crate) fn shared_bytes(&self) -> Bytes {
        self.0.plain.payload()
    }
}

impl Framed {
    fn new(opcode: OpCode, rsv1: bool, payload: &[u8]) -> Self {
        let header = FrameHeader {
            fin: true,
            rsv1,
            rsv23: false,
            opcode,
            mask: None,
            payload_len: payload.len() as u64,
        }
        .encode();
        let header = header.as_slice();
        Self {
            frame: [header, payload].concat().into(),
            header_len: header.len(),
            rsv1,
        }
    }

    pub(crate) const fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The payload, shared.
    pub(crate) fn payload(&self) -> Bytes {
        self.frame.slice(self.header_len.min(self.frame.len())..)
    }

    pub(crate) fn payload_bytes(&self) -> &[u8] {
        self.frame.get(self.header_len..).unwrap_or_default()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("kind", &self.0.kind)
            .field("len", &self.as_bytes().len())
            .field("compressed", &self.0.compressed.is_some())
            .finish()
    }
}
