//! Callers that are not connections, such as requests to the HTTP API: each waits for one reply of
//! the engine.

use std::{collections::HashMap, rc::Rc};

use offhook_engine::{CallerId, CallerReply, Command, Engine, ErrorCode, Now, Refusal, Reply};
use tokio::sync::oneshot;

use super::{Worker, now};

/// Callers waiting for a reply. The engine replies to each of them in time, so that none stays here
/// forever.
#[derive(Debug, Default)]
pub(super) struct Callers {
    waiting: HashMap<CallerId, oneshot::Sender<CallerReply>>,
    next: u64,
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
            if let Some(waiting) = self.waiting.remove(&caller) {
                // A caller that no longer waits is not told.
                let _gone = waiting.send(reply);
            }
        }
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
        ask(&mut state.engine, caller, now());
        self.carry_out(state);
        replied
    }

    /// Carries out commands in the server's own name, all in one turn, and returns the replies in the
    /// same order.
    pub(crate) async fn command(self: &Rc<Self>, commands: Vec<Command>) -> Vec<Reply> {
        let mut replied = Vec::with_capacity(commands.len());
        {
            let mut state = self.state.borrow_mut();
            let now = now();
            for command in commands {
                if let Command::Publish { channel, .. } = &command {
                    state.busiest.published(channel);
                }
                let (caller, reply) = state.callers.add();
                replied.push(reply);
                state.engine.handle_caller(caller, None, command, now);
            }
            self.carry_out(state);
        }
        let mut replies = Vec::with_capacity(replied.len());
        for reply in replied {
            replies.push(match reply.await {
                Ok(CallerReply::Reply(reply)) => reply,
                Ok(CallerReply::Admitted(_) | CallerReply::Session(_)) | Err(_) => {
                    let detail = "the server is going away";
                    Reply::Refused(Refusal::new(ErrorCode::Draining, detail))
                }
            });
        }
        replies
    }
}
