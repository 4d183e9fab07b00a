//! Settings of HTTP/3 and WebTransport.

use std::time::Duration;

use super::group::group;
use super::kind::{Bytes, Switch, count, some, time};

group! {
    /// HTTP/3 (RFC 9114) over QUIC, with WebTransport sessions and WebSockets (RFC 9220): at the UDP ports
    /// with the same numbers as those of `listen`. It needs a certificate.
    pub struct Http3 {
        /// Speak HTTP/3, and announce it to clients of HTTP/1.1 and HTTP/2 (`Alt-Svc`).
        ///
        /// Off, because it opens a UDP port, which firewalls and load balancers have to let through as well.
        enabled: bool = false => Switch;

        /// Requests, WebSockets and sessions that may be open at once on one connection. Each counts as a
        /// connection in `connections.max` and `connections.max_per_address`, in addition to the connection
        /// itself. A session's control stream needs one more.
        ///
        /// As over HTTP/2: RFC 9114 §6.1 recommends no fewer than 100.
        streams: u32 = 100 => some();

        /// WebTransport sessions that may be open at once on one connection.
        ///
        /// A browser opens one for each page; further ones get a connection of their own.
        sessions: u32 = 16 => some();

        /// Subscriptions of one session that may have a stream of their own. Those above it use the
        /// session's control stream.
        ///
        /// A page has a few channels with large messages; each stream costs about 1 KiB.
        session_streams: usize = 64 => count();

        /// Bytes of one stream that a client may send before the server has read them. The window of the
        /// whole connection is this 16 times. This is not part of `memory.bytes`.
        ///
        /// As over HTTP/2.
        window: u32 = 65_535 => Bytes::new();

        /// Bytes of one connection that may be sent and not acknowledged, or wait for the congestion
        /// controller. They are in addition to `messages.outbox_bytes`, and not part of `memory.bytes`.
        ///
        /// 256 KiB is 5 MB/s at a round trip of 50 ms. The kernel buffers more for a TCP connection.
        send_window: u32 = 256 * 1024 => Bytes::new();

        /// Bytes of datagrams that may wait on one connection, in each direction. If more arrive, the oldest
        /// are dropped.
        ///
        /// About fifty datagrams; older ones are outdated.
        datagram_bytes: usize = 64 * 1024 => Bytes::new();

        /// The size of a request's header fields, with 32 bytes added for each field.
        ///
        /// As over HTTP/2.
        header_bytes: u32 = 18 * 1024 => Bytes::new();

        /// How long a connection may be open without a request or a session.
        ///
        /// As over HTTP/2: a page that returns within a minute finds its connection still open.
        idle_timeout: Duration = Duration::from_secs(60) => time();

        /// Requests that a client may cancel in 30 s. A client that cancels more is disconnected
        /// (`H3_EXCESSIVE_LOAD`).
        ///
        /// As over HTTP/2: ten times all streams of a connection.
        resets: u32 = 1_000 => some();

        /// Handshakes that may be under way at once in the whole process. Packets of further ones are
        /// dropped; their clients repeat them.
        ///
        /// As many as one core completes in a second.
        handshakes: usize = 1_000 => count();

        /// While at least this many handshakes are under way, clients have to prove that they receive
        /// packets at their address, which takes one more round trip (Retry, RFC 9000 §8.1.2); 0: always.
        ///
        /// More than ordinary clients cause, and few enough that forged addresses cost nothing.
        validate_from: usize = 100 => count();
    }
}
