//! Requests of other threads to a worker: from another worker, or from the server's side.

use std::{
    mem,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use offhook_engine::{
    ChannelName, CloseReason, ConnectionId, Format, Notice, Refusal, SessionId, Subscribe,
    SubscriptionKey, Verdict, VerdictId, Whom,
};
use tokio::{
    sync::{Notify, oneshot},
    task::spawn_local,
};

use super::{
    CarriedId, Carry, Known, Live, Question, State, Top, Worker,
    explaining::leaver,
    now,
    queues::{FromQueue, ToQueue},
};
use crate::directory::Place;

/// A request to a worker.
#[derive(Debug)]
pub(crate) enum Order {
    /// Close a connection whose session moved to another one.
    Replace(ConnectionId),
    /// The backend has decided about a question, or has not answered.
    Verdict { id: VerdictId, verdict: Verdict },
    /// Serve a request of a connection over requests.
    Carry { id: CarriedId, carry: Carry },
    /// Pass something on to a queue of this worker.
    ToQueue { queue: ChannelName, what: ToQueue },
    /// Pass something on from a queue to a connection of this worker.
    FromQueue {
        connection: ConnectionId,
        what: FromQueue,
    },
    /// Report the sessions of a user.
    List {
        user: Arc<str>,
        done: oneshot::Sender<Vec<SessionId>>,
    },
    /// Report what is known of connections.
    Know {
        question: Arc<Question>,
        done: oneshot::Sender<Known>,
    },
    /// Report the slowest connections and the busiest channels.
    Top {
        limit: usize,
        done: oneshot::Sender<Top>,
    },
    /// Apply other settings, and report that.
    Apply {
        live: Arc<Live>,
        done: oneshot::Sender<()>,
    },
    /// Tell subscribers how many their channels have, and report that.
    Counted {
        counts: Arc<[(ChannelName, u64)]>,
        done: oneshot::Sender<()>,
    },
    /// Act on sessions, and report how many there were.
    Run {
        whom: Whom,
        errand: Errand,
        done: oneshot::Sender<usize>,
    },
}

/// An action of the server on sessions.
#[derive(Clone, Debug)]
pub(crate) enum Errand {
    Tell {
        data: Bytes,
        format: Format,
    },
    Subscribe(Subscribe),
    Unsubscribe {
        subscription: SubscriptionKey,
        why: Refusal,
    },
    /// With a code and a reason of the backend's own, or with those of `disconnected`.
    Disconnect(Option<Goodbye>),
    /// The session moves to another connection, or ends because the client starts a new one.
    Replace {
        ends: bool,
    },
}

/// A code and a reason with which the server's side closes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Goodbye {
    pub(crate) code: u16,
    pub(crate) reason: Box<str>,
}

/// The requests to all workers, by worker.
#[derive(Debug)]
pub(crate) struct Orders(Box<[Inbox]>);

/// Requests that one worker has not handled yet. Their number is limited, since each request
/// concerns a connection of the worker, or answers a question of its engine.
#[derive(Debug)]
struct Inbox {
    /// None once the worker has ended: dropping a request informs its sender.
    orders: Mutex<Option<Vec<Order>>>,
    wake: Arc<Notify>,
}

impl Inbox {
    fn new() -> Self {
        Self {
            orders: Mutex::new(Some(Vec::new())),
            wake: Arc::default(),
        }
    }

    fn orders(&self) -> MutexGuard<'_, Option<Vec<Order>>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Orders {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Inbox::new()).collect())
    }

    /// Sends a request to a worker.
    pub(crate) fn give(&self, worker: u16, order: Order) {
        if let Some(inbox) = self.0.get(usize::from(worker))
            && let Some(orders) = &mut *inbox.orders()
        {
            orders.push(order);
            inbox.wake.notify_one();
        }
    }

    /// The worker has ended: present and future requests are dropped.
    pub(super) fn close(&self, worker: u16) {
        if let Some(inbox) = self.0.get(usize::from(worker)) {
            drop(inbox.orders().take());
        }
    }

    /// The number of workers.
    pub(crate) fn workers(&self) -> u16 {
        u16::try_from(self.0.len()).unwrap_or(u16::MAX)
    }

    fn take(&self, worker: u16) -> Vec<Order> {
        let inbox = self.0.get(usize::from(worker));
        let orders = inbox.and_then(|inbox| inbox.orders().as_mut().map(mem::take));
        orders.unwrap_or_default()
    }

    fn wake(&self, worker: u16) -> Arc<Notify> {
        let inbox = self.0.get(usize::from(worker));
        inbox.map_or_else(Arc::default, |inbox| Arc::clone(&inbox.wake))
    }
}

