//! What a connection of HTTP/2 may cost.

/// What one connection of HTTP/2 may cost, whoever is at its other end.
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
    /// How many WebSockets the other end may have open at once. 100: RFC 9113 §6.5.2 recommends
    /// no fewer, and browsers open a handful.
    pub streams: u32,
    /// How many bytes of one WebSocket may be on their way to us, or wait to be read. 65,535, as
    /// RFC 9113 §6.9.2 has it: a stream that nobody reads holds this much. It is what a stream
    /// carries in one round trip; over long fat networks more is faster.
    pub window: u32,
}

/// What is queued of one stream inside of h2, beside what the WebSocket itself queues. As much as
/// one turn of the connection's task writes.
const SEND_BUFFER: usize = 64 * 1024;

/// What h2 may spend on keeping small DATA frames apart that nobody has read yet: 16 MiB, some
/// 64,000 messages of a few bytes. Less would let two slow readers end the connection of all.
const SMALL_FRAMES: usize = 16 << 20;

/// RFC 9113 §6.9.1: no window is larger.
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

    /// Room for every stream at once: a WebSocket that nobody reads must not stop the others.
    fn connection_window(self) -> u32 {
        let streams = self.streams.max(1);
        self.stream_window()
            .saturating_mul(streams)
            .min(LARGEST_WINDOW)
    }

    /// A server's end. `head` is how large a request's fields may be.
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

    /// A client's end.
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

/// RFC 9113 §6.5.2: the size of a field list counts 32 bytes more for each field.
pub(crate) fn field_list(bytes: usize, fields: usize) -> u32 {
    u32::try_from(bytes.saturating_add(fields.saturating_mul(32))).unwrap_or(u32::MAX)
}
