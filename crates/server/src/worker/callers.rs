//! Callers that are not connections, such as requests to the HTTP API: each waits for one reply of
//! the engine.

use std::{collections::HashMap, rc::Rc};

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
        let now = now();
        ask(&mut state.engine, caller, now);
        self.carry_out_at(state, now);
        replied
    }

    /// Carries out commands in the server's own name, all in one turn, and returns the replies in the
    /// same order.
    pub(crate) async fn command(self: &Rc<Self>, commands: Vec<Command>) -> Vec<Reply> {
        let commands = commands.into_iter().map(|command| (command, None));
        self.command_for(commands.collect()).await
    }

    /// The same, where a publish may be in the name of a session: that does not receive it if it
    /// excludes its own publications.
    pub(crate) async fn command_for(
        self: &Rc<Self>,
        commands: Vec<(Command, Option<SessionId>)>,
    ) -> Vec<Reply> {
        let mut replied = Vec::with_capacity(commands.len());
        {
            let mut state = self.state.borrow_mut();
            let now = now();
            for (command, session) in commands {
                if let Command::Publish { channel, .. } = &command {
                    state.busiest.published(channel);
                }
                let (caller, reply) = state.callers.add();
                replied.push(reply);
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
            self.carry_out_at(state, now);
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

    /// Whether the server could publish this: see [`Engine::check_publish`](offhook_engine::Engine).
    pub(crate) fn check_publish(&self, command: &Command) -> Result<(), Refusal> {
        let Command::Publish { channel, data, .. } = command else {
            return Ok(());
        };
        self.state.borrow().engine.check_publish(channel, data)
    }
}
