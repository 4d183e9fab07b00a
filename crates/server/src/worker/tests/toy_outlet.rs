//! A transport that is a list in memory: what it was given counts as unsent until its test takes it.

use std::{
    cell::RefCell,
    mem,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use offhook::protocol::CloseCode;
use offhook_dialects::Incoming;
use tokio::{
    sync::Notify,
    task::{LocalSet, spawn_local, yield_now},
};

use super::{
    super::outlet::{Gone, Kind, Outlet, Transport},
    connect, worker,
};

#[derive(Debug, Default)]
pub(super) struct List {
    unsent: RefCell<Vec<String>>,
    closed: RefCell<Option<(CloseCode, String)>>,
    waiting: RefCell<Option<Waker>>,
    put: Notify,
}

impl List {
    pub(super) fn outlet(self: &Rc<Self>) -> Outlet {
        Outlet::Other(Rc::<Self>::clone(self))
    }

    /// Sends everything.
    pub(super) fn take(&self) -> Vec<String> {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        mem::take(&mut self.unsent.borrow_mut())
    }

    /// How it was closed, if it was.
    pub(super) fn closed(&self) -> Option<(CloseCode, String)> {
        self.closed.borrow().clone()
    }

    /// How many messages it was given and not taken.
    pub(super) fn count(&self) -> usize {
        self.unsent.borrow().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unsent.borrow().is_empty()
    }

    async fn until(&self, what: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            all.extend(self.take());
            if all.iter().any(|message| message.contains(what)) {
                return all;
            }
            self.put.notified().await;
        }
    }
}

impl Transport for List {
    fn put(&self, _kind: Kind, message: &[u8]) -> Result<usize, Gone> {
        if self.closed.borrow().is_some() {
            return Err(Gone);
        }
        let text = String::from_utf8_lossy(message).into_owned();
        self.unsent.borrow_mut().push(text);
        self.put.notify_one();
        Ok(self.unsent())
    }

    fn unsent(&self) -> usize {
        self.unsent.borrow().iter().map(String::len).sum()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.unsent.borrow().is_empty() {
            return Poll::Ready(Ok(()));
        }
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn close(&self, code: CloseCode, reason: &str) {
        *self.closed.borrow_mut() = Some((code, reason.to_owned()));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_transport_that_is_no_websocket_is_served_and_slowed_down_like_one() {
    let test = async {
        let (worker, _phase) = worker();
        spawn_local(Rc::clone(&worker).take_mail());
        let bound = worker.shared.config.messages.outbox_bytes;
        let list = Rc::new(List::default());
        let mut connection = connect(&worker, list.outlet());
        connection.receive(Incoming::Text(
            r#"{"type":"subscribe","id":2,"channel":"chat"}"#,
        ));
        list.until(r#""type":"subscribed""#).await;

        // What does not fit waits in the history, not in the outlet.
        let data = "x".repeat(16 * 1024);
        let count = 2 * bound / data.len();
        for n in 0..count {
            let id = 10 + n;
            let publish =
                format!(r#"{{"type":"publish","id":{id},"channel":"chat","data":"{data}"}}"#);
            connection.receive(Incoming::Text(&publish));
            // One after the other, since a connection's rate allows no more at once.
            while worker.state.borrow().engine.unanswered(connection.id()) > 0 {
                yield_now().await;
            }
            assert!(
                list.unsent() < bound + 32 * (data.len() + 512),
                "{}",
                list.unsent()
            );
        }
        let all = list.until(r#""type":"live""#).await;
        let messages = all
            .iter()
            .filter(|m| m.starts_with(r#"{"type":"message""#))
            .count();
        assert_eq!(messages, count);
        assert!(
            all.iter()
                .any(|m| m.starts_with(r#"{"type":"catching_up""#))
        );

        connection.leave();
        drop(connection);
        assert_eq!(worker.state.borrow().engine.connections(), 0);
    };
    LocalSet::new().run_until(test).await;
}
