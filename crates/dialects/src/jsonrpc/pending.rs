//! Requests that are not answered yet, and the batches that their answers complete.

use std::collections::HashMap;

use offhook_engine::{ChannelName, CommandId};

use super::answer::{Failure, answer};
use crate::{dialect::Payload, json::Object};

/// Bytes of answers that a batch holds. 1 MiB: as much as a message may have. What would exceed it
/// is to be asked for outside of a batch.
const MAX_HELD: usize = 1024 * 1024;

/// What a command was for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Its reply is the answer.
    Command,
    /// A subscription with this number.
    Subscribe(u32),
    /// The end of a subscription.
    Unsubscribe(u32),
    /// A channel that `rpc.on` named, with the number of its subscription.
    On(ChannelName, u32),
    /// A channel that `rpc.off` named, with the number of its subscription.
    Off(ChannelName, u32),
    /// A newer token of the session's user.
    Refresh,
    /// Nothing: the request was wrong in a way that the engine has no word for.
    Nothing(Failure),
}

/// A request that is not answered yet.
#[derive(Debug)]
struct Call {
    /// None for a notification.
    id: Option<String>,
    batch: Option<u64>,
    /// Commands that it still waits for.
    left: usize,
    /// For `rpc.on` and `rpc.off`: what became of each channel.
    events: Vec<(ChannelName, bool)>,
}

/// The requests of an array, whose answers go into one.
#[derive(Debug, Default)]
struct Batch {
    /// Requests that are not answered yet.
    left: usize,
    answers: Vec<String>,
    bytes: usize,
}

/// Names a request that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallId(u64);

/// Names a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchId(u64);

#[derive(Debug, Default)]
pub(super) struct Pending {
    next: u64,
    calls: HashMap<CallId, Call>,
    batches: HashMap<u64, Batch>,
    commands: HashMap<CommandId, (CallId, Purpose)>,
}

impl Pending {
    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// A batch of so many requests.
    pub(super) fn batch(&mut self, requests: usize) -> BatchId {
        let number = self.number();
        let batch = Batch {
            left: requests,
            ..Batch::default()
        };
        self.batches.insert(number, batch);
        BatchId(number)
    }

    /// A request, before its commands.
    pub(super) fn call(&mut self, id: Option<&str>, batch: Option<BatchId>) -> CallId {
        let call = CallId(self.number());
        let state = Call {
            id: id.map(str::to_owned),
            batch: batch.map(|batch| batch.0),
            left: 0,
            events: Vec::new(),
        };
        self.calls.insert(call, state);
        call
    }

    /// A command that a request waits for.
    pub(super) fn command(&mut self, call: CallId, purpose: Purpose) -> CommandId {
        let id = CommandId(self.number());
        if let Some(call) = self.calls.get_mut(&call) {
            call.left = call.left.saturating_add(1);
        }
        self.commands.insert(id, (call, purpose));
        id
    }

    /// A number for a command whose reply nobody waits for.
    pub(super) fn unanswered(&mut self) -> CommandId {
        CommandId(self.number())
    }

    /// What a command was for, once its reply has come.
    pub(super) fn replied(&mut self, id: CommandId) -> Option<(CallId, Purpose)> {
        self.commands.remove(&id)
    }

    /// What became of one of the channels of `rpc.on` or `rpc.off`; answered with the last.
    pub(super) fn event(
        &mut self,
        call: CallId,
        channel: ChannelName,
        ok: bool,
        out: &mut Vec<Payload>,
    ) {
        let Some(state) = self.calls.get_mut(&call) else {
            return;
        };
        state.events.push((channel, ok));
        state.left = state.left.saturating_sub(1);
        self.complete(call, out);
    }

    /// Answers `rpc.on` or `rpc.off` if it waits for nothing more.
    pub(super) fn complete(&mut self, call: CallId, out: &mut Vec<Payload>) {
        let Some(state) = self.calls.get(&call) else {
            return;
        };
        if state.left > 0 {
            return;
        }
        let events = state.events.iter();
        let result = events.fold(Object::part(), |object, (channel, ok)| {
            let word = if *ok { "ok" } else { "refused" };
            object.foreign(channel.as_str(), word)
        });
        self.answer(call, &Ok(result.end()), out);
    }

    /// A channel of `rpc.on` that needs no command.
    pub(super) fn noted(&mut self, call: CallId, channel: ChannelName) {
        if let Some(state) = self.calls.get_mut(&call) {
            state.events.push((channel, true));
        }
    }

    /// Answers a request.
    pub(super) fn answer(
        &mut self,
        call: CallId,
        result: &Result<String, Failure>,
        out: &mut Vec<Payload>,
    ) {
        let Some(Call { id, batch, .. }) = self.calls.remove(&call) else {
            return;
        };
        let text = id.map(|id| (answer(&id, result), id));
        let Some(number) = batch else {
            out.extend(text.map(|(text, _)| Payload::Text(text)));
            return;
        };
        let Some(batch) = self.batches.get_mut(&number) else {
            return;
        };
        if let Some((text, id)) = text {
            batch.hold(text, &id);
        }
        batch.left = batch.left.saturating_sub(1);
        if batch.left > 0 {
            return;
        }
        let batch = self.batches.remove(&number).unwrap_or_default();
        // JSON-RPC 2.0 §6: nothing is sent for a batch of notifications.
        if !batch.answers.is_empty() {
            out.push(format!("[{}]", batch.answers.join(",")).into());
        }
    }
}

impl Batch {
    fn hold(&mut self, text: String, id: &str) {
        let bytes = self.bytes.saturating_add(text.len());
        let text = if bytes <= MAX_HELD {
            text
        } else {
            let detail = format!(
                "the answers of the batch exceed {MAX_HELD} bytes; ask for this one by itself"
            );
            answer(id, &Err(Failure::too_large(detail)))
        };
        self.bytes = self.bytes.saturating_add(text.len());
        self.answers.push(text);
    }
}
