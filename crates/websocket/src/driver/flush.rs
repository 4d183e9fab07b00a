//! Writing queued output to the transport.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use offhook_protocol::halves;

use super::{Driver, Locked, Output, State, buffers};
use crate::Transport;

/// The most slices in one vectored write: headers and payloads of eight long messages.
pub(super) const SLICES: usize = 16;

impl Driver {
    /// Writes as much as the transport accepts; the rest follows when it is writable again.
    pub(super) fn flush(self: &Arc<Self>, state: &mut Locked<'_>) {
        let State {
            outbound,
            transport,
            output,
            ..
        } = &mut *state.state;
        let Some(transport) = transport.as_mut() else {
            return;
        };
        if matches!(output, Output::Broken(_)) {
            return;
        }
        let result = loop {
            if !outbound.has_output() {
                break Ok(());
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = outbound.transmit(&mut slices);
            let slices = slices.get(..filled).unwrap_or_default();
            if slices.is_empty() {
                break Ok(());
            }
            match self.write(transport, slices) {
                Poll::Ready(Ok(0)) => break Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => outbound.transmitted(written),
                Poll::Ready(Err(error)) => break Err(error),
                Poll::Pending => return,
            }
            if matches!(transport, Transport::Boxed(..)) {
                *output = Output::Unflushed;
            }
        };
        state.give_buffer_back();
        let result = match result {
            Ok(()) if matches!(state.output, Output::Unflushed) => self.flush_below(state),
            result => result,
        };
        if let Err(error) = result {
            state.break_down(error);
        }
    }

    #[inline]
    fn write(
        self: &Arc<Self>,
        transport: &mut Transport,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match transport.try_write(slices) {
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Some(result) => return Poll::Ready(result),
            None => {}
        }
        let waker = Waker::from(Arc::clone(self));
        transport.poll_write(&mut Context::from_waker(&waker), slices)
    }

    /// Flushes a layer below that may hold bytes back.
    fn flush_below(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let Some(transport) = &mut state.transport else {
            return Ok(());
        };
        let waker = Waker::from(Arc::clone(self));
        match transport.poll_flush(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => {
                state.output = Output::Open;
                result
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl State {
    /// Returns the output buffer to the thread if it is empty.
    #[inline]
    pub(super) fn give_buffer_back(&mut self) {
        if let Some(buffer) = halves::reclaim(&mut self.outbound) {
            buffers::give_write(buffer);
        }
    }
}
