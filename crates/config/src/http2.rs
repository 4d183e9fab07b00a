//! Settings of HTTP/2.

use std::time::Duration;

use super::group::group;
use super::kind::{Bytes, Switch, some, time};

group! {
    /// HTTP/2 (RFC 9113), with WebSockets over it (RFC 8441): chosen by ALPN on a TLS listener, and by a
    /// client that begins with HTTP/2 on a plain one (h2c with prior knowledge). The listener for
    /// operators speaks HTTP/1.1 only.
    pub struct Http2 {
        /// Speak HTTP/2 with clients that offer it. HTTP/1.1 is spoken in any case.
        ///
        /// A browser then needs one connection for its pages, requests, streams of events and WebSockets;
        /// over HTTP/1.1, it opens at most six to one host, and each stream uses one of them.
        enabled: bool = true => Switch;

        /// Requests and WebSockets that may be open at once on one connection
        /// (`SETTINGS_MAX_CONCURRENT_STREAMS`). Each counts as a connection in `connections.max` and
        /// `connections.max_per_address`, in addition to the connection itself.
        ///
        /// RFC 9113 §6.5.2 recommends no fewer than 100; a browser opens a handful.
        streams: u32 = 100 => some();

        /// Bytes of one stream that a client may send before the server has read them
        /// (`SETTINGS_INITIAL_WINDOW_SIZE`). The window of the whole connection is this 16 times (1 MiB by
        /// default; `streams` times if that is less, or if a trusted proxy is at the other end). While
        /// that many streams have sent all they may and are not read, the others of the connection wait.
        /// This is not part of `memory.bytes`.
        ///
        /// The default of RFC 9113 §6.9.2. It is what a client can upload per round trip, and what an
        /// unread stream costs, as much as the kernel buffers for a connection of its own.
        window: u32 = 65_535 => Bytes::new();

        /// The size of a request's header fields, with 32 bytes added for each field
        /// (`SETTINGS_MAX_HEADER_LIST_SIZE`). A longer head is answered with 431, a much longer one, or
        /// one in too many CONTINUATION frames, ends the connection.
        ///
        /// As over HTTP/1.1: 16 KiB in 64 fields, which is room for cookies and a token.
        header_bytes: u32 = 18 * 1024 => Bytes::new();

        /// How long a connection may be open without a request. It is then ended by GOAWAY.
        ///
        /// A page that returns within a minute finds its connection still open.
        idle_timeout: Duration = Duration::from_secs(60) => time();

        /// Streams that a client may reset (`RST_STREAM`) in 30 s. A client that resets more is
        /// disconnected (`ENHANCE_YOUR_CALM`): opening and resetting streams costs it nothing.
        ///
        /// A page that is closed resets each of its streams once: ten times all streams of a connection.
        resets: u32 = 1_000 => some();

        /// Frames that transport nothing (SETTINGS, PING, PRIORITY, unknown ones, and empty DATA) that a
        /// client may send in 30 s. Of `WINDOW_UPDATE` frames of less than 1 KiB, it may send 32 times as
        /// many. A client that sends more is disconnected (`ENHANCE_YOUR_CALM`). Of empty DATA without
        /// `END_STREAM`, a connection may carry 100 as long as it is open, whatever this is.
        ///
        /// 33 a second: one with each request, and more pings than any keepalive needs.
        control_frames: u32 = 1_000 => some();
    }
}
