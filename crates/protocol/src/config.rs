//! Every limit and timeout of a connection, each with its default and the reason for it.

use std::time::Duration;

/// The configuration of a connection. Any number of connections can share one value.
///
/// ```
/// use offhook_protocol::{Config, Limits};
///
/// let config = Config {
///     limits: Limits { message_size: 64 * 1024, ..Limits::default() },
///     ..Config::default()
/// };
/// assert!(config.keepalive.interval.is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What a peer may make this endpoint store or compute.
    pub limits: Limits,
    /// How a dead peer is detected.
    pub keepalive: Keepalive,
    /// Close with 1001 when no message was sent or received for this long. Off by default: many
    /// healthy connections are idle, and keepalive detects dead ones.
    pub idle_timeout: Option<Duration>,
    /// How long to wait for the peer to answer our Close, and for a server to close the transport,
    /// counted from when our Close was written. While the Close is queued behind other output,
    /// every 4 KiB written restarts the timeout (checked when it expires): a slow connection gets
    /// more time, a peer that takes a byte now and then does not. 10 s: enough for three
    /// retransmissions on a bad mobile network.
    pub close_timeout: Duration,
    /// Longer outgoing messages are split into frames of this many bytes, so that pings, pongs and
    /// Close frames can be sent in between. 64 KiB: about 50 ms of a 10 Mbit/s link.
    pub fragment_size: usize,
    /// A message of at most this many bytes is sent as a single frame if nothing else is queued
    /// when it starts; for a client the maximum is 256 KiB. Fragments cost the peer time. 1 MiB:
    /// the longest message that a peer with our default limits accepts, and a delay of about 0.8 s
    /// for a pong or a Close on a 10 Mbit/s link. 0 splits every message that is longer than a
    /// fragment.
    pub lone_frame_size: usize,
}

/// What a peer may make this endpoint store or compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message received as a whole, in bytes after decompression. 1 MiB: most messages
    /// are well below it, and 1,000 hostile peers together cost at most 1 GiB. Messages received in
    /// [chunks](crate::ReceiveMode) may be longer: they are never held in memory.
    pub message_size: u64,
    /// The maximum number of frames in one message. 131,072: twice what a peer needs to send 1 MiB
    /// in 16-byte pieces, and a bound on the work that empty fragments can cause. For a message
    /// received in chunks, the maximum number of consecutive frames without data.
    pub fragments: u32,
}

/// How a dead peer is detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Send a ping when nothing was received from the peer for this long. 30 s: below the idle
    /// timeouts of common proxies and NATs (60 s and up), and 2 frames a minute cost nothing.
    pub interval: Option<Duration>,
    /// Give up on the peer when nothing was received for this long after a ping was written. While
    /// the ping is queued behind other output, every byte written restarts the timeout (checked
    /// when it expires). 20 s: a phone that changes cells recovers within that time; a dead socket
    /// does not.
    pub pong_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            keepalive: Keepalive::default(),
            idle_timeout: None,
            close_timeout: Duration::from_secs(10),
            fragment_size: 64 * 1024,
            lone_frame_size: 1024 * 1024,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 1024 * 1024,
            fragments: 131_072,
        }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(30)),
            pong_timeout: Duration::from_secs(20),
        }
    }
}
