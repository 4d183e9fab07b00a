//! Lending messages to a user's handler, which must not run under the lock.
//!
//! For the duration of one poll, the receiving half and the read buffer are taken out of the state.
//! Meanwhile no other task can receive; senders and the flush task continue.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use offhook_protocol::halves::{Frames, Inbound};
use offhook_protocol::{Event, Message, Sendable};

use super::buffers::ReadBuffer;
use super::{Driver, Locked, Turn, Unread, buffers, now};
use crate::error::Error;

/// The receiving half and the read buffer, taken out of the state.
struct Lease {
    inbound: Inbound,
    unread: Unread,
}

/// Returns a [`Lease`]. If a handler has panicked, the rest of the input is not processed.
struct Leased<'d> {
    driver: &'d Arc<Driver>,
    lease: Option<Lease>,
}

/// Sends the replies of [`WebSocket::each`](crate::WebSocket::each)'s handler.
pub struct Replies<'d> {
    driver: &'d Arc<Driver>,
    /// Replies framed without the lock, as long as they could be sent at once.
    frames: Option<Frames>,
    /// How many bytes of framed replies are held before they are sent.
    high_water: usize,
}

impl Driver {
    /// Passes each message to `handle`, until the connection has ended or `handle` fails.
    #[inline]
    pub(crate) fn poll_each<H>(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        handle: &mut H,
    ) -> Poll<Result<(), Error>>
    where
        H: FnMut(Message<'_>, &mut Replies<'_>) -> Result<(), Error>,
    {
        loop {
            let leased = self.poll_receive(cx, Turn::REPLIES, |state| state.begin_lease());
            let Some(lease) = ready!(leased)? else {
                return Poll::Ready(Ok(()));
            };
            if let Err(error) = self.serve(lease, handle) {
                // No turn follows, and there may be replies and input left.
                self.call();
                return Poll::Ready(Err(error));
            }
        }
    }

    /// Passes all messages of a lease to `handle`.
    fn serve<H>(self: &Arc<Self>, lease: Lease, handle: &mut H) -> Result<(), Error>
    where
        H: FnMut(Message<'_>, &mut Replies<'_>) -> Result<(), Error>,
    {
        let mut leased = Leased {
            driver: self,
            lease: Some(lease),
        };
        let mut replies = self.replies();
        let Some(Lease { inbound, unread }) = &mut leased.lease else {
            return Ok(());
        };
        let handled = match mem::replace(unread, Unread::Nothing) {
            Unread::Nothing => Ok(()),
            Unread::Payload => self.serve_payload(inbound, &mut replies, handle),
            Unread::Bytes(mut buffer) => {
                let handled = self.serve_bytes(inbound, &mut buffer, &mut replies, handle);
                if buffer.is_used_up() {
                    buffers::give_read(buffer);
                } else {
                    *unread = Unread::Bytes(buffer);
                }
                handled
            }
        };
        replies.send_framed();
        handled
    }

    #[inline]
    fn serve_bytes<H>(
        self: &Arc<Self>,
        inbound: &mut Inbound,
        buffer: &mut ReadBuffer,
        replies: &mut Replies<'_>,
        handle: &mut H,
    ) -> Result<(), Error>
    where
        H: FnMut(Message<'_>, &mut Replies<'_>) -> Result<(), Error>,
    {
        let mut input = buffer.input();
        let mut messages = 0;
        let handled = loop {
            match inbound.receive(&mut input) {
                Ok(Some(Event::Message(message))) => {
                    messages += 1;
                    let handled = handle(message, replies);
                    if handled.is_err() {
                        break handled;
                    }
                }
                Ok(None) => break Ok(()),
                mut other => {
                    // Replies are sent in the order of the messages they answer.
                    replies.send_framed();
                    self.lock().react(&mut other, input.at());
                }
            }
        };
        let left = input.len();
        buffer.leave(left);
        if let Some(observer) = &self.observer {
            observer.received_messages(messages);
        }
        handled
    }

    /// Handles the message completed by a read directly into it.
    #[cold]
    fn serve_payload<H>(
        self: &Arc<Self>,
        inbound: &mut Inbound,
        replies: &mut Replies<'_>,
        handle: &mut H,
    ) -> Result<(), Error>
    where
        H: FnMut(Message<'_>, &mut Replies<'_>) -> Result<(), Error>,
    {
        match inbound.payload_read() {
            Ok(Some(Event::Message(message))) => {
                if let Some(observer) = &self.observer {
                    observer.received_messages(1);
                }
                handle(message, replies)
            }
            mut other => {
                self.lock().react(&mut other, now());
                Ok(())
            }
        }
    }

    /// A handle for sending replies.
    pub(crate) fn replies(self: &Arc<Self>) -> Replies<'_> {
        let state = self.lock();
        let frames = state.outbound.frames();
        Replies {
            driver: self,
            frames: frames.map(|frames| frames.in_buffer(buffers::take_write())),
            high_water: state.high_water as usize,
        }
    }
}

impl Locked<'_> {
    /// Takes the receiving half and the read buffer out of the state, if something was read.
    fn begin_lease(&mut self) -> Option<Lease> {
        if matches!(self.unread, Unread::Nothing) {
            return None;
        }
        let mut inbound = self.inbound.take()?;
        if self.outbound.is_over() {
            inbound.end();
        }
        Some(Lease {
            inbound,
            unread: mem::replace(&mut self.unread, Unread::Nothing),
        })
    }
}

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let Lease {
            mut inbound,
            unread,
        } = lease;
        let mut state = self.driver.lock();
        if std::thread::panicking() {
            inbound.end();
            self.driver.call();
        } else {
            state.unread = unread;
        }
        state.put_back(inbound, true);
    }
}

impl Replies<'_> {
    /// Queues a message.
    ///
    /// # Errors
    /// The connection is closing.
    #[inline]
    pub fn send<'a>(&mut self, message: impl Sendable<'a>) -> Result<(), Error> {
        if let Some(frames) = &mut self.frames
            && frames.push(&message)
        {
            if frames.len() >= self.high_water {
                self.send_framed();
            }
            return Ok(());
        }
        self.send_framed();
        self.driver.send_now(|outbound| outbound.send(message))
    }

    /// Sends the framed replies.
    pub(crate) fn send_framed(&mut self) {
        let Some(frames) = self.frames.as_mut().filter(|frames| !frames.is_empty()) else {
            return;
        };
        let mut state = self.driver.lock();
        // Once the connection is closing, replies are not wanted; the following turn reports it.
        let _closing = state.outbound.send_frames(frames);
        if state.is_full() {
            self.driver.flush(&mut state);
        }
    }
}

impl Drop for Replies<'_> {
    fn drop(&mut self) {
        if let Some(frames) = self.frames.take() {
            let mut buffer = frames.into_buffer();
            buffer.clear();
            buffers::give_write(buffer);
        }
    }
}

impl fmt::Debug for Replies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies")
            .field("framed", &self.frames.as_ref().map(Frames::len))
            .finish_non_exhaustive()
    }
}
