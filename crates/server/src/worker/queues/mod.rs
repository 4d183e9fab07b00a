//! Queues: channels whose publications are shared among consumers, each delivered until one of them
//! has processed it.
//!
//! Each queue is hosted by one worker, chosen by its name, as long as it has consumers. They may be
//! on any worker: they and their queue exchange [`Order`]s.
//!
//! ```text
//! dialect ── Intent ──▶ worker of the consumer ── ToQueue ──▶ worker of the queue ── Sharing
//!         ◀── queued ──                        ◀─ FromQueue ─                        ▲
//!                                                             engine ── Host::head ──┘
//! ```

mod counts;
mod host;
mod sharing;

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use offhook_dialects::Intent;
use offhook_engine::{
    Arrival, ChannelName, Command, CommandId, ConnectionId, Notice, Position, Refusal, Reply,
    SessionSnapshot, Since, Subscribe, SubscriptionId, SubscriptionKey, SubscriptionName, Whom,
};
use tokio::task::spawn_local;

use self::{
    counts::Counts,
    host::{Host, Hosting, NoTransport, Unencoded},
    sharing::{Consumer, Queued, Sharing},
};
use super::{
    Lease, Order, Speaker, Worker, naming::session_of, now, outboxes::Outboxes, outlet::Outlet,
};

/// The user in the names of queues' sessions. No user has such a name.
const USER: &str = "\0queue";
/// How many messages of a queue may be with its consumers, or wait for them in memory. 256: enough for
/// four consumers that set no window, and 16 MiB of the largest messages.
const WINDOW: u16 = 256;
/// The id of the subscription of a queue's session.
const SUBSCRIPTION: SubscriptionId = SubscriptionId(0);

/// The queues that this worker hosts, and those that its connections consume.
#[derive(Debug, Default)]
pub(super) struct Queues {
    hosted: RefCell<HashMap<ChannelName, Hosted>>,
    consumed: RefCell<HashMap<ConnectionId, HashMap<SubscriptionId, ChannelName>>>,
    /// Messages that wait until there is room in the outbox of their consumer.
    held: RefCell<HashMap<ConnectionId, VecDeque<(SubscriptionId, Queued)>>>,
}

#[derive(Debug)]
enum Hosted {
    /// The queue's session is being loaded; these consumers wait for it.
    Opening(Vec<Join>),
    Open(Open),
}

#[derive(Debug)]
struct Open {
    hosting: Hosting,
    /// The connection of its session.
    connection: ConnectionId,
    _lease: Lease,
}

/// A consumer that wants to join a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    consumer: Consumer,
    /// The id of the answer.
    id: CommandId,
    window: u16,
}

/// What a consumer's worker tells a queue.
#[derive(Debug)]
pub(crate) enum ToQueue {
    Join(Join),
    Settle {
        consumer: Consumer,
        place: Position,
        processed: bool,
    },
    Quit(Consumer),
    /// Its subscription has ended.
    Failed(Refusal),
}

/// What a queue tells a connection that consumes it.
#[derive(Debug)]
pub(crate) enum FromQueue {
    Joined(CommandId),
    Refused(CommandId, Refusal),
    Message {
        subscription: SubscriptionId,
        message: Queued,
    },
    /// The consumer receives nothing more.
    Ended {
        queue: ChannelName,
        subscription: SubscriptionId,
        why: Refusal,
    },
}

impl Worker {
    /// The worker that hosts a queue.
    fn host_of(&self, queue: &ChannelName) -> u16 {
        let mut hasher = DefaultHasher::new();
        queue.hash(&mut hasher);
        let workers = u64::from(self.shared.orders.workers().max(1));
        u16::try_from(hasher.finish() % workers).unwrap_or_default()
    }

    fn tell_queue(&self, queue: ChannelName, what: ToQueue) {
        let worker = self.host_of(&queue);
        self.shared
            .orders
            .give(worker, Order::ToQueue { queue, what });
    }

    fn consumer(&self, connection: ConnectionId, subscription: SubscriptionId) -> Consumer {
        Consumer {
            worker: self.number,
            connection,
            subscription,
        }
    }

