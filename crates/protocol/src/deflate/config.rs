//! What to offer, what to accept and what to spend on permessage-deflate.

use std::ops::RangeInclusive;

/// The windows our own compressor knows. RFC 7692 also knows 8 bits: a peer
/// may ask us for them, see [`DeflateConfig::server_max_window_bits`].
const OWN_WINDOW_BITS: RangeInclusive<u8> = 9..=15;

/// Where a connection's compression contexts live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateMemory {
    /// A whole codec for each direction of each connection: 48 KiB to
    /// decompress, 140 to 380 KiB to compress. The best ratio and the least
    /// time for a few busy connections.
    Dedicated,
    /// Codecs are lent for the length of one message; in between a connection
    /// keeps only the last bytes that went through, at most 2^`window_bits`
    /// each way. Small JSON messages come out 8 to 15 % longer than from
    /// [`Dedicated`](Self::Dedicated), for a hundredth of the memory.
    Pooled {
        /// Size of the window kept and negotiated, 9 to 15.
        window_bits: u8,
    },
    /// Codecs are lent and our own compressor keeps nothing from message to
    /// message. Small messages hardly shrink without context: this is for many
    /// connections with large messages.
    Shared,
}

/// How permessage-deflate is negotiated and run, for either role.
///
/// ```
/// use offhook_protocol::deflate::{DeflateConfig, DeflateMemory};
///
/// let frugal = DeflateConfig::default()
///     .memory(DeflateMemory::Pooled { window_bits: 10 })
///     .bounded_peer_window(true)
///     .threshold(256);
/// assert_eq!(
///     frugal.offer(),
///     "permessage-deflate; server_max_window_bits=10; client_max_window_bits=10"
/// );
/// ```
#[derive(Debug, Clone)]
pub struct DeflateConfig {
    pub(super) memory: DeflateMemory,
    pub(super) server_no_context_takeover: bool,
    pub(super) client_no_context_takeover: bool,
    pub(super) bounded_peer_window: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
    pub(super) level: u8,
    pub(super) mem_level: u8,
    pub(super) threshold: usize,
    pub(super) max_ratio: Option<u32>,
    pub(super) ratio_floor: u64,
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self {
            memory: DeflateMemory::Pooled { window_bits: 11 },
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            bounded_peer_window: false,
            server_max_window_bits: None,
            client_max_window_bits: None,
            level: 6,
            mem_level: 8,
            threshold: 64,
            max_ratio: Some(256),
            ratio_floor: 1 << 20,
        }
    }
}

impl DeflateConfig {
    /// Where the contexts live. Default: pooled with windows of 2 KiB, less
    /// than 4 KiB for both ways together. On small JSON messages twice as much
    /// saves another 3 to 8 % of the bytes and costs a quarter more time; what
    /// is larger than the window shrinks as well as with any other.
    ///
    /// The windows negotiated follow: 2^`window_bits` both ways when pooled,
    /// 12 bits when shared, 15 when dedicated, unless
    /// [`server_max_window_bits`](Self::server_max_window_bits) and
    /// [`client_max_window_bits`](Self::client_max_window_bits) say otherwise.
    #[must_use]
    pub fn memory(mut self, memory: DeflateMemory) -> Self {
        self.memory = memory;
        self
    }

    /// Whether the server starts every message with an empty window: it is
    /// asked to by our offer, or declares it in our answer. Default: no, for
    /// small messages the context is what makes them shrink.
    #[must_use]
    pub fn server_no_context_takeover(mut self, yes: bool) -> Self {
        self.server_no_context_takeover = yes;
        self
    }

    /// Whether the client starts every message with an empty window: declared
    /// in our offer, or asked for in our answer. Default: no.
    #[must_use]
    pub fn client_no_context_takeover(mut self, yes: bool) -> Self {
        self.client_no_context_takeover = yes;
        self
    }

    /// The largest window the server may compress with, 9 to 15 bits; values
    /// outside are taken to the nearest. Default: what the memory mode keeps.
    ///
    /// A client that offers `server_max_window_bits=8` gets it: our compressor
    /// then works with a window of 9 bits, in which it reaches back at most 250
    /// bytes (2^9 less its look-ahead of 262), within the 256 agreed upon.
    #[must_use]
    pub fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server_max_window_bits = Some(own_bits(bits));
        self
    }

    /// The largest window the client may compress with, 9 to 15 bits; values
    /// outside are taken to the nearest. Default: what the memory mode keeps.
    #[must_use]
    pub fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.client_max_window_bits = Some(own_bits(bits));
        self
    }

    /// Whether to insist that the peer's window costs us no more than we
    /// wanted. Default: no, because then some peers would get less
    /// compression, or none.
    ///
    /// A peer need not be able to limit its window: Firefox, for one, does not
    /// offer to, and what it sends with its 32 KiB of context can only be
    /// understood by keeping 32 KiB for it. With this set, a server tells such
    /// a client to start every message with an empty window instead, and a
    /// client offers no fallback to servers that can't limit theirs.
    #[must_use]
    pub fn bounded_peer_window(mut self, yes: bool) -> Self {
        self.bounded_peer_window = yes;
        self
    }

    /// Compression effort, 1 (fast) to 9 (small). Default: 6, zlib's own
    /// middle.
    #[must_use]
    pub fn level(mut self, level: u8) -> Self {
        self.level = level.clamp(1, 9);
        self
    }

    /// Memory for the compressor's tables, 1 to 9. Default: 8, zlib's own.
    #[must_use]
    pub fn mem_level(mut self, mem_level: u8) -> Self {
        self.mem_level = mem_level.clamp(1, 9);
        self
    }

    /// Messages shorter than this are sent as they are. Default: 64 bytes,
    /// below which compression saves less than a packet's own headers take.
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// The most a received message may expand, as a factor of its compressed
    /// size, counted once it has grown past `floor` bytes; `None` for no limit
    /// but the message size. Default: 256 past 1 MiB.
    ///
    /// DEFLATE can expand 1032 times. Text seldom passes 20, so what passes
    /// 256 over a whole mebibyte is a bomb, or a file of zeros.
    #[must_use]
    pub fn max_ratio(mut self, ratio: Option<u32>, floor: u64) -> Self {
        self.max_ratio = ratio;
        self.ratio_floor = floor;
        self
    }

    pub(super) fn server_bits(&self) -> u8 {
        self.server_max_window_bits
            .unwrap_or(self.memory.window_bits())
    }

    pub(super) fn client_bits(&self) -> u8 {
        self.client_max_window_bits
            .unwrap_or(self.memory.window_bits())
    }
}

impl DeflateMemory {
    fn window_bits(self) -> u8 {
        match self {
            Self::Dedicated => 15,
            Self::Pooled { window_bits } => own_bits(window_bits),
            Self::Shared => 12,
        }
    }
}

pub(super) fn own_bits(bits: u8) -> u8 {
    bits.clamp(*OWN_WINDOW_BITS.start(), *OWN_WINDOW_BITS.end())
}
