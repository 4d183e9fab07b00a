//! Unanswered requests, and the batches that their answers complete.

use std::collections::HashMap;

use offhook_engine::{ChannelName, CommandId};

use super::answer::{Failure, answer};
use crate::{dialect::Payload, json::Object};

/// The maximum size of a batch's answers. 1 MiB: as much as a message may have. Requests beyond it
/// must be sent outside of a batch.
const MAX_HELD: usize = 1024 * 1024;

/// The purpose of a command.
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
    /// Refuses a request that has no command.
    Nothing(Failure),
}

/// An unanswered request.
#[derive(Debug)]
struct Call {
    /// None for a notification.
    id: Option<String>,
    batch: Option<u64>,
    /// The number of commands that it still waits for.
    left: usize,
    /// For `rpc.on` and `rpc.off`: the result of each channel.
    events: Vec<(Box<str>, bool)>,
}

/// The requests of an array, which are answered together.
#[derive(Debug, Default)]
struct Batch {
    /// The number of unanswered requests.
    left: usize,
    answers: Vec<String>,
    bytes: usize,
}

/// Identifies an unanswered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallId(u64);

/// Identifies a batch.
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
    /// Whether requests are unanswered.
    pub(super) fn awaits_any(&self) -> bool {
        !self.calls.is_empty()
    }

    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// A batch with this many requests.
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

    /// A request waits for a channel that another one has asked for: see [`event`](Self::event).
    pub(super) fn joins(&mut self, call: CallId) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.left = call.left.saturating_add(1);
        }
    }

    /// The number of a command whose reply is ignored.
    pub(super) fn unanswered(&mut self) -> CommandId {
        CommandId(self.number())
    }

    /// The purpose of a command, once its reply has arrived.
    pub(super) fn replied(&mut self, id: CommandId) -> Option<(CallId, Purpose)> {
        self.commands.remove(&id)
    }

    /// Records the result of one of the channels of `rpc.on` or `rpc.off`; the last one completes
    /// the answer.
    pub(super) fn event(&mut self, call: CallId, channel: &str, ok: bool, out: &mut Vec<Payload>) {
        let Some(state) = self.calls.get_mut(&call) else {
            return;
        };
        state.events.push((channel.into(), ok));
        state.left = state.left.saturating_sub(1);
        self.complete(call, out);
    }

    /// Answers `rpc.on` or `rpc.off` if no result is outstanding.
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
            object.foreign(channel, word)
        });
        self.answer(call, &Ok(result.end()), out);
    }

    /// Records a channel of `rpc.on` or `rpc.off` that needs no command.
    pub(super) fn noted(&mut self, call: CallId, channel: Box<str>, ok: bool) {
        if let Some(state) = self.calls.get_mut(&call) {
            state.events.push((channel, ok));
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
                "the answers of the batch exceed {MAX_HELD} bytes; send this request separately"
            );
            answer(id, &Err(Failure::too_large(detail)))
        };
        self.bytes = self.bytes.saturating_add(text.len());
        self.answers.push(text);
    }
}