    /// Carries out an intent of a dialect that concerns a queue.
    pub(super) fn ask_queue(
        &self,
        outboxes: &mut Outboxes,
        connection: ConnectionId,
        intent: Intent,
    ) {
        let mut consumed = self.queues.consumed.borrow_mut();
        if let Intent::Consume {
            id,
            queue,
            subscription,
            window,
        } = intent
        {
            let consumer = self.consumer(connection, subscription);
            let ours = consumed.entry(connection).or_default();
            ours.insert(subscription, queue.clone());
            let join = Join {
                consumer,
                id,
                window,
            };
            self.tell_queue(queue, ToQueue::Join(join));
        } else if let Intent::Settle {
            subscription,
            place,
            processed,
        } = intent
        {
            let ours = consumed.get(&connection);
            if let Some(queue) = ours.and_then(|ours| ours.get(&subscription)) {
                let consumer = self.consumer(connection, subscription);
                let what = ToQueue::Settle {
                    consumer,
                    place,
                    processed,
                };
                self.settle_with_room(outboxes, queue.clone(), what);
            }
        } else if let Intent::Quit { subscription } = intent
            && let Some(ours) = consumed.get_mut(&connection)
            && let Some(queue) = ours.remove(&subscription)
        {
            let consumer = self.consumer(connection, subscription);
            self.tell_queue(queue, ToQueue::Quit(consumer));
        }
    }

    /// Tells a queue that a message was settled, once the connection has room for another one:
    /// messages that need no acknowledgement would otherwise fill an outbox without limit.
    fn settle_with_room(&self, outboxes: &mut Outboxes, queue: ChannelName, what: ToQueue) {
        let ToQueue::Settle { consumer, .. } = &what else {
            return;
        };
        let bound = self.shared.config.messages.outbox_bytes;
        let outlet = outboxes.outlet(consumer.connection);
        let full = outlet.filter(|outlet| outlet.unsent() > bound / 2);
        let Some(outlet) = full else {
            return self.tell_queue(queue, what);
        };
        let worker = self.host_of(&queue);
        let orders = Arc::clone(&self.shared.orders);
        spawn_local(async move {
            // A connection that has ended has left the queue.
            if outlet.room().await.is_ok() {
                orders.give(worker, Order::ToQueue { queue, what });
            }
        });
    }

    /// The consumers of a connection that has ended leave their queues.
    pub(super) fn quit_queues(&self, connection: ConnectionId) {
        let ours = self.queues.consumed.borrow_mut().remove(&connection);
        self.queues.held.borrow_mut().remove(&connection);
        for (subscription, queue) in ours.into_iter().flatten() {
            let consumer = self.consumer(connection, subscription);
            self.tell_queue(queue, ToQueue::Quit(consumer));
        }
    }

    /// Passes on what a queue tells a connection of this worker.
    pub(super) fn take_from_queue(self: &Rc<Self>, connection: ConnectionId, what: FromQueue) {
        let mut state = self.state.borrow_mut();
        let outboxes = &mut state.outboxes;
        let answer = |id, reply| Notice::Reply {
            id: Some(id),
            reply,
        };
        match what {
            FromQueue::Joined(id) => outboxes.notice(connection, &answer(id, Reply::Pong)),
            FromQueue::Refused(id, why) => {
                outboxes.notice(connection, &answer(id, Reply::Refused(why)));
            }
            FromQueue::Message {
                subscription,
                message,
            } => self.put_or_hold(outboxes, connection, subscription, message),
            FromQueue::Ended {
                queue,
                subscription,
                why,
            } => {
                if let Some(ours) = self.queues.consumed.borrow_mut().get_mut(&connection) {
                    ours.remove(&subscription);
                }
                let subscription = SubscriptionName {
                    target: queue.into(),
                    id: Some(subscription),
                };
                let notice = Notice::Unsubscribed {
                    subscription,
                    refusal: why,
                };
                outboxes.notice(connection, &notice);
            }
        }
        self.carry_out(state);
    }

    /// Puts a message into the outbox of its consumer, or holds it until there is room: a client that
    /// does not read must not fill the memory with what its window allows.
    fn put_or_hold(
        self: &Rc<Self>,
        outboxes: &mut Outboxes,
        connection: ConnectionId,
        subscription: SubscriptionId,
        message: Queued,
    ) {
        let bound = self.shared.config.messages.outbox_bytes;
        let Some(outlet) = outboxes.outlet(connection) else {
            return;
        };
        let mut held = self.queues.held.borrow_mut();
        if let Some(before) = held.get_mut(&connection) {
            return before.push_back((subscription, message));
        }
        if outlet.unsent() <= bound {
            let what = (message.place, message.earlier);
            return outboxes.put_queued(connection, subscription, &message.publication, what);
        }
        held.insert(connection, [(subscription, message)].into());
        spawn_local(Rc::clone(self).put_held(connection, outlet));
    }

