//! SEND: messages of the client. A receipt is sent once a message is as durable as the server
//! guarantees.

use std::collections::VecDeque;

use offhook_engine::{Command, ErrorCode, Reply};

use super::{
    destination::channel_of,
    dialect::{PUBLISHING, Purpose, Stomp},
    frame::{Frame, Invalid},
    message, refusals,
    subscribing::Ending,
    transactions::CommitId,
};

/// A message of the client that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    /// Its place among the client's messages on this connection; 0 before it is passed to the engine.
    pub(super) number: u64,
    pub(super) command: Command,
    pub(super) after: After,
}

/// What is due once a message is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum After {
    Nothing,
    Receipt(Box<str>),
    /// The message belongs to a transaction that is being committed.
    Commit(CommitId),
}

/// A request that was refused temporarily.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Publish(Sending),
    /// The subscription with this number.
    Subscribe(u32),
    Unsubscribe(Ending),
}

/// The value of a header that a frame must have.
pub(super) fn required<'a>(frame: &'a Frame, name: &'static str) -> Result<&'a str, Invalid> {
    frame.header(name).ok_or_else(|| {
        let detail = format!("{}: the header {name} is missing", frame.command);
        Invalid::new("missing header", detail)
    })
}

impl Stomp {
    pub(super) fn send(&mut self, frame: &Frame) -> Result<(), Invalid> {
        let channel = channel_of(required(frame, "destination")?)?;
        let content = message::content(frame)?;
        let command = Command::Publish {
            channel,
            data: frame.body.clone(),
            format: content.format,
            tags: content.tags,
            key: content.key,
        };
        let receipt = frame.header("receipt");
        if let Some(transaction) = frame.header("transaction") {
            self.transactions.send(transaction, command)?;
            self.give_receipt(receipt);
            return Ok(());
        }
        let after = receipt.map_or(After::Nothing, |receipt| After::Receipt(receipt.into()));
        self.outgoing.push_back(Sending {
            number: 0,
            command,
            after,
        });
        self.publish_some();
        Ok(())
    }

    /// Passes messages to the engine, as many as may wait there.
    pub(super) fn publish_some(&mut self) {
        while self.publishing < PUBLISHING
            && self.again.is_empty()
            && let Some(mut sending) = self.outgoing.pop_front()
        {
            if sending.number == 0 {
                self.messages = self.messages.wrapping_add(1);
                sending.number = self.messages;
            }
            self.publishing = self.publishing.saturating_add(1);
            let command = sending.command.clone();
            self.ask(command, Purpose::Publish(Box::new(sending)));
        }
    }

    /// Handles the broker's answer to a message.
    pub(super) fn published(&mut self, sending: Sending, reply: &Reply) {
        self.publishing = self.publishing.saturating_sub(1);
        if let Reply::Refused(refusal) = reply {
            // Until the message is published, nothing more is read from the client, which slows it
            // down.
            if matches!(refusal.code, ErrorCode::RateLimited | ErrorCode::Busy) {
                self.publish_later(sending);
                return self.try_again_after(refusal.retry_after);
            }
            let receipt = match &sending.after {
                After::Receipt(receipt) => Some(&**receipt),
                After::Commit(commit) => self.transactions.receipt_of(*commit),
                After::Nothing => None,
            };
            let receipt = receipt.map(str::to_owned);
            return self.fail(&refusals::of_refusal(refusal), receipt.as_deref());
        }
        match sending.after {
            After::Nothing => {}
            After::Receipt(receipt) => self.give_receipt(Some(&receipt)),
            After::Commit(commit) => {
                if let Some(commit) = self.transactions.published(commit) {
                    self.committed(commit);
                }
            }
        }
        self.publish_some();
    }

    /// Adds a message to those that are published later, in order: the engine refuses a message for its
    /// rate earlier than the broker one before it for its full queue.
    fn publish_later(&mut self, sending: Sending) {
        let is_later = |again: &Again| match again {
            Again::Publish(other) => other.number > sending.number,
            Again::Subscribe(_) | Again::Unsubscribe(_) => false,
        };
        let at = self.again.iter().position(is_later);
        let at = at.unwrap_or(self.again.len());
        self.again.insert(at, Again::Publish(sending));
    }

    /// Repeats requests that were refused temporarily.
    pub(super) fn try_again(&mut self) {
        let mut messages = VecDeque::new();
        for again in std::mem::take(&mut self.again) {
            match again {
                Again::Publish(sending) => messages.push_back(sending),
                Again::Subscribe(number) => self.ask_for(number),
                Again::Unsubscribe(ending) => self.ask_to_end(ending),
            }
        }
        // Placed before messages that arrived later.
        messages.append(&mut self.outgoing);
        self.outgoing = messages;
        self.publish_some();
    }
}
