//! Sending the same message to many connections without waiting for any of them: queueing
//! regardless of unsent output, waiting for room, and tracking how far a peer has read.

use std::sync::Arc;
use std::task::{Context, Poll};

use offhook_protocol::SendError;
use offhook_protocol::halves::{self, Outbound};

use super::{Driver, Receiver, buffers};
use crate::error::Error;

impl Driver {
    /// Queues without waiting, and returns the number of bytes then unsent.
    #[inline]
    pub(crate) fn put(
        self: &Arc<Self>,
        queue: impl FnOnce(&mut Outbound) -> Result<(), SendError>,
    ) -> Result<usize, Error> {
        let mut state = self.lock();
        if state.is_broken() {
            return Err(state.closed_error());
        }
        self.queue(&mut state, queue)?;
        Ok(state.outbound.buffered_amount())
    }

    /// As [`put`](Self::put), and writes at once what the transport accepts.
    #[inline]
    pub(crate) fn put_through(
        self: &Arc<Self>,
        queue: impl FnOnce(&mut Outbound) -> Result<(), SendError>,
    ) -> Result<usize, Error> {
        let mut state = self.lock();
        if state.is_broken() {
            return Err(state.closed_error());
        }
        halves::lend_with(&mut state.outbound, buffers::take_write);
        if let Err(error) = queue(&mut state.outbound) {
            return Err(state.refused(error));
        }
        self.flush(&mut state);
        state.wake_waiters();
        // While nothing receives on the connection, the flush task watches for input.
        if state.receiver == Receiver::Away || state.is_broken() {
            self.call();
        }
        Ok(state.outbound.buffered_amount())
    }

    /// Waits until at most half of the send buffer is unsent.
    pub(crate) fn poll_room(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        if !state.is_open() || state.is_broken() {
            return Poll::Ready(Err(state.closed_error()));
        }
        if state.outbound.buffered_amount() > state.high_water as usize / 2 {
            state.wait(|waiters| &mut waiters.room, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends a ping with this number after everything sent before, if possible.
    pub(crate) fn mark(self: &Arc<Self>, number: u32) -> Result<bool, Error> {
        let mut state = self.lock();
        let mut sent = false;
        self.queue(&mut state, |outbound| {
            sent = outbound.ping_behind(&number.to_be_bytes())?;
            Ok(())
        })?;
        Ok(sent)
    }
}