    /// Puts the held messages of a connection whenever there is room.
    async fn put_held(self: Rc<Self>, connection: ConnectionId, outlet: Outlet) {
        let bound = self.shared.config.messages.outbox_bytes;
        // A connection that has ended holds nothing any more.
        while outlet.room().await.is_ok() {
            let mut state = self.state.borrow_mut();
            loop {
                let mut held = self.queues.held.borrow_mut();
                let next = held.get_mut(&connection).and_then(VecDeque::pop_front);
                let Some((subscription, message)) = next else {
                    held.remove(&connection);
                    drop(held);
                    return self.carry_out(state);
                };
                drop(held);
                let what = (message.place, message.earlier);
                let outboxes = &mut state.outboxes;
                outboxes.put_queued(connection, subscription, &message.publication, what);
                if outlet.unsent() > bound {
                    break;
                }
            }
            self.carry_out(state);
        }
        self.queues.held.borrow_mut().remove(&connection);
    }

    /// Passes something on to a queue that this worker hosts.
    pub(super) fn take_to_queue(self: &Rc<Self>, queue: ChannelName, what: ToQueue) {
        let mut hosted = self.queues.hosted.borrow_mut();
        match (hosted.get_mut(&queue), what) {
            (None, ToQueue::Join(join)) => {
                hosted.insert(queue.clone(), Hosted::Opening(vec![join]));
                drop(hosted);
                spawn_local(Rc::clone(self).open_queue(queue));
            }
            // It has ended, and so have its consumers.
            (None, _) => {}
            (Some(Hosted::Opening(joins)), ToQueue::Join(join)) => joins.push(join),
            (Some(Hosted::Opening(joins)), ToQueue::Quit(consumer)) => {
                joins.retain(|join| join.consumer != consumer);
            }
            // Nothing was delivered yet, and a failure is handled once it is open.
            (Some(Hosted::Opening(_)), ToQueue::Settle { .. } | ToQueue::Failed(_)) => {}
            (Some(Hosted::Open(open)), what) => {
                let (hosting, connection) = (open.hosting.clone(), open.connection);
                drop(hosted);
                self.serve_queue(&hosting, connection, what);
            }
        }
    }

    fn serve_queue(self: &Rc<Self>, hosting: &Hosting, connection: ConnectionId, what: ToQueue) {
        let sharing = &hosting.sharing;
        match what {
            ToQueue::Join(join) => {
                sharing.borrow_mut().join(join.consumer, join.window);
                self.answer(&join, FromQueue::Joined(join.id));
            }
            ToQueue::Settle {
                consumer,
                place,
                processed,
            } => {
                let done = sharing.borrow_mut().settle(consumer, place, processed);
                if done {
                    let command = Command::Done {
                        subscription: SubscriptionKey::Id(SUBSCRIPTION),
                        position: place,
                        cumulative: false,
                    };
                    self.turn(|engine, now| {
                        engine.handle_command(connection, CommandId(0), command, now);
                    });
                }
            }
            ToQueue::Quit(consumer) => {
                sharing.borrow_mut().quit(consumer);
                if sharing.borrow().consumers().next().is_none() {
                    return self.close_queue(&hosting.queue);
                }
            }
            ToQueue::Failed(why) => {
                for consumer in sharing.borrow().consumers() {
                    let what = FromQueue::Ended {
                        queue: hosting.queue.clone(),
                        subscription: consumer.subscription,
                        why: why.clone(),
                    };
                    let connection = consumer.connection;
                    let order = Order::FromQueue { connection, what };
                    self.shared.orders.give(consumer.worker, order);
                }
                return self.close_queue(&hosting.queue);
            }
        }
        hosting.deal();
    }

    fn answer(&self, join: &Join, what: FromQueue) {
        let Consumer {
            worker, connection, ..
        } = join.consumer;
        let order = Order::FromQueue { connection, what };
        self.shared.orders.give(worker, order);
    }

