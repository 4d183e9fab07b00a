//! Every limit and every time of a connection, each with its default and the reason for it.

use std::time::Duration;

/// How a connection behaves; one value is shared by any number of connections.
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
    /// What the peer may make this endpoint hold or do.
    pub limits: Limits,
    /// How a dead peer is noticed.
    pub keepalive: Keepalive,
    /// Close with 1001 when no message went either way for this long. Off by default: many good
    /// connections are quiet, and a dead one is noticed by the keepalive.
    pub idle_timeout: Option<Duration>,
    /// How long the peer may take to answer a Close, and a server to close the transport, from
    /// when our Close has left. While it waits behind other output, each 4 KiB that leave begin
    /// the time anew, noticed when it is over: a slow connection is waited for, a peer that takes a
    /// byte now and then is not. 10 s: three retransmissions on a bad mobile network, and no more.
    pub close_timeout: Duration,
    /// A longer outgoing message is cut into frames of this many bytes, so that pings, pongs and
    /// Close frames get in between. 64 KiB: about 50 ms of a 10 Mbit/s link.
    pub fragment_size: usize,
    /// A message of at most this many bytes is not cut if nothing else is to be sent when it
    /// begins; of a client's 256 KiB at most. Fragments cost the peer time. 1 MiB: the longest
    /// message that a peer with our default limits takes, and about 0.8 s of a 10 Mbit/s link for
    /// a pong or a Close to wait. 0 cuts every message that is longer than a fragment.
    pub lone_frame_size: usize,
}

/// What a peer may make this endpoint hold or do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message received as a whole, in bytes after decompression. 1 MiB: what a
    /// message usually stays well under, and what 1,000 hostile peers may cost together (1 GiB)
    /// without ending the process. Messages received as [chunks](crate::ReceiveMode) may be
    /// longer: they are never held.
    pub message_size: u64,
    /// The most frames one message may come in. 131,072: twice what a peer needs to send 1 MiB
    /// in 16-byte pieces, and a bound on the work that empty fragments can ask for. Of a message
    /// received as chunks, the most frames in a row that bring nothing.
    pub fragments: u32,
}

/// How a dead peer is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Ping when nothing was heard from the peer for this long. 30 s: below the idle timeouts of
    /// the usual proxies and NATs (60 s and up), and 2 frames a minute cost nothing.
    pub interval: Option<Duration>,
    /// Give the peer up when nothing at all was heard for this long after a ping has left. While
    /// it waits behind other output, every byte that leaves begins the time anew, noticed when it
    /// is over. 20 s: a phone that changes cells comes back within; a socket that died does not.
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
