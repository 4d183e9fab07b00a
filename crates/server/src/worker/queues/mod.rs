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
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    sync::Arc,
};

use offhook_dialects::Intent;
use offhook_engine::{
    ChannelName, Command, CommandId, ConnectionId, Notice, Position, Refusal, Reply,
    SubscriptionId, SubscriptionKey, SubscriptionName,
};
use tokio::{task::spawn_local, time::sleep};

use self::{
    host::Hosting,
    sharing::{Consumer, Queued},
};
use super::{
    Lease, Order, Worker, outboxes::Outboxes, outlet::Outlet, refilling::WHILE_MEMORY_IS_SHORT,
};

/// The user in the names of queues' sessions. No user has such a name.
const USER: &str = "\0queue";
/// The id of the subscription of a queue's session.
const SUBSCRIPTION: SubscriptionId = SubscriptionId(0);

/// The queues that this worker hosts, and those that its connections consume.
#[derive(Debug, Default)]
pub(super) struct Queues {
    hosted: RefCell<HashMap<ChannelName, Hosted>>,
    consumed: RefCell<HashMap<ConnectionId, HashMap<SubscriptionId, ChannelName>>>,
    /// Consumers of this worker that have refused a message, and have not had room since.
    full: RefCell<HashSet<Consumer>>,
}

#[derive(Debug)]
enum Hosted {
    /// Its session is being loaded; these consumers wait.
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
    /// The consumer's connection had no room for this message, which was not sent.
    Full {
        consumer: Consumer,
        place: Position,
    },
    /// The consumer's connection has room again.
    Room(Consumer),
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
    /// It has refused a message, and receives nothing until it says that it has room.
    Stopped {
        subscription: SubscriptionId,
    },
    /// It receives nothing more.
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
            self.queues.full.borrow_mut().remove(&consumer);
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

    /// Returns a message to its queue because the connection has no room. So are all that follow it,
    /// or a later one would overtake it, until the queue has stopped and there is room.
    fn refuse_queued(&self, consumer: Consumer, place: Position) {
        if let Some(queue) = self.queue_of(consumer) {
            self.queues.full.borrow_mut().insert(consumer);
            self.tell_queue(queue, ToQueue::Full { consumer, place });
        }
        // A consumer that has left has returned everything.
    }

    fn queue_of(&self, consumer: Consumer) -> Option<ChannelName> {
        let consumed = self.queues.consumed.borrow();
        let ours = consumed.get(&consumer.connection)?;
        ours.get(&consumer.subscription).cloned()
    }

    /// The queue sends a consumer nothing more, and all that was under way is returned. Tells it once
    /// the connection has room.
    async fn await_room(self: Rc<Self>, consumer: Consumer, outlet: Outlet) {
        let connection = consumer.connection;
        loop {
            // A connection that is closing gets nothing more, and leaves the queue.
            let Ok(()) = outlet.room().await else { return };
            let mut state = self.state.borrow_mut();
            if state.outboxes.has_room_for_queued(connection) {
                break;
            }
            drop(state);
            sleep(WHILE_MEMORY_IS_SHORT).await;
        }
        self.queues.full.borrow_mut().remove(&consumer);
        if let Some(queue) = self.queue_of(consumer) {
            self.tell_queue(queue, ToQueue::Room(consumer));
        }
    }

    /// The consumers of a connection that has ended leave their queues.
    pub(super) fn quit_queues(&self, connection: ConnectionId) {
        let ours = self.queues.consumed.borrow_mut().remove(&connection);
        let of_others = |consumer: &Consumer| consumer.connection != connection;
        self.queues.full.borrow_mut().retain(of_others);
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
            } => {
                let (place, earlier) = (message.place, message.earlier);
                let consumer = self.consumer(connection, subscription);
                let is_full = self.queues.full.borrow().contains(&consumer);
                if is_full || !outboxes.has_room_for_queued(connection) {
                    self.refuse_queued(consumer, place);
                } else {
                    let what = (place, earlier);
                    outboxes.put_queued(connection, subscription, &message.publication, what);
                }
            }
            FromQueue::Stopped { subscription } => {
                if let Some(outlet) = outboxes.outlet(connection) {
                    let consumer = self.consumer(connection, subscription);
                    spawn_local(Rc::clone(self).await_room(consumer, outlet));
                }
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
            (
                Some(Hosted::Opening(_)),
                ToQueue::Settle { .. }
                | ToQueue::Full { .. }
                | ToQueue::Room(_)
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
            ToQueue::Full { consumer, place } => {
                if sharing.borrow_mut().refuse(consumer, place) {
                    let subscription = consumer.subscription;
                    let what = FromQueue::Stopped { subscription };
                    let connection = consumer.connection;
                    let order = Order::FromQueue { connection, what };
                    self.shared.orders.give(consumer.worker, order);
                }
            }
            ToQueue::Room(consumer) => sharing.borrow_mut().has_room(consumer),
            ToQueue::Quit(consumer) => {
                sharing.borrow_mut().quit(consumer);
                if sharing.borrow().consumers().next().is_none() {
                    return self.close_queue(&hosting.queue);
                }
            }
            ToQueue::Failed(why) => {
                let consumers: Vec<_> = sharing.borrow().consumers().collect();
                for consumer in consumers {
                    // What it has counts as delivered.
                    sharing.borrow_mut().quit(consumer);
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
