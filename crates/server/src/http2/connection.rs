//! A connection of h2 with what h2 lacks: limits on idleness and floods, and an end within a limited time.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Builder, SendResponse},
};
use hyper::Request;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::{
    flood::{Flood, Meter},
    watched::Watched,
};
use crate::{
    config::{Config, Http2},
    door::Rewound,
    worker::Unread,
};

/// How much of one stream is queued inside h2, in addition to a connection's own outbox, and without
/// being counted as unsent. 16 KiB: the largest frame that every client accepts (RFC 9113 §4.2).
const SEND_BUFFER: usize = 16 * 1024;

/// The budget of h2 for small DATA frames that were received and not read yet. It charges 256 bytes for
/// each, and ends a connection that exceeds the budget. 4 MiB: about 16,000 messages of a few bytes. With 1 MiB, a
/// hundred WebSockets that send a hundred messages each at once ended their connection.
const SMALL_FRAMES: usize = 4 << 20;

/// The same for a trusted proxy, whose clients share the connection. 16 MiB: all that the window of one
/// stream has room for, so that one of them cannot end the connection of the others.
const SMALL_FRAMES_OF_PROXY: usize = 16 << 20;

/// How many streams may have a full window at once. 16, which is 1 MiB by default: only a WebSocket whose
/// outbox is full is not read, and one client hardly has that many.
const FULL_WINDOWS: u32 = 16;

/// RFC 9113 §6.9.1: the largest window.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// How long a connection without streams stays open after its client was told to close it. 2 s: several round trips on
/// a slow link.
const FAREWELL: Duration = Duration::from_secs(2);

/// A request, and the handle to answer it.
pub(super) type Stream = (Request<RecvStream>, SendResponse<Bytes>);

/// A connection. Its streams make progress only while [`next`](Self::next) is awaited.
pub(super) struct Connection {
    h2: h2::server::Connection<Watched, Bytes>,
    state: State,
    unread: Arc<Unread>,
    /// Set by what reads the socket.
    flood: Rc<Cell<Option<Flood>>>,
    timer: Pin<Box<Sleep>>,
    /// Whether a request has arrived since the timer was set.
    is_used: bool,
    idle_timeout: Duration,
}

/// ```text
///       idle, or the server stops             GOAWAY, and the streams have ended
/// Open ───────────────────────────▶ Leaving ─────────────────────────────────────▶ (dropped)
///   │                                  │
///   └────────────┬─────────────────────┘
///    a flood, or no memory                     GOAWAY was written, or time is up
///                └────────────────▶ Refused ─────────────────────────────────────▶ (dropped)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// No further requests are accepted; open streams continue until they end.
    Leaving,
    /// Nothing more is read, and the streams have ended.
    Refused,
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client has sent too many frames that cost it nothing.
    Flood(Flood),
    /// The server is short of memory, and holds much that was received here and not read.
    Cut,
    /// The connection was lost, or the client violated the protocol.
    Lost(h2::Error),
}

impl Connection {
    /// Sends the settings and receives the client's preface.
    /// `from_proxy`: a trusted proxy is at the other end.
    pub(super) async fn begin(
        config: &Config,
        stream: Rewound,
        from_proxy: bool,
        unread: Arc<Unread>,
    ) -> io::Result<Self> {
        let limits = &config.http2;
        let flood = Rc::default();
        let watched = Watched::new(stream, Meter::new(limits), Rc::clone(&flood));
        let within = config.connections.handshake_timeout;
        let begun = timeout(within, builder(limits, from_proxy).handshake(watched)).await;
        let h2 = begun?.map_err(io::Error::other)?;
        Ok(Self {
            h2,
            state: State::Open,
            unread,
            flood,
            // The first request has the same deadline as a handshake.
            timer: Box::pin(sleep(within)),
            is_used: false,
            idle_timeout: limits.idle_timeout,
        })
    }

    /// The account of what its streams hold.
    pub(super) const fn unread(&self) -> &Arc<Unread> {
        &self.unread
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Accepts no more requests, and ends when all streams have ended. RFC 9113 §6.8: the client is
    /// told which of its requests were accepted, after those that were under way have arrived.
    pub(super) fn leave(&mut self) {
        self.state = State::Leaving;
        self.h2.graceful_shutdown();
        self.set_timer(FAREWELL);
    }

    /// The next request, or `None` when the connection has ended. After a flood, only the end follows.
    pub(super) async fn next(&mut self) -> Result<Option<Stream>, End> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Stream>, End>> {
        loop {
            if let Some(flood) = self.flood.take() {
                self.refuse();
                return Poll::Ready(Err(End::Flood(flood)));
            }
            if self.state != State::Refused && self.unread.poll_cut(cx).is_ready() {
                self.refuse();
                return Poll::Ready(Err(End::Cut));
            }
            if self.poll_time(cx).is_ready() {
                return Poll::Ready(Ok(None));
            }
            if self.state == State::Refused {
                // The connection ends whether or not the client reads the reason.
                return self.h2.poll_closed(cx).map(|_| Ok(None));
            }
            return match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok(stream))) => {
                    self.is_used = true;
                    Poll::Ready(Ok(Some(stream)))
                }
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(End::Lost(error))),
                Poll::Ready(None) => Poll::Ready(Ok(None)),
                Poll::Pending if self.flood.get().is_some() => continue,
                Poll::Pending => Poll::Pending,
            };
        }
    }

    /// RFC 9113 §10.5: suspicious activity may be treated as a connection error with this code.
    fn refuse(&mut self) {
        self.state = State::Refused;
        self.h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        self.set_timer(FAREWELL);
    }

    /// Ready when the connection has no more time.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let is_idle = !self.is_used && !self.h2.has_streams();
            match (self.state, is_idle) {
                (State::Open, true) => self.leave(),
                (State::Open, false) => self.set_timer(self.idle_timeout),
                (State::Leaving, false) => self.set_timer(FAREWELL),
                (State::Leaving, true) | (State::Refused, _) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    fn set_timer(&mut self, time: Duration) {
        self.is_used = false;
        self.timer.as_mut().reset(Instant::now() + time);
    }
}

fn builder(limits: &Http2, from_proxy: bool) -> Builder {
    let window = limits.window.clamp(1, LARGEST_WINDOW);
    // Received data that was not read counts towards the memory budget, but is measured only now and
    // then, so a client may make the server hold little of it. The clients of a proxy must not stop each other.
    let (full, small_frames) = match from_proxy {
        true => (limits.streams, SMALL_FRAMES_OF_PROXY),
        false => (limits.streams.min(FULL_WINDOWS), SMALL_FRAMES),
    };
    let all = window.saturating_mul(full).min(LARGEST_WINDOW);
    let mut builder = Builder::new();
    builder
        // RFC 8441 §3.
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams)
        .initial_window_size(window)
        .initial_connection_window_size(all)
        .max_header_list_size(limits.header_bytes)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(small_frames);
    builder
}
