//! Callers of the engine that are no connections: each waits for one reply.

use std::{collections::HashMap, rc::Rc};

use offhook_engine::{CallerId, CallerReply, Engine, Now};
use tokio::sync::oneshot;

use super::{Worker, now};

/// Those who wait for a reply. The engine replies to everyone in time, so that nobody stays here.
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

    /// Gives everyone the reply that the engine has for them.
    pub(super) fn reply(&mut self, engine: &mut Engine) {
        while let Some((caller, reply)) = engine.poll_caller_reply() {
            if let Some(waiting) = self.waiting.remove(&caller) {
                // A caller that waits no longer is not told.
                let _gone = waiting.send(reply);
            }
        }
    }
}

impl Worker {
    /// Asks the engine something for a caller that is no connection. The receiver gets the reply.
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
}
