//! Waiting for something other than a message: room, a pong, the end.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use offhook_protocol::{Closed, SentPing};

use super::{Driver, Receiver, State};
use crate::error::Error;

impl Driver {
    /// The round-trip time, if this ping or a later one was answered.
    pub(crate) fn rtt_of(&self, ping: SentPing) -> Option<Duration> {
        self.lock().rtt_of(ping)
    }

    /// Waits for a pong that another task receives.
    pub(crate) fn poll_pong(
        &self,
        cx: &mut Context<'_>,
        ping: SentPing,
    ) -> Poll<Result<Duration, Error>> {
        let mut state = self.lock();
        if let Some(rtt) = state.rtt_of(ping) {
            return Poll::Ready(Ok(rtt));
        }
        if state.transport.is_none() {
            return Poll::Ready(Err(state.closed_error()));
        }
        state.wait(|waiters| &mut waiters.pong, cx.waker());
        Poll::Pending
    }

    /// Waits until the connection has ended.
    pub(crate) fn poll_ended(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        let mut state = self.lock();
        if let Some(closed) = state.outbound.closed() {
            return Poll::Ready(closed);
        }
        state.wait(|waiters| &mut waiters.end, cx.waker());
        if state.receiver == Receiver::Away {
            // A task must notice the end, and perhaps no task has ever received.
            self.call();
        }
        Poll::Pending
    }

    /// The error for a caller after the connection has ended.
    pub(crate) fn closed_error(&self) -> Error {
        self.lock().closed_error()
    }
}

impl State {
    fn rtt_of(&self, ping: SentPing) -> Option<Duration> {
        self.outbound
            .rtt()
            .filter(|_| self.outbound.is_answered(ping))
    }
}
