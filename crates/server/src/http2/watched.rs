//! The socket below a connection of HTTP/2: counts the frames that are read from it, and closes it so
//! that the client receives everything that was written.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::flood::{Flood, Meter};
use crate::door::Rewound;

/// How long to wait for the client to close after the last byte was written. 1 s: a few round trips on a
/// slow link.
const LINGER: Duration = Duration::from_secs(1);

/// The maximum number of bytes that one read discards. 8 KiB, since the buffer is on the stack.
const DISCARDED: usize = 8 * 1024;

/// How many bytes are read before other tasks run. 16 KiB: at most 1,600 DATA frames, which take about a
/// millisecond.
const TURN: usize = 16 * 1024;

/// A client's connection whose frames are counted.
pub(super) struct Watched {
    stream: Rewound,
    meter: Meter,
    /// Set once there are too many. Nothing is read any more: the connection's task, which polls,
    /// ends it.
    flood: Rc<Cell<Option<Flood>>>,
    is_flooded: bool,
    /// How many bytes were read in this turn.
    in_turn: usize,
    /// Runs once everything is written.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    pub(super) const fn new(stream: Rewound, meter: Meter, flood: Rc<Cell<Option<Flood>>>) -> Self {
        Self {
            stream,
            meter,
            flood,
            is_flooded: false,
            in_turn: 0,
            lingering: None,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_flooded {
            return Poll::Pending;
        }
        if this.in_turn >= TURN {
            this.in_turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if polled.is_pending() {
            this.in_turn = 0;
        }
        ready!(polled)?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        this.in_turn += read.len();
        if let Err(flood) = this.meter.count(read, Instant::now()) {
            this.is_flooded = true;
            this.flood.set(Some(flood));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    /// One write for the headers and the payloads of several frames.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closing a socket with unread data sends a reset, which can discard what the client has not read
    /// yet, such as the reason of a GOAWAY. Therefore the rest is read first.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let lingering = match &mut this.lingering {
            Some(lingering) => lingering,
            None => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                this.lingering.insert(Box::pin(sleep(LINGER)))
            }
        };
        while lingering.as_mut().poll(cx).is_pending() {
            let mut space = [0; DISCARDED];
            let mut rest = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut rest));
            if read.is_err() || rest.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
