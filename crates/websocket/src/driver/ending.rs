//! The end of a connection: lost, closed, cut off or dropped.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use offhook_protocol::{CloseCode, ClosedBy};
use tokio::io::ReadBuf;

use super::flush::SLICES;
use super::{Driver, Fault, Kept, Locked, Output, Receiver, State, Turn, Turns, now};
use crate::Transport;
use crate::error::Error;

/// After a failure, at most this many bytes are read and discarded for at most this long, so that
/// the peer receives our Close frame and not a reset. 16 MiB: a peer whose message was too big is
/// often still writing it, and some never read again once a write has failed.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);

impl Driver {
    /// Ends the connection at once and wakes every task that waits on it.
    pub(crate) fn cut(&self) {
        let mut state = self.lock();
        state.lose(Some(io::ErrorKind::ConnectionAborted.into()));
        state.wake_reader();
        state.wake_waiters();
    }

    /// Keeps the connection open when its [`WebSocket`](crate::WebSocket) is dropped, until
    /// [`finish`](Self::finish).
    pub(crate) fn keep(&self) {
        self.lock().kept = Kept::Yes;
    }

    /// Called when the [`WebSocket`](crate::WebSocket) is dropped.
    pub(crate) fn abandon(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.kept == Kept::Yes {
            state.kept = Kept::Abandoned;
            state.receiver = Receiver::Away;
            self.call();
        } else {
            state.let_go(CloseCode::GOING_AWAY);
        }
    }

    /// Called when a handler has returned. If its [`WebSocket`](crate::WebSocket) was dropped,
    /// queued output is sent and the closing handshake is completed, within the close timeout.
    /// Otherwise the connection stays open and ends with the `WebSocket`. Returns whether it has
    /// ended.
    pub(crate) async fn finish(self: &Arc<Self>, code: CloseCode) -> bool {
        if !self.is_abandoned() {
            return false;
        }
        // The connection may already be closing: the first close stands.
        let _closing = self.begin_close(code, "");
        // How it ended no longer matters.
        let _ended = Turns::new(self, |cx| self.poll_turn(cx, Turn::CHUNKS, |_| None::<()>)).await;
        true
    }

    /// Called if nothing will [finish](Self::finish) the connection: if its
    /// [`WebSocket`](crate::WebSocket) was dropped, closes it without waiting.
    pub(crate) fn give_up(&self, code: CloseCode) {
        if self.is_abandoned() {
            self.lock().let_go(code);
        }
    }

    /// Whether its [`WebSocket`](crate::WebSocket) was dropped; if not, the connection ends with
    /// it.
    fn is_abandoned(&self) -> bool {
        let mut state = self.lock();
        if state.kept == Kept::Yes {
            state.kept = Kept::No;
        }
        state.kept == Kept::Abandoned
    }

    /// Waits until the connection has ended.
    pub(crate) async fn ended(self: &Arc<Self>) {
        std::future::poll_fn(|cx| self.poll_ended(cx).map(drop)).await;
    }
}

impl Locked<'_> {
    /// Closes without waiting: the user has dropped the connection.
    pub(super) fn let_go(&mut self, code: CloseCode) {
        if self.transport.is_none() {
            return;
        }
        // The connection may already be closing: the first close stands.
        let _closing = self.outbound.close(code, "", now());
        let State {
            outbound,
            transport,
            ..
        } = &mut *self.state;
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = outbound.transmit(&mut slices);
        let slices = slices.get(..filled).unwrap_or_default();
        if let Some(transport) = transport
            && !slices.is_empty()
        {
            let mut cx = Context::from_waker(Waker::noop());
            // There is no caller left to report a failure to.
            let written = transport.poll_write(&mut cx, slices);
            if let (Poll::Ready(Ok(count)), Some(observer)) = (written, self.told.observer) {
                observer.wrote(count);
            }
            let _flushed = transport.poll_flush(&mut cx);
        }
        self.disconnect();
        self.wake_reader();
        self.wake_waiters();
    }

    /// Records that nothing can be written any more. What the peer sent before can still be read,
    /// so that its Close is not lost because our last write failed.
    pub(super) fn break_down(&mut self, error: io::Error) {
        self.output = Output::Broken(Box::new(error));
        // There is no room for any more output.
        self.high_water = 0;
        self.wake_reader();
        self.wake_waiters();
    }

    /// Records that the transport has ended.
    pub(super) fn lose(&mut self, error: Option<io::Error>) {
        if let Some(transport) = self.state.transport.take() {
            self.later.shut(Shut::now(transport));
            self.note_end();
        }
        let closed = self.outbound.closed();
        if closed.is_some_and(|closed| closed.by == ClosedBy::Lost) {
            let broken = std::mem::replace(&mut self.output, Output::Open);
            let error = match broken {
                Output::Broken(error) => Some(*error),
                Output::Open | Output::Unflushed => error,
            };
            let error = error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            self.fault
                .get_or_insert_with(|| Box::new(Fault::Lost(error)));
        }
    }

    /// Closes the transport: the closing handshake is complete.
    pub(super) fn disconnect(&mut self) {
        let Some(mut transport) = self.state.transport.take() else {
            return;
        };
        self.note_end();
        let failed = self
            .outbound
            .closed()
            .is_some_and(|closed| closed.error.is_some());
        let shut = transport.poll_shutdown(&mut Context::from_waker(Waker::noop()));
        self.later.shut(if failed || shut.is_pending() {
            Shut::lingering(transport)
        } else {
            Shut::now(transport)
        });
    }
}

/// A transport that was closed. It is dropped after the lock is released, because dropping a user's
/// stream runs user code.
pub(super) struct Shut {
    transport: Option<Transport>,
    lingers: bool,
}

impl Shut {
    const fn now(transport: Transport) -> Self {
        Self {
            transport: Some(transport),
            lingers: false,
        }
    }

    const fn lingering(transport: Transport) -> Self {
        Self {
            transport: Some(transport),
            lingers: true,
        }
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        // Lingering needs a runtime; a connection may be dropped outside one.
        if self.lingers
            && let Some(transport) = self.transport.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(linger(transport));
        }
    }
}

impl Locked<'_> {
    /// The transport has ended: informs both halves, which free what they hold, and the observer.
    fn note_end(&mut self) {
        let state = &mut *self.state;
        state.note_unsent();
        state.outbound.handle_transport_closed(now());
        if let Some(inbound) = &mut state.inbound {
            inbound.end();
        }
        self.told.closed(|| state.outbound.closed());
    }
}

impl State {
    /// How the connection ended, as reported to the receiver: an error once, then the end.
    pub(super) fn outcome<R>(&mut self) -> Result<Option<R>, Error> {
        match self.fault.take().map(|fault| *fault) {
            None => Ok(None),
            Some(Fault::Peer(error)) => Err(Error::Peer(error)),
            Some(Fault::Lost(error)) => Err(Error::Lost(error)),
        }
    }
}

async fn linger(mut transport: Transport) {
    let drain = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        if std::future::poll_fn(|cx| transport.poll_shutdown(cx))
            .await
            .is_err()
        {
            return;
        }
        while left > 0 {
            let mut read = ReadBuf::new(&mut buffer);
            let result = std::future::poll_fn(|cx| transport.poll_read(cx, &mut read)).await;
            let len = read.filled().len();
            if result.is_err() || len == 0 {
                return;
            }
            left = left.saturating_sub(len);
        }
    };
    // The peer has ended the stream, or its time is up.
    let _ended = tokio::time::timeout(LINGER, drain).await;
}