    async fn open_queue(self: Rc<Self>, queue: ChannelName) {
        let lease = Lease::new(&self);
        let session = session_of(USER, queue.as_str());
        let kept = self.load_named(session).await;
        let begun = kept.and_then(|kept| self.begin_queue(&queue, kept));
        let hosted = self.queues.hosted.borrow_mut().remove(&queue);
        let Some(Hosted::Opening(joins)) = hosted else {
            return;
        };
        let (hosting, connection) = match begun {
            Ok(begun) => begun,
            Err(why) => {
                for join in joins {
                    self.answer(&join, FromQueue::Refused(join.id, why.clone()));
                }
                return;
            }
        };
        let open = Open {
            hosting: hosting.clone(),
            connection,
            _lease: lease,
        };
        let mut hosted = self.queues.hosted.borrow_mut();
        hosted.insert(queue.clone(), Hosted::Open(open));
        drop(hosted);
        if joins.is_empty() {
            return self.close_queue(&queue);
        }
        for join in joins {
            self.serve_queue(&hosting, connection, ToQueue::Join(join));
        }
    }

    /// Starts the session of a queue, or continues it.
    fn begin_queue(
        self: &Rc<Self>,
        queue: &ChannelName,
        kept: Option<SessionSnapshot>,
    ) -> Result<(Hosting, ConnectionId), Refusal> {
        let note = kept.as_ref().map(|kept| kept.note.clone());
        let counts = Counts::read(&note.unwrap_or_default());
        // A session whose subscription was ended goes on where it was.
        let since = counts.cursor().map_or(Since::Start, Since::Position);
        let hosting = Hosting {
            queue: queue.clone(),
            sharing: Rc::new(RefCell::new(Sharing::default())),
            counts: Rc::new(counts),
            orders: Arc::clone(&self.shared.orders),
            worker: self.number,
        };
        let (session, now) = (session_of(USER, queue.as_str()), now());
        let mut state = self.state.borrow_mut();
        let class = state.outboxes.class_of(&Unencoded);
        let engine = &mut state.engine;
        let arrival = Arrival::new(session, Arc::clone(&self.anonymous)).of(class);
        let connection = match kept {
            Some(kept) => {
                let identity = Arc::clone(&self.anonymous);
                let kept = SessionSnapshot { identity, ..kept };
                engine.handle_connection_resumed(arrival, kept, &[], now)?
            }
            None => engine.handle_connection_opened(arrival, now)?,
        };
        engine.set_durable(connection, self.longest(Some(Duration::MAX)));
        let window = self.shared.config.limits.window.min(WINDOW);
        let wish = Subscribe::new(queue.clone(), since)
            .numbered(SUBSCRIPTION.0)
            .acknowledged(window);
        let outlet = Outlet::Other(Rc::new(NoTransport));
        let speaker = Speaker::Other(Box::new(Box::new(Host(hosting.clone()))));
        let now_s = self.seconds();
        state.outboxes.add(connection, outlet, speaker, None, now_s);
        if hosting.counts.are_known() {
            // After a crash, they would be wrong.
            let note = Bytes::new();
            let forget = Command::Remember { note };
            state
                .engine
                .handle_command(connection, CommandId(0), forget, now);
        }
        // A session that is continued has the subscription. Its consumers have the permission.
        state
            .engine
            .subscribe_for(&Whom::Session(session), &wish, now);
        self.carry_out(state);
        Ok((hosting, connection))
    }

    /// Ends the session of a queue without consumers. It is kept, and continues when one comes.
    fn close_queue(self: &Rc<Self>, queue: &ChannelName) {
        let hosted = self.queues.hosted.borrow_mut().remove(queue);
        let Some(Hosted::Open(open)) = hosted else {
            return;
        };
        let note = {
            let sharing = open.hosting.sharing.borrow();
            let cursor = sharing.cursor().or(open.hosting.counts.cursor());
            Bytes::from(Counts::note(cursor, sharing.delivered()))
        };
        let mut state = self.state.borrow_mut();
        let remember = Command::Remember { note };
        state
            .engine
            .handle_command(open.connection, CommandId(0), remember, now());
        state.outboxes.remove(open.connection);
        state.engine.handle_connection_lost(open.connection);
        self.carry_out(state);
    }
}
