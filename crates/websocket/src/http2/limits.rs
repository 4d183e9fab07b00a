//! Limits on the resources of an HTTP/2 connection.

/// Limits on the resources of one HTTP/2 connection, for clients and servers.
///
/// ```
/// use offhook::{Acceptor, Http2Limits};
///
/// let limits = Http2Limits { streams: 250, ..Http2Limits::default() };
/// let acceptor = Acceptor::default().http2_limits(limits);
/// # let _ = acceptor;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// How many WebSockets the other end may have open at once. 100: RFC 9113 §6.5.2 recommends no
    /// fewer, and browsers open a handful.
    pub streams: u32,
    /// How many bytes of one WebSocket may be in flight to this end or unread. 65,535, the default
    /// of RFC 9113 §6.9.2: an unread stream holds this much. It is also what a stream can carry per
    /// round trip; fast connections with long round trips need more.
    pub window: u32,
}

/// How much of one stream is queued inside h2, in addition to the WebSocket's own queue: as much as
/// one turn of the connection's task writes.
const SEND_BUFFER: usize = 64 * 1024;

/// How much h2 may spend on unread small DATA frames: 16 MiB, about 64,000 messages of a few bytes.
/// With less, two slow readers could end the connection for all.
const SMALL_FRAMES: usize = 16 << 20;

/// RFC 9113 §6.9.1: the largest window.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            streams: 100,
            window: 65_535,
        }
    }
}

impl Http2Limits {
    fn stream_window(self) -> u32 {
        self.window.clamp(1, LARGEST_WINDOW)
    }

    /// Room for every stream at once: an unread WebSocket must not stop the others.
    fn connection_window(self) -> u32 {
        let streams = self.streams.max(1);
        self.stream_window()
            .saturating_mul(streams)
            .min(LARGEST_WINDOW)
    }

    /// The server's end. `head` is the maximum size of a request's header fields.
    pub(crate) fn server(self, head: u32) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            // RFC 8441 §3.
            .enable_connect_protocol()
            .max_concurrent_streams(self.streams)
            .initial_window_size(self.stream_window())
            .initial_connection_window_size(self.connection_window())
            .max_header_list_size(head)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_FRAMES);
        builder
    }

    /// The client's end.
    pub(crate) fn client(self, head: u32) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(self.stream_window())
            .initial_connection_window_size(self.connection_window())
            .max_header_list_size(head)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_FRAMES);
        builder
    }
}

/// RFC 9113 §6.5.2: the size of a field list counts 32 extra bytes for each field.
pub(crate) fn field_list(bytes: usize, fields: usize) -> u32 {
    u32::try_from(bytes.saturating_add(fields.saturating_mul(32))).unwrap_or(u32::MAX)
}
