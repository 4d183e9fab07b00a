//! How a connection ends: lost, closed, cut or let go.

use std::io::{self, IoSlice};
use std::task::{Context, Waker};
use std::time::Duration;

use offhook_protocol::ClosedBy;
use tokio::io::ReadBuf;

use super::flush::SLICES;
use super::{Driver, Fault, State, now};
use crate::Transport;
use crate::error::Error;

/// What is read and thrown away after a failure, so that the peer gets our Close frame and not a
/// reset: at most this many bytes, for at most this long. 16 MiB: a peer whose message was too big
/// is often in the middle of writing it, and some never read again once a write has failed.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);

impl Driver {
    /// Ends the connection at once, and wakes everybody who waits on it.
    pub(crate) fn cut(&self) {
        let mut state = self.lock();
        state.lose(Some(io::ErrorKind::ConnectionAborted.into()));
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    /// Notes that nothing can be written any more. What the peer said before it went can still be
    /// read, so that its Close is not lost over our last write.
    pub(super) fn break_down(&mut self, error: io::Error) {
        self.broken = Some(Box::new(error));
        // There is no room any more, for anything.
        self.high_water = 0;
        self.take_wakers().into_iter().for_each(Waker::wake);
    }

    /// Notes that the transport has ended by itself.
    pub(super) fn lose(&mut self, error: Option<io::Error>) {
        self.transport = None;
        self.note_unsent();
        self.connection.handle_transport_closed(now());
        let closed = self.connection.closed();
        if closed.is_some_and(|closed| closed.by == ClosedBy::Lost) {
            let error = self.broken.take().map(|error| *error).or(error);
            let error = error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            self.fault
                .get_or_insert_with(|| Box::new(Fault::Lost(error)));
        }
    }

    /// Closes the transport: everything was said.
    pub(super) fn disconnect(&mut self) {
        let Some(mut transport) = self.transport.take() else {
            return;
        };
        self.note_unsent();
        self.connection.handle_transport_closed(now());
        let failed = self
            .connection
            .closed()
            .is_some_and(|closed| closed.error.is_some());
        let shut = transport.poll_shutdown(&mut Context::from_waker(Waker::noop()));
        if failed || shut.is_pending() {
            // Outside a runtime, where a connection may be dropped, nobody can linger.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(linger(transport));
            }
        }
    }

    /// Closes without waiting for anybody: the user has let go of the connection.
    pub(crate) fn let_go(&mut self) {
        if self.transport.is_none() {
            return;
        }
        let code = offhook_protocol::CloseCode::GOING_AWAY;
        // It may be closing already: then that stands.
        let _closing = self.connection.close(code, "", now());
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = self.connection.transmit(&mut slices);
        let slices = slices.get(..filled).unwrap_or_default();
        if let Some(transport) = &mut self.transport
            && !slices.is_empty()
        {
            let mut cx = Context::from_waker(Waker::noop());
            // Nobody is left to tell if it fails.
            let _written = transport.poll_write(&mut cx, slices);
            let _flushed = transport.poll_flush(&mut cx);
        }
        self.disconnect();
    }

    /// How it ended, as the receiver is told: an error once, then nothing.
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
    // Whether it ended or ran out of time: it has had its chance.
    let _ended = tokio::time::timeout(LINGER, drain).await;
}
