//! For who sends the same to many and must not wait for any: queueing whatever is unsent, waiting
//! for room, and knowing how far a peer has read.

use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};

use offhook_protocol::{Connection, Event, SendError};

use super::{Driver, State, buffers};
use crate::error::Error;

impl Driver {
    /// Queues without waiting, and gives how much is unsent then.
    #[inline]
    pub(crate) fn put(
        self: &Arc<Self>,
        queue: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Result<usize, Error> {
        let mut state = self.lock_whole()?;
        self.queue(&mut state, queue)?;
        Ok(state.connection.buffered_amount())
    }

    /// As [`put`](Self::put), and writes at once what the transport takes.
    #[inline]
    pub(crate) fn put_through(
        self: &Arc<Self>,
        queue: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Result<usize, Error> {
        let mut state = self.lock_whole()?;
        state.connection.lend_with(buffers::take_write);
        if let Err(error) = queue(&mut state.connection) {
            return Err(state.refused(error));
        }
        self.flush(&mut state);
        // Where nobody receives, the switchboard listens.
        if !state.parked || state.waiting.is_some() || state.broken.is_some() {
            self.call();
        }
        Ok(state.connection.buffered_amount())
    }

    /// Unless nothing can be written any more.
    #[inline]
    fn lock_whole(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.lock();
        if state.broken.is_some() {
            return Err(state.closed_error());
        }
        Ok(state)
    }

    /// Waits until at most half of the send buffer is unsent.
    pub(crate) fn poll_room(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        if !state.is_open() || state.broken.is_some() {
            return Poll::Ready(Err(state.closed_error()));
        }
        if state.connection.buffered_amount() > state.high_water as usize / 2 {
            state.wait(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends a ping with this number behind everything that was sent before, if that is possible.
    pub(crate) fn mark(self: &Arc<Self>, number: u32) -> Result<bool, Error> {
        let mut state = self.lock();
        let mut sent = false;
        self.queue(&mut state, |connection| {
            sent = connection.ping_behind(&number.to_be_bytes())?;
            Ok(())
        })?;
        Ok(sent)
    }
}

impl State {
    /// Notes the number that a pong brings back.
    pub(super) fn note_mark(&mut self, event: &Event<'_>) {
        if let Event::Pong { payload, rtt: None } = event
            && let Ok(number) = <[u8; 4]>::try_from(&**payload)
        {
            self.reached = Some(u32::from_be_bytes(number));
        }
    }
}
