//! Sending with and without a current connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::message::Message;
use crate::sender::Sender;

/// How many bytes of messages are kept while disconnected. 1 MiB: minutes of a chat, and little
/// memory even on a phone.
const QUEUE: usize = 1024 * 1024;

/// Sends over a [`Reconnecting`](super::Reconnecting), from any task. It can be cloned.
#[derive(Clone, Debug)]
pub struct ReconnectingSender {
    outbox: Arc<Mutex<Outbox>>,
}

#[derive(Debug)]
struct Outbox {
    /// `None` while disconnected.
    current: Option<Sender>,
    queue: VecDeque<Message>,
    /// The size of `queue`, and its limit.
    queued: usize,
    limit: usize,
    ended: bool,
}

impl ReconnectingSender {
    pub(super) fn new() -> Self {
        Self {
            outbox: Arc::new(Mutex::new(Outbox {
                current: None,
                queue: VecDeque::new(),
                queued: 0,
                limit: QUEUE,
                ended: false,
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message over the connection, or queues it for the next one.
    ///
    /// While connected, this is [`Sender::send`]. A message that could not be sent because the
    /// connection had ended is queued. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no connection and the queue is full, or the connection was
    /// closed permanently. The message was neither sent nor queued.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let message = message.into();
        loop {
            let sender = {
                let mut outbox = self.lock();
                match &outbox.current {
                    Some(sender) => sender.clone(),
                    None => return outbox.keep(message),
                }
            };
            match sender.send(&message).await {
                Err(Error::Closing | Error::Closed(_)) => self.lock().leave(&sender),
                result => return result,
            }
        }
    }

    /// How many messages are queued for the next connection.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    /// Removes and returns the messages queued for the next connection. They will not be sent.
    #[must_use]
    pub fn take_queued(&self) -> Vec<Message> {
        let mut outbox = self.lock();
        outbox.queued = 0;
        std::mem::take(&mut outbox.queue).into()
    }

    pub(super) fn set_limit(&self, bytes: usize) {
        self.lock().limit = bytes;
    }

    /// A connection is open: sends the queued messages, then those sent from now on.
    pub(super) fn arrive(&self, sender: Sender) {
        let mut outbox = self.lock();
        while let Some(message) = outbox.queue.front() {
            // This does not wait: the queue here is as bounded as the connection's.
            let message = message.clone();
            let size = size(&message);
            if sender
                .driver()
                .send_now(|driver| driver.send(message))
                .is_err()
            {
                return;
            }
            outbox.queue.pop_front();
            outbox.queued -= size;
        }
        outbox.queue = VecDeque::new();
        outbox.current = Some(sender);
    }

    /// The connection is gone.
    pub(super) fn go_away(&self) {
        self.lock().current = None;
    }

    /// There will be no further connection.
    pub(super) fn end(&self) {
        let mut outbox = self.lock();
        outbox.current = None;
        outbox.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended
    }
}

impl Outbox {
    fn keep(&mut self, message: Message) -> Result<(), Error> {
        if self.ended {
            return Err(Error::Closing);
        }
        let queued = self.queued + size(&message);
        if queued > self.limit {
            return Err(Error::Full);
        }
        self.queued = queued;
        self.queue.push_back(message);
        Ok(())
    }

    /// A sender has found that its connection is gone; others may have found it before.
    fn leave(&mut self, sender: &Sender) {
        let is_gone = |current: &mut Sender| Arc::ptr_eq(current.driver(), sender.driver());
        self.current.take_if(is_gone);
    }
}

/// The size a message counts for: many empty messages cost memory too.
fn size(message: &Message) -> usize {
    message.len() + size_of::<Message>()
}
