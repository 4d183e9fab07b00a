//! What the flush task does for a connection while nobody receives on it: its own task is busy with
//! something else, or only ever sends.
//!
//! Pings are answered, pongs and a Close are noticed, and so is the end of the transport, as long
//! as no message lies before them. Messages wait: to read past them would be to hold whatever a
//! peer sends to somebody who does not want it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

use super::buffers::ReadBuffer;
use super::{Driver, Locked, Receiver, Unread, buffers, now};

/// How much is read ahead of a receiver. 4 KiB: room for control frames, and little to hold for
/// each of many connections whose messages nobody wants.
const AHEAD: usize = 4 * 1024;

impl Driver {
    /// The future that waited for a message was dropped.
    #[cold]
    pub(super) fn stop_waiting(self: &Arc<Self>) {
        let mut state = self.lock();
        state.receiver = Receiver::Away;
        self.call();
    }

    /// Looks after what comes in. A reader that waits for a message is woken if one has come.
    pub(super) fn listen(self: &Arc<Self>, state: &mut Locked<'_>) {
        if state.inbound.is_none() {
            // A handler has it, and with it what was read.
            state.outbound.heard(now());
            return;
        }
        if matches!(state.unread, Unread::Nothing) {
            // A reader that waits goes on being woken; else this task is.
            let waits = state.receiver == Receiver::Waiting;
            let waker = match &state.reader {
                Some(reader) if waits => reader.clone(),
                Some(_) | None => Waker::from(Arc::clone(self)),
            };
            state.read_ahead(&mut Context::from_waker(&waker));
            if matches!(state.unread, Unread::Bytes(_)) {
                // Nobody is told of what comes next until a read has found nothing.
                self.call();
            }
        }
        state.take_control();
        if !matches!(state.unread, Unread::Nothing) {
            // The peer may have answered a ping behind what is unread: the silence is ours.
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
                if let Some(observer) = self.told.observer {
                    observer.read(len);
                }
                self.unread = Unread::Bytes(buffer);
                return;
            }
            Poll::Ready(Ok(())) => self.lose(None),
            Poll::Ready(Err(error)) => self.lose(Some(error)),
            Poll::Pending => {}
        }
        buffers::give_read(buffer);
    }

    /// Takes the control frames that lie before all messages.
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
            // It may lie there for long: in no more memory than it needs.
            self.unread = Unread::Bytes(ReadBuffer::keeping(&buffer));
        } else if left > 0 {
            self.unread = Unread::Bytes(buffer);
            return;
        }
        buffers::give_read(buffer);
    }
}
