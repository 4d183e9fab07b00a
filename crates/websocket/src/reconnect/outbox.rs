//! What is sent while there is a connection, and while there is none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::message::Message;
use crate::sender::Sender;

/// What is held of what is sent while away. 1 MiB: minutes of a chat, and nothing to a phone.
const QUEUE: usize = 1024 * 1024;

/// A handle to send with over a [`Reconnecting`](super::Reconnecting). It can be cloned.
#[derive(Clone, Debug)]
pub struct ReconnectingSender {
    outbox: Arc<Mutex<Outbox>>,
}

#[derive(Debug)]
struct Outbox {
    /// `None` while away.
    current: Option<Sender>,
    queue: VecDeque<Message>,
    /// What `queue` holds, and how much it may.
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

    /// Sends a message over the connection, or keeps it for the next one.
    ///
    /// While there is a connection it is [`Sender::send`]; what it could not queue there because
    /// the connection had ended is kept. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no connection and as much is kept as may be; the connection is
    /// closed for good. Nothing was sent or kept.
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

    /// How many messages are kept for the next connection.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    /// Takes the messages that are kept for the next connection: it will not send them.
    #[must_use]
    pub fn take_queued(&self) -> Vec<Message> {
        let mut outbox = self.lock();
        outbox.queued = 0;
        std::mem::take(&mut outbox.queue).into()
    }

    pub(super) fn set_limit(&self, bytes: usize) {
        self.lock().limit = bytes;
    }

    /// There is a connection: what was kept goes out, then what is sent from now on.
    pub(super) fn arrive(&self, sender: Sender) {
        let mut outbox = self.lock();
        while let Some(message) = outbox.queue.front() {
            // No waiting: the queue is as bounded here as it will be there.
            let message = message.clone();
            let size = size(&message);
            if sender.put(message).is_err() {
                return;
            }
            outbox.queue.pop_front();
            outbox.queued -= size;
        }
        outbox.queue = VecDeque::new();
        outbox.current = Some(sender);
    }

    /// There is none any more.
    pub(super) fn go_away(&self) {
        self.lock().current = None;
    }

    /// There will be none any more.
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

    /// A sender has found that its connection is gone, perhaps not as the first.
    fn leave(&mut self, sender: &Sender) {
        self.current.take_if(|current| current == sender);
    }
}

/// What a message counts: many empty ones cost memory too.
fn size(message: &Message) -> usize {
    message.len() + size_of::<Message>()
}
