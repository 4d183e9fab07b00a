//! Configuration of permessage-deflate: what to offer, what to accept, how much memory to spend.

use std::ops::RangeInclusive;

/// The window sizes our own compressor supports. RFC 7692 also defines 8 bits, which a peer may
/// request; see [`DeflateConfig::server_max_window_bits`].
const OWN_WINDOW_BITS: RangeInclusive<u8> = 9..=15;

/// Where a connection's compression contexts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateMemory {
    /// A codec of its own for each direction of each connection: 48 KiB to decompress, 140 to 380
    /// KiB to compress. The best ratio and the least CPU time, for a few busy connections.
    Dedicated,
    /// Codecs are borrowed for one message at a time; in between, a connection keeps only the last
    /// bytes of each direction, at most 2^`window_bits` each. Small JSON messages are 8 to 15 %
    /// longer than with [`Dedicated`](Self::Dedicated), for a hundredth of the memory.
    Pooled {
        /// The size of the window kept and negotiated, 9 to 15.
        window_bits: u8,
    },
    /// Codecs are borrowed and our compressor keeps nothing between messages. Small messages hardly
    /// shrink without context: this is for many connections with large messages.
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
    /// Where compression contexts are kept. Default: pooled with windows of 2 KiB, which costs less
    /// than 4 KiB for both directions together. On small JSON messages, twice the window saves
    /// another 3 to 8 % of the bytes and costs a quarter more time. Messages larger than the window
    /// compress equally well with any.
    ///
    /// This also determines the negotiated windows: 2^`window_bits` in both directions when pooled,
    /// 12 bits when shared, 15 when dedicated, unless
    /// [`server_max_window_bits`](Self::server_max_window_bits) and
    /// [`client_max_window_bits`](Self::client_max_window_bits) say otherwise.
    #[must_use]
    pub fn memory(mut self, memory: DeflateMemory) -> Self {
        self.memory = memory;
        self
    }

    /// Whether the server starts every message with an empty window: a client's offer requests it,
    /// a server's answer declares it. Default: no, because the context is what makes small messages
    /// shrink.
    #[must_use]
    pub fn server_no_context_takeover(mut self, yes: bool) -> Self {
        self.server_no_context_takeover = yes;
        self
    }

    /// Whether the client starts every message with an empty window: a client's offer declares it,
    /// a server's answer requests it. Default: no.
    #[must_use]
    pub fn client_no_context_takeover(mut self, yes: bool) -> Self {
        self.client_no_context_takeover = yes;
        self
    }

    /// The largest window the server may compress with, 9 to 15 bits; other values are clamped.
    /// Default: the window of the memory mode.
    ///
    /// A client that offers `server_max_window_bits=8` gets it: our compressor then uses a window
    /// of 9 bits, which refers back at most 250 bytes (2^9 minus its look-ahead of 262), within the
    /// agreed 256.
    #[must_use]
    pub fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server_max_window_bits = Some(own_bits(bits));
        self
    }

    /// The largest window the client may compress with, 9 to 15 bits; other values are clamped.
    /// Default: the window of the memory mode.
    #[must_use]
    pub fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.client_max_window_bits = Some(own_bits(bits));
        self
    }

    /// Whether to insist that the peer's window costs no more memory than configured. Default: no,
    /// because some peers would then get less compression, or none.
    ///
    /// Some peers cannot limit their window. Firefox, for example, does not offer to; decoding its
    /// messages with 32 KiB of context requires keeping 32 KiB. With this set, a server tells such
    /// a client to start every message with an empty window, and a client makes no fallback offer
    /// for servers that cannot limit theirs.
    #[must_use]
    pub fn bounded_peer_window(mut self, yes: bool) -> Self {
        self.bounded_peer_window = yes;
        self
    }

    /// The compression level, 1 (fast) to 9 (small). Default: 6, as in zlib.
    #[must_use]
    pub fn level(mut self, level: u8) -> Self {
        self.level = level.clamp(1, 9);
        self
    }

    /// The memory level of the compressor's tables, 1 to 9. Default: 8, as in zlib.
    #[must_use]
    pub fn mem_level(mut self, mem_level: u8) -> Self {
        self.mem_level = mem_level.clamp(1, 9);
        self
    }

    /// Shorter messages are sent uncompressed. Default: 64 bytes, below which compression saves
    /// less than a packet's own headers take.
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// The maximum expansion of a received message, as a factor of its compressed size, enforced
    /// once it exceeds `floor` bytes decompressed; `None` leaves only the message size limit.
    /// Default: 256 beyond 1 MiB.
    ///
    /// DEFLATE can expand 1032 times. Text seldom exceeds 20, so more than 256 over a whole
    /// mebibyte is a decompression bomb or a file of zeros.
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
