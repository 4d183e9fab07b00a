//! What is done for a connection while nobody receives on it: its task is busy with something
//! else, or only ever sends.
//!
//! Pings are answered, pongs and a Close are noticed, and so is the end of the transport, as long
//! as no message lies before them. Messages wait: to read past them would be to hold whatever a
//! peer sends to somebody who does not want it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

use super::buffers::ReadBuffer;
use super::{Driver, Fault, State, buffers, now};

/// How much is read ahead of a receiver. 4 KiB: room for control frames, and little to hold for
/// each of many connections whose messages nobody wants.
const AHEAD: usize = 4 * 1024;

impl Driver {
    /// Nobody waits in `recv` any more.
    #[cold]
    pub(crate) fn unpark(self: &Arc<Self>) {
        let mut state = self.lock();
        state.parked = false;
        self.call();
    }

    /// Looks after what comes in. Whoever waits for a message is woken if one has come.
    pub(super) fn listen(self: &Arc<Self>, state: &mut State) {
        if state.inbox.is_none() && !state.read_payload {
            // Whoever waits in `recv` goes on being woken; else the switchboard is called again.
            let waiting = state.reader.clone().filter(|_| state.parked);
            let waker = waiting.unwrap_or_else(|| Waker::from(Arc::clone(self)));
            state.read_ahead(&mut Context::from_waker(&waker));
            if state.inbox.is_some() {
                // Nobody is told of what comes next until a read has found nothing.
                self.call();
            }
        }
        state.take_control();
        if state.inbox.is_some() {
            state.connection.note_unread(now());
            if state.parked
                && let Some(reader) = &state.reader
            {
                reader.wake_by_ref();
            }
        }
    }
}

impl State {
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
                buffer.filled(len);
                self.inbox = Some(buffer);
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
        let Some(mut buffer) = self.inbox.take() else {
            return;
        };
        let mut input = buffer.input();
        while self.connection.control_comes_next(&input) {
            match self.connection.receive(&mut input) {
                Ok(Some(event)) => self.note(&event),
                Ok(None) => {}
                Err(error) => self.fault = Some(Box::new(Fault::Peer(error))),
            }
        }
        let left = input.len();
        buffer.leave(left);
        if left > 0 && left <= AHEAD {
            // It may lie there for long: in no more memory than it needs.
            self.inbox = Some(ReadBuffer::keeping(&buffer));
        } else if left > 0 {
            self.inbox = Some(buffer);
            return;
        }
        buffers::give_read(buffer);
    }
}
