//! permessage-deflate (RFC 7692) as far as the load generator needs it: messages are compressed
//! before the clock starts, and answers are inflated to be verified.

use anyhow::{Context as _, Result, bail, ensure};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// RFC 7692 §7.2.1: an empty stored block ends a message and is left out on the wire.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The offer, which is the same as browsers make.
pub const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// What the server's answer to [`OFFER`] permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The size, in bits, of the window that our frames may refer back to.
    pub client_window_bits: u8,
    /// Whether our frames may refer to earlier messages.
    pub client_keeps_context: bool,
    /// Whether the answers may refer to earlier answers.
    pub server_keeps_context: bool,
}

impl Agreement {
    /// Parses the value of the response's `Sec-WebSocket-Extensions`.
    pub fn parse(header: &str) -> Result<Self> {
        let mut agreed = Self {
            client_window_bits: 15,
            client_keeps_context: true,
            server_keeps_context: true,
        };
        let mut parts = header.split(';').map(str::trim);
        ensure!(
            parts.next() == Some("permessage-deflate"),
            "unknown extension: {header}"
        );
        for part in parts {
            match part.split_once('=').unwrap_or((part, "")) {
                ("client_no_context_takeover", _) => agreed.client_keeps_context = false,
                ("server_no_context_takeover", _) => agreed.server_keeps_context = false,
                ("client_max_window_bits", bits) => agreed.client_window_bits = bits.parse()?,
                ("server_max_window_bits", _) => {}
                _ => bail!("unknown extension parameter: {header}"),
            }
        }
        Ok(agreed)
    }
}

/// Compresses one message after another.
pub struct Compressor {
    raw: Compress,
    keeps_context: bool,
}

impl Compressor {
    /// A compressor within the agreed parameters.
    #[must_use]
    pub fn new(agreed: Agreement) -> Self {
        // zlib does not support a window of 8 bits. Its output with 9 bits refers back at most 250
        // bytes, because it always keeps 262 bytes of lookahead, so that an 8-bit decoder can read
        // it too.
        let bits = agreed.client_window_bits.clamp(9, 15);
        Self {
            raw: Compress::new_with_window_bits(Compression::new(6), false, bits),
            keeps_context: agreed.client_keeps_context,
        }
    }

    /// The payload of a compressed frame that carries `message`.
    pub fn compress(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        if !self.keeps_context {
            self.raw.reset();
        }
        let mut out = Vec::with_capacity(message.len() + 64);
        let before = self.raw.total_in();
        loop {
            let taken = (self.raw.total_in() - before) as usize;
            self.raw
                .compress_vec(&message[taken..], &mut out, FlushCompress::Sync)?;
            // Unused output space is how zlib signals that the flush is complete.
            if out.len() < out.capacity() {
                break;
            }
            out.reserve(message.len() + 64);
        }
        let body = out
            .strip_suffix(&TAIL)
            .context("a flush that does not end in its marker")?;
        Ok(body.to_vec())
    }
}

/// Inflates one connection's answers.
pub struct Inflater {
    raw: Decompress,
    keeps_context: bool,
    compressed: Vec<u8>,
}

impl Inflater {
    /// An inflater for the agreed parameters.
    #[must_use]
    pub fn new(agreed: Agreement) -> Self {
        Self {
            raw: Decompress::new(false),
            keeps_context: agreed.server_keeps_context,
            compressed: Vec::new(),
        }
    }

    /// Stores a piece of a compressed message.
    pub fn push(&mut self, piece: &[u8]) {
        self.compressed.extend_from_slice(piece);
    }

    /// Inflates the stored pieces into `out`, which has room for `expected` bytes and a few more.
    pub fn finish(&mut self, expected: usize, out: &mut Vec<u8>) -> Result<()> {
        self.compressed.extend_from_slice(&TAIL);
        out.clear();
        out.reserve(expected + 64);
        let status = self
            .raw
            .decompress_vec(&self.compressed, out, FlushDecompress::Sync)?;
        self.compressed.clear();
        // RFC 7692 §7.2.3.5: a block may be marked as the last one; then the stream starts anew.
        if !self.keeps_context || status == Status::StreamEnd {
            self.raw.reset(false);
        }
        Ok(())
    }
}
