//! Waiting for something other than a message: room, a pong, the end.

use std::task::{Context, Poll};
use std::time::Duration;

use offhook_protocol::Closed;

use super::Line;
use crate::error::Error;

impl Line {
    /// How many pings were answered so far, for [`rtt_after`](Self::rtt_after).
    pub(crate) fn pongs(&self) -> u32 {
        self.lock().pongs
    }

    /// The round trip, if a ping was answered since.
    pub(crate) fn rtt_after(&self, before: u32) -> Option<Duration> {
        let state = self.lock();
        if state.pongs == before {
            None
        } else {
            state.connection.rtt()
        }
    }

    /// Waits for a pong that somebody else receives.
    pub(crate) fn poll_pong(
        &self,
        cx: &mut Context<'_>,
        before: u32,
    ) -> Poll<Result<Duration, Error>> {
        let mut state = self.lock();
        if let Some(rtt) = state.connection.rtt().filter(|_| state.pongs != before) {
            return Poll::Ready(Ok(rtt));
        }
        if state.transport.is_none() {
            return Poll::Ready(Err(state.closed_error()));
        }
        state.wait(cx.waker());
        Poll::Pending
    }

    /// Waits until the connection has ended.
    pub(crate) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Closed> {
        let mut state = self.lock();
        match state.connection.closed() {
            Some(closed) => Poll::Ready(closed),
            None => {
                state.wait(cx.waker());
                Poll::Pending
            }
        }
    }

    /// What somebody is told who comes too late.
    pub(crate) fn closed_error(&self) -> Error {
        self.lock().closed_error()
    }
}