impl Worker {
    /// Carries out requests until the worker ends.
    pub(super) async fn take_orders(self: Rc<Self>) {
        let wake = self.shared.orders.wake(self.number);
        loop {
            wake.notified().await;
            for order in self.shared.orders.take(self.number) {
                match order {
                    Order::Replace(connection) => self.replace(connection),
                    Order::Verdict { id, verdict } => {
                        self.turn(|engine, now| engine.handle_verdict(id, verdict, now));
                    }
                    Order::Carry { id, carry } => self.take_carry(id, carry),
                    Order::ToQueue { queue, what } => self.take_to_queue(queue, what),
                    Order::FromQueue { connection, what } => {
                        self.take_from_queue(connection, what);
                    }
                    Order::List { user, done } => {
                        let whom = Whom::User(user);
                        let sessions = self.state.borrow().engine.sessions_of(&whom);
                        let _gone = done.send(sessions);
                    }
                    Order::Know { question, done } => {
                        let _gone = done.send(self.know(&question));
                    }
                    Order::Top { limit, done } => {
                        let _gone = done.send(self.top(limit));
                    }
                    Order::Apply { live, done } => self.renew(live, done),
                    Order::Counted { counts, done } => {
                        spawn_local(Rc::clone(&self).tell_counts(counts, done));
                    }
                    Order::Run { whom, errand, done } => {
                        // A caller that no longer waits is not told.
                        let _gone = done.send(self.run_errand(&whom, &errand));
                    }
                }
            }
        }
    }

    fn run_errand(self: &Rc<Self>, whom: &Whom, errand: &Errand) -> usize {
        if let Errand::Disconnect(Some(goodbye)) = errand {
            let State {
                engine, outboxes, ..
            } = &mut *self.state.borrow_mut();
            for connection in engine.connections_of(whom) {
                outboxes.set_goodbye(connection, goodbye.clone());
            }
        }
        if let Errand::Replace { ends: true } = errand {
            let connections = self.state.borrow().engine.connections_of(whom);
            for connection in connections {
                self.hasten_will(connection);
            }
        }
        self.turn(|engine, now| match errand {
            Errand::Tell { data, format } => engine.tell(whom, data, *format, now),
            Errand::Subscribe(wish) => engine.subscribe_for(whom, wish, now),
            Errand::Unsubscribe { subscription, why } => {
                engine.unsubscribe_for(whom, subscription, why, now)
            }
            Errand::Disconnect(_) => engine.disconnect(whom, CloseReason::Disconnected, now),
            Errand::Replace { .. } => engine.disconnect(whom, CloseReason::Replaced, now),
        })
    }

    /// Closes the older connection of a session, whichever worker it is on.
    pub(super) fn close_replaced(self: &Rc<Self>, older: Place) {
        if older.worker == self.number {
            self.replace(older.connection);
        } else {
            let order = Order::Replace(older.connection);
            self.shared.orders.give(older.worker, order);
        }
    }

    fn replace(self: &Rc<Self>, connection: ConnectionId) {
        self.close_connection(connection, CloseReason::Replaced);
    }

    /// Closes a connection. Its session has moved to another one or is to resume: anything else
    /// that this connection sends is ignored.
    pub(super) fn close_connection(self: &Rc<Self>, connection: ConnectionId, reason: CloseReason) {
        // One that was replaced has not ended: its session is on another connection.
        if reason != CloseReason::Replaced {
            self.tell_backend("disconnected", connection);
        }
        self.quit_queues(connection);
        let mut state = self.state.borrow_mut();
        self.forget_end(&mut state, connection);
        let session = state.engine.session(connection);
        let notice = Notice::Close { reason };
        {
            let State {
                engine,
                outboxes,
                recorder,
                ..
            } = &mut *state;
            self.note_notice(engine, outboxes, connection, &notice);
            if let Some(leaver) = leaver(engine, outboxes, connection) {
                recorder.closed(connection, reason.name(), leaver, now().unix_ms);
            }
            outboxes.notice(connection, &notice);
        }
        state.outboxes.remove(connection);
        state.engine.handle_connection_lost(connection);
        self.carry_out(state);
        // Only now: who resumes the session elsewhere must find what was just stored.
        if let Some(session) = session {
            self.shared.directory.left(session, self.place(connection));
        }
    }
}
