//! Callers that are not connections, such as requests to the HTTP API: each waits for one reply of
//! the engine.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use offhook_engine::{
    CallerId, CallerReply, Command, Engine, ErrorCode, Now, Publisher, Refusal, Reply, SessionId,
};
use tokio::sync::oneshot;

use super::{Worker, now};

/// Callers waiting for a reply. The engine replies to each of them in time, so that none stays here
/// forever.
#[derive(Debug, Default)]
pub(super) struct Callers {
    waiting: HashMap<CallerId, oneshot::Sender<CallerReply>>,
    /// Callers with several commands. Each command has an id of its own; these are the first ones.
    batches: BTreeMap<CallerId, Batch>,
    next: u64,
}

/// Commands of one caller, which waits for the replies to all of them.
#[derive(Debug)]
struct Batch {
    /// In the order of the commands.
    replies: Vec<Option<Reply>>,
    missing: usize,
    /// Gets the replies once they are complete.
    done: oneshot::Sender<Vec<Option<Reply>>>,
}

/// The reply to a command that was not carried out because the server is stopping.
pub(crate) fn going_away() -> Reply {
    let detail = "the server is going away";
    Reply::Refused(Refusal::new(ErrorCode::Draining, detail))
}

impl Callers {
    fn add(&mut self) -> (CallerId, oneshot::Receiver<CallerReply>) {
        let caller = CallerId(self.next);
        self.next += 1;
        let (reply, replied) = oneshot::channel();
        self.waiting.insert(caller, reply);
        (caller, replied)
    }

    /// Passes on the engine's replies.
    pub(super) fn reply(&mut self, engine: &mut Engine) {
        while let Some((caller, reply)) = engine.poll_caller_reply() {
            match self.waiting.remove(&caller) {
                // A caller that no longer waits is not told.
                Some(waiting) => drop(waiting.send(reply)),
                None => self.reply_in_batch(caller, reply),
            }
        }
    }

    /// Adds a batch of which these ids belong to the commands.
    fn add_batch(&mut self, first: u64) -> oneshot::Receiver<Vec<Option<Reply>>> {
        let (done, replied) = oneshot::channel();
        let missing = usize::try_from(self.next - first).unwrap_or(usize::MAX);
        let mut replies = Vec::new();
        replies.resize_with(missing, || None);
        let batch = Batch {
            replies,
            missing,
            done,
        };
        if missing == 0 {
            batch.end();
        } else {
            self.batches.insert(CallerId(first), batch);
        }
        replied
    }

    fn reply_in_batch(&mut self, caller: CallerId, reply: CallerReply) {
        let Some((first, batch)) = self.batches.range_mut(..=caller).next_back() else {
            return;
        };
        let first = *first;
        let number = usize::try_from(caller.0 - first.0).unwrap_or(usize::MAX);
        let Some(place) = batch
            .replies
            .get_mut(number)
            .filter(|place| place.is_none())
        else {
            return;
        };
        *place = Some(match reply {
            CallerReply::Reply(reply) => reply,
            CallerReply::Admitted(_) | CallerReply::Session(_) => going_away(),
        });
        batch.missing -= 1;
        if batch.missing == 0
            && let Some(batch) = self.batches.remove(&first)
        {
            batch.end();
        }
    }
}

impl Batch {
    fn end(self) {
        // A caller that no longer waits is not told.
        let _gone = self.done.send(self.replies);
    }
}

impl Worker {
    /// Sends the engine a question for a caller that is not a connection. The receiver gets the
    /// reply.
    pub(super) fn call(
        self: &Rc<Self>,
        ask: impl FnOnce(&mut Engine, CallerId, Now),
    ) -> oneshot::Receiver<CallerReply> {
        let mut state = self.state.borrow_mut();
        let (caller, replied) = state.callers.add();
        let now = now();
        ask(&mut state.engine, caller, now);
        self.carry_out_at(state, now);
        replied
    }

    /// Carries out commands in the server's own name, all in one turn, and returns the replies: one for
    /// each, in the same order.
    pub(crate) async fn command(self: &Rc<Self>, commands: Vec<Command>) -> Vec<Reply> {
        let commands = commands.into_iter().map(|command| (command, None));
        self.command_for(commands).await
    }

    /// The same, where a publish may be in the name of a session: that does not receive it if it
    /// excludes its own publications.
    pub(crate) async fn command_for(
        self: &Rc<Self>,
        commands: impl ExactSizeIterator<Item = (Command, Option<SessionId>)>,
    ) -> Vec<Reply> {
        let count = commands.len();
        let replied = {
            let mut state = self.state.borrow_mut();
            let now = now();
            let first = state.callers.next;
            for (command, session) in commands {
                if let Command::Publish { channel, .. } = &command {
                    state.busiest.published(channel);
                }
                let caller = CallerId(state.callers.next);
                state.callers.next += 1;
                let engine = &mut state.engine;
                match session {
                    None => engine.handle_caller(caller, None, command, now),
                    Some(session) => {
                        let user = "".into();
                        let publisher = Publisher { session, user };
                        engine.handle_caller_for(caller, publisher, command, now);
                    }
                }
            }
            let replied = state.callers.add_batch(first);
            self.carry_out_at(state, now);
            replied
        };
        let Ok(replies) = replied.await else {
            return (0..count).map(|_| going_away()).collect();
        };
        let replies = replies.into_iter();
        replies
            .map(|reply| reply.unwrap_or_else(going_away))
            .collect()
    }

    /// Whether the server could publish this: see [`Engine::check_publish`](offhook_engine::Engine).
    pub(crate) fn check_publish(&self, command: &Command) -> Result<(), Refusal> {
        let Command::Publish { channel, data, .. } = command else {
            return Ok(());
        };
        self.state.borrow().engine.check_publish(channel, data)
    }
}
