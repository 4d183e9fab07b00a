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
mod opening;
mod sharing;

use std::{
    cell::RefCell,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use offhook_dialects::Intent;
use offhook_engine::{
    ChannelName, Command, CommandId, ConnectionId, ErrorCode, Notice, Position, Refusal, Reply,
    SubscriptionId, SubscriptionKey, SubscriptionName,
};
use tokio::task::spawn_local;

use self::{
    host::Hosting,
    sharing::{Consumer, Queued},
};
use super::{Lease, Order, Worker, outboxes::Outboxes, outlet::Outlet};

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
    consumed: RefCell<HashMap<ConnectionId, HashMap<SubscriptionId, Consumed>>>,
}

/// A queue that a connection of this worker consumes.
#[derive(Debug)]
struct Consumed {
    queue: ChannelName,
    /// Whether the queue was told that the connection has no room.
    is_full: bool,
    /// How often the queue was told that there is room again.
    times: u32,
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
    /// The consumer's connection has no room: deal it no more messages.
    Full(Consumer),
    /// There is room again.
    Room(Consumer),
    /// There was no room for this message.
    TakeBack(Consumer, Position),
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
        /// How often the consumer had told the queue that it had room again.
        times: u32,
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
    pub(super) fn host_of(&self, queue: &ChannelName) -> u16 {
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
    pub(super) fn ask_queue(&self, connection: ConnectionId, intent: Intent) {
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
            let consumes = Consumed {
                queue: queue.clone(),
                is_full: false,
                times: 0,
            };
            ours.insert(subscription, consumes);
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
            if let Some(consumed) = ours.and_then(|ours| ours.get(&subscription)) {
                let consumer = self.consumer(connection, subscription);
                let what = ToQueue::Settle {
                    consumer,
                    place,
                    processed,
                };
                self.tell_queue(consumed.queue.clone(), what);
            }
        } else if let Intent::Quit { subscription } = intent
            && let Some(ours) = consumed.get_mut(&connection)
            && let Some(consumed) = ours.remove(&subscription)
        {
            let consumer = self.consumer(connection, subscription);
            self.tell_queue(consumed.queue, ToQueue::Quit(consumer));
        }
    }

    /// The consumers of a connection that has ended leave their queues.
    pub(super) fn quit_queues(&self, connection: ConnectionId) {
        let ours = self.queues.consumed.borrow_mut().remove(&connection);
        for (subscription, consumed) in ours.into_iter().flatten() {
            let consumer = self.consumer(connection, subscription);
            self.tell_queue(consumed.queue, ToQueue::Quit(consumer));
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
                times,
                message,
            } => {
                let consumer = self.consumer(connection, subscription);
                self.put_or_give_back(outboxes, consumer, times, &message);
            }
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

    /// Puts a message into the outbox of its consumer, or gives it back to the queue if there is no
    /// room. A client that does not read must neither fill the memory with what its window allows nor
    /// keep these messages from others.
    fn put_or_give_back(
        self: &Rc<Self>,
        outboxes: &mut Outboxes,
        consumer: Consumer,
        times: u32,
        message: &Queued,
    ) {
        let Consumer {
            connection,
            subscription,
            ..
        } = consumer;
        let Some(outlet) = outboxes.outlet(connection) else {
            return;
        };
        let mut consumed = self.queues.consumed.borrow_mut();
        let ours = consumed.get_mut(&connection);
        let Some(ours) = ours.and_then(|ours| ours.get_mut(&subscription)) else {
            // The consumer has left, and the queue gives the message to another one.
            return;
        };
        let bound = self.shared.config.messages.outbox_bytes;
        let has_room = || outlet.unsent() <= bound / 2;
        // A message of an earlier time was dealt before others that the queue has taken back, and
        // must not overtake them.
        let is_taken = !ours.is_full && ours.times == times && has_room();
        if is_taken {
            let what = (message.place, message.earlier);
            outboxes.put_queued(connection, subscription, &message.publication, what);
        }
        // The queue learns this before it learns that the message was processed, for which it would
        // otherwise deal another one.
        if !ours.is_full && !has_room() {
            ours.is_full = true;
            self.tell_queue(ours.queue.clone(), ToQueue::Full(consumer));
            spawn_local(Rc::clone(self).await_room(consumer, outlet));
        }
        if !is_taken {
            let back = ToQueue::TakeBack(consumer, message.place);
            self.tell_queue(ours.queue.clone(), back);
        }
    }

    /// Tells the queue of a consumer once its connection has room again.
    async fn await_room(self: Rc<Self>, consumer: Consumer, outlet: Outlet) {
        // The consumers of a connection that has ended leave their queues.
        if outlet.room().await.is_err() {
            return;
        }
        let mut consumed = self.queues.consumed.borrow_mut();
        let ours = consumed.get_mut(&consumer.connection);
        let ours = ours.and_then(|ours| ours.get_mut(&consumer.subscription));
        if let Some(ours) = ours {
            ours.is_full = false;
            ours.times = ours.times.wrapping_add(1);
            self.tell_queue(ours.queue.clone(), ToQueue::Room(consumer));
        }
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
                let is_gone = |join: &mut Join| join.consumer == consumer;
                for join in joins.extract_if(.., is_gone) {
                    // A client that disconnects waits for the answers to all of its requests.
                    let detail = "the consumer left before the queue was open";
                    let why = Refusal::new(ErrorCode::NotSubscribed, detail);
                    self.answer(&join, FromQueue::Refused(join.id, why));
                }
            }
            // Nothing was delivered yet, and a failure is handled once it is open.
            (
                Some(Hosted::Opening(_)),
                ToQueue::Settle { .. }
                | ToQueue::Full(_)
                | ToQueue::Room(_)
                | ToQueue::TakeBack(..)
                | ToQueue::Failed(_),
            ) => {}
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
            ToQueue::Full(consumer) => sharing.borrow_mut().set_full(consumer),
            ToQueue::Room(consumer) => sharing.borrow_mut().set_room(consumer),
            ToQueue::TakeBack(consumer, place) => {
                sharing.borrow_mut().take_back(consumer, place);
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
}
