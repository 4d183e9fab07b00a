//! What the flush task does for a connection while no task receives on it, because its own task is
//! busy or only sends.
//!
//! Pings are answered; pongs, a Close and the end of the transport are noticed, as long as no
//! message precedes them. Messages wait: reading past them would mean holding whatever a peer sends
//! without anyone asking for it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

use super::buffers::ReadBuffer;
use super::{Driver, Locked, Receiver, Unread, buffers, now};

/// How much is read ahead of a receiver. 4 KiB: room for control frames, and little to hold for
/// each of many connections whose messages are not being received.
pub(super) const AHEAD: usize = 4 * 1024;

impl Driver {
    /// Called when a future that waited for a message was dropped.
    #[cold]
    pub(super) fn stop_waiting(self: &Arc<Self>) {
        let mut state = self.lock();
        state.receiver = Receiver::Away;
        self.call();
    }

    /// Handles input. Wakes a waiting reader if a message arrived.
    pub(super) fn listen(self: &Arc<Self>, state: &mut Locked<'_>) {
        if state.inbound.is_none() {
            // A handler has leased the receiving half, and with it the bytes that were read.
            state.outbound.heard(now());
            return;
        }
        if matches!(state.unread, Unread::Nothing) {
            // A waiting reader continues to be woken by the transport; otherwise this task is.
            let waits = state.receiver == Receiver::Waiting;
            let reader = state.reader.waker().filter(|_| waits);
            let waker = reader.unwrap_or_else(|| Waker::from(Arc::clone(self)));
            state.read_ahead(&mut Context::from_waker(&waker));
            if matches!(state.unread, Unread::Bytes(_)) {
                // The transport gives no further notice until a read has found nothing.
                self.call();
            }
        }
        state.take_control();
        if !matches!(state.unread, Unread::Nothing) {
            // The peer's pong may be behind unread messages: the silence is not the peer's.
            state.outbound.heard(now());
            if state.receiver != Receiver::Away {
                state.wake_reader();
            }
        }
    }
}

impl Locked<'_> {
    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        let mut buffer = buffers::take_read();
        let mut read = ReadBuf::new(buffer.get_mut(..AHEAD).unwrap_or_default());
        let result = transport.poll_read(cx, &mut read);
        let len = read.filled().len();
        match result {
            Poll::Ready(Ok(())) if len > 0 => {
                let at = buffer.filled(len);
                self.outbound.heard(at);
                self.unread = Unread::Bytes(buffer);
                return;
            }
            Poll::Ready(Ok(())) => self.lose(None),
            Poll::Ready(Err(error)) => self.lose(Some(error)),
            Poll::Pending => {}
        }
        buffers::give_read(buffer);
    }

    /// Takes the control frames that precede all messages.
    fn take_control(&mut self) {
        let unread = std::mem::replace(&mut self.unread, Unread::Nothing);
        let Unread::Bytes(mut buffer) = unread else {
            self.unread = unread;
            return;
        };
        let Some(mut inbound) = self.inbound.take() else {
            return;
        };
        if self.outbound.is_over() {
            inbound.end();
        }
        let mut input = buffer.input();
        while inbound.control_comes_next(&input) {
            let mut received = inbound.receive(&mut input);
            self.react(&mut received, input.at());
        }
        let left = input.len();
        self.put_back(inbound, false);
        buffer.leave(left);
        if left > 0 && left <= AHEAD {
            // The bytes may stay there for long: keep them in no more memory than necessary.
            self.unread = Unread::Bytes(ReadBuffer::keeping(&buffer));
        } else if left > 0 {
            self.unread = Unread::Bytes(buffer);
            return;
        }
        buffers::give_read(buffer);
    }
}
