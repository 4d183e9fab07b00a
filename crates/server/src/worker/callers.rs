//! Callers that are no connections, such as requests to the HTTP API: their commands, and who waits
//! for the replies.

use std::{collections::HashMap, rc::Rc};

use offhook_engine::{CallerId, CallerReply, Command, ErrorCode, Refusal, Reply};
use tokio::sync::oneshot;

use super::{State, Worker};

/// Who waits for a reply of the engine. Each command gets exactly one, so that none stays.
#[derive(Debug, Default)]
pub(super) struct Callers {
    waiting: HashMap<CallerId, oneshot::Sender<CallerReply>>,
    last: u64,
}

impl Callers {
    fn begin(&mut self) -> (CallerId, oneshot::Receiver<CallerReply>) {
        self.last += 1;
        let (caller, (done, reply)) = (CallerId(self.last), oneshot::channel());
        self.waiting.insert(caller, done);
        (caller, reply)
    }
}

impl State {
    /// Hands out what the engine has for callers.
    pub(super) fn answer_callers(&mut self) {
        while let Some((caller, reply)) = self.engine.poll_caller_reply() {
            if let Some(done) = self.callers.waiting.remove(&caller) {
                // A request whose connection has gone is not waited for any more.
                let _gone = done.send(reply);
            }
        }
    }
}

impl Worker {
    /// Has commands carried out in the server's own name, all in one turn; gives the replies in their
    /// order.
    pub(crate) async fn command(self: &Rc<Self>, commands: Vec<Command>) -> Vec<Reply> {
        let waiting: Vec<_> = {
            let callers = &mut self.state.borrow_mut().callers;
            commands.iter().map(|_| callers.begin()).collect()
        };
        self.turn(|engine, now| {
            for (command, (caller, _)) in commands.into_iter().zip(&waiting) {
                engine.handle_caller(*caller, None, command, now);
            }
        });
        let mut replies = Vec::with_capacity(waiting.len());
        for (_, reply) in waiting {
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
