//! A transport that is an in-memory list: messages count as unsent until the test takes them.

use std::{
    cell::{Cell, RefCell},
    mem,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use offhook::protocol::CloseCode;
use offhook_dialects::Incoming;
use offhook_engine::{BrokerEvent, CloseReason};
use tokio::{
    sync::Notify,
    task::{LocalSet, spawn_local, yield_now},
};

use super::{
    super::{
        connection::{Connection, Taken},
        memory::Pressure,
        outlet::{Gone, Kind, Outlet, Transport},
    },
    connect, worker,
};

#[derive(Debug, Default)]
pub(super) struct List {
    unsent: RefCell<Vec<String>>,
    /// There is room below so many unsent bytes; once it is empty by default.
    pub(super) room: Cell<usize>,
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

    pub(super) async fn until(&self, what: &str) -> Vec<String> {
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
        if self.unsent() <= self.room.get() {
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
async fn other_transports_have_the_same_backpressure_as_websockets() {
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
            // One after another, since a connection's rate allows no more at once.
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

#[tokio::test(flavor = "current_thread")]
async fn while_memory_is_short_a_connection_that_does_not_read_gets_no_more_publications() {
    let test = async {
        let (worker, _phase) = worker();
        spawn_local(Rc::clone(&worker).take_mail());
        let publisher = Rc::new(List::default());
        let mut publisher = connect(&worker, publisher.outlet());
        let data = "x".repeat(8 * 1024);
        const COUNT: usize = 100;
        for n in 0..COUNT {
            let publish =
                format!(r#"{{"type":"publish","id":{n},"channel":"chat","data":"{data}"}}"#);
            publisher.receive(Incoming::Text(&publish));
            while worker.state.borrow().engine.unanswered(publisher.id()) > 0 {
                yield_now().await;
            }
        }
        let configured = worker.shared.config.messages.outbox_bytes;
        // As a WebSocket does, it has room as soon as half of the configured bound is unsent.
        let list = Rc::new(List::default());
        list.room.set(configured / 2);
        let mut connection = connect(&worker, list.outlet());
        connection.receive(Incoming::Text(
            r#"{"type":"subscribe","id":2,"channel":"chat","since":"start"}"#,
        ));
        // Everything but a pause is done by then: nothing here waits for anything else.
        let settle = async || {
            for _ in 0..1_000 {
                yield_now().await;
            }
        };
        settle().await;
        let mut all = list.take();
        worker
            .state
            .borrow_mut()
            .outboxes
            .set_pressure(Pressure::Severe);
        let bound = worker.state.borrow().outboxes.bound();
        settle().await;
        let unsent = list.unsent();
        assert!((1..=2 * bound).contains(&unsent), "{unsent} of {bound}");

        // Memory is there again, and the client reads.
        worker
            .state
            .borrow_mut()
            .outboxes
            .set_pressure(Pressure::Low);
        all.extend(list.until(r#""type":"live""#).await);
        let is_message = |text: &&String| text.starts_with(r#"{"type":"message""#);
        let messages = all.iter().filter(is_message).count();
        assert_eq!(messages, COUNT, "all the same, nothing is lost");
    };
    LocalSet::new().run_until(test).await;
}

/// Before, sixty of them were served before a ping of another connection was read, which took up to
/// 30 ms.
#[tokio::test(flavor = "current_thread")]
async fn a_crowd_that_is_behind_is_served_in_small_parts() {
    const CROWD: usize = 100;
    const COUNT: usize = 100;
    let test = async {
        let (worker, _phase) = worker();
        spawn_local(Rc::clone(&worker).take_mail());
        let publisher = Rc::new(List::default());
        let mut publisher = connect(&worker, publisher.outlet());
        let data = "x".repeat(8 * 1024);
        for n in 0..COUNT {
            let publish =
                format!(r#"{{"type":"publish","id":{n},"channel":"chat","data":"{data}"}}"#);
            publisher.receive(Incoming::Text(&publish));
            while worker.state.borrow().engine.unanswered(publisher.id()) > 0 {
                yield_now().await;
            }
        }
        let half = worker.state.borrow().outboxes.bound() / 2;
        let lists: Vec<_> = (0..CROWD).map(|_| Rc::new(List::default())).collect();
        let mut connections: Vec<_> = lists
            .iter()
            .map(|list| connect(&worker, list.outlet()))
            .collect();
        for connection in &mut connections {
            connection.receive(Incoming::Text(
                r#"{"type":"subscribe","id":2,"channel":"chat","since":"start"}"#,
            ));
        }
        let is_message = |text: &&String| text.starts_with(r#"{"type":"message""#);
        let mut received = [0; CROWD];
        while received.iter().any(|count| *count < COUNT) {
            let mut part = 0;
            for (list, received) in lists.iter().zip(&mut received) {
                part += list.unsent();
                *received += list.take().iter().filter(is_message).count();
            }
            assert!(part <= 12 * half, "{part} bytes in one part");
            yield_now().await;
        }
        assert_eq!(received, [COUNT; CROWD], "nothing twice");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_list_of_members_that_fills_the_outbox_does_not_end_catching_up() {
    let test = async {
        let (worker, _phase) = worker();
        spawn_local(Rc::clone(&worker).take_mail());
        let publisher = Rc::new(List::default());
        let mut publisher = connect(&worker, publisher.outlet());
        let data = "x".repeat(8 * 1024);
        const COUNT: usize = 100;
        for n in 0..COUNT {
            let publish =
                format!(r#"{{"type":"publish","id":{n},"channel":"chat","data":"{data}"}}"#);
            publisher.receive(Incoming::Text(&publish));
            while worker.state.borrow().engine.unanswered(publisher.id()) > 0 {
                yield_now().await;
            }
        }
        let join = r#"{"type":"subscribe","id":2,"channel":"crowd"}"#;
        let members: Vec<_> = (0..400)
            .map(|_| {
                let list = Rc::new(List::default());
                let mut member = connect(&worker, list.outlet());
                member.receive(Incoming::Text(join));
                (list, member)
            })
            .collect();

        let list = Rc::new(List::default());
        let mut connection = connect(&worker, list.outlet());
        connection.receive(Incoming::Text(
            r#"{"type":"subscribe","id":2,"channel":"chat","since":"start"}"#,
        ));
        let settle = async || {
            for _ in 0..1_000 {
                yield_now().await;
            }
        };
        settle().await;
        // Less is granted now than the list takes, which arrives between two pages of history.
        let short = Pressure::Severe;
        worker.state.borrow_mut().outboxes.set_pressure(short);
        connection.receive(Incoming::Text(
            r#"{"type":"subscribe","id":3,"channel":"crowd","presence":true}"#,
        ));
        let mut all = Vec::new();
        for _ in 0..2 * COUNT {
            settle().await;
            all.extend(list.take());
        }
        let count = |start: &str| all.iter().filter(|text| text.starts_with(start)).count();
        assert_eq!(count(r#"{"type":"members""#), 1, "it takes part");
        assert_eq!(count(r#"{"type":"message""#), COUNT);
        drop(members);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_is_read_again_once_its_large_answer_is_queued() {
    let (worker, _phase) = worker();
    let list = Rc::new(List::default());
    let mut connection = connect(&worker, list.outlet());
    let receive = |connection: &mut Connection, text| connection.receive(Incoming::Text(text));
    let history = r#"{"type":"history","id":2,"channel":"chat"}"#;
    let publish = r#"{"type":"publish","id":3,"channel":"other","data":1}"#;
    assert_eq!(receive(&mut connection, publish), Taken::Done);
    assert_eq!(receive(&mut connection, history), Taken::AwaitsAnswer);
    // The disk is slow: only the history has been read.
    let mailbox = Arc::clone(&worker.state.borrow().mailbox);
    let mut events = mailbox.take().into_iter();
    let read = events.find(|event| matches!(event, BrokerEvent::History { .. }));
    worker.take_events(&mut read.into_iter());
    worker.answered(connection.id()).await;
    assert_eq!(worker.state.borrow().engine.unanswered(connection.id()), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_closed_connection_does_not_wait_for_answers() {
    let (worker, _phase) = worker();
    let list = Rc::new(List::default());
    let mut connection = connect(&worker, list.outlet());
    let history = r#"{"type":"history","id":2,"channel":"chat"}"#;
    assert_eq!(
        connection.receive(Incoming::Text(history)),
        Taken::AwaitsAnswer
    );
    let waiting = worker.answered(connection.id());
    let closing = async { worker.close_connection(connection.id(), CloseReason::Replaced) };
    tokio::join!(waiting, closing);
}
