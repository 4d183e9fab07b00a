//! Groups that share publications: each publication is delivered to one member, on whatever worker.

use std::{sync::Arc, time::Duration};

use offhook_engine::*;
use proptest::prelude::*;

use crate::world::{World, channel, client::Wire, rules, tight_limits};

mod lasting;
mod permissions;
mod turns;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const NO_KEEP: Duration = Duration::ZERO;
/// The number of every member's subscription.
pub(crate) const ID: SubscriptionKey = SubscriptionKey::Id(SubscriptionId(1));

fn share(keep: Duration) -> Share {
    Share {
        group: Key::new("workers").unwrap(),
        keep,
    }
}

pub(crate) fn member(since: Since, window: u16, keep: Duration) -> Subscribe {
    Subscribe::new(channel("kept/a"), since)
        .numbered(1)
        .acknowledged(window)
        .shared(share(keep))
}

/// Clients on alternating workers; the last one only publishes.
pub(crate) fn world(workers: usize, clients: usize) -> World {
    let mut world = World::new(workers, clients + 1);
    for client in 0..=clients {
        world.connect(client, client % workers, false);
    }
    world
}

pub(crate) fn join(world: &mut World, client: usize, wish: Subscribe) {
    world.command(client, Command::Subscribe(wish));
    world.settle();
}

pub(crate) fn publish(world: &mut World, texts: impl IntoIterator<Item = u64>) {
    let publisher = world.clients.len() - 1;
    for text in texts {
        world.publish(publisher, "kept/a", &text.to_string());
    }
    world.settle();
}

/// What a client has received and neither acknowledged nor returned.
pub(crate) fn in_hand(world: &World, client: usize) -> Vec<u64> {
    let seen = world.clients[client].subscriptions.get(&ID);
    let places = seen.into_iter().flat_map(|seen| &seen.in_hand);
    places.map(|place| place.offset).collect()
}

pub(crate) fn done(world: &mut World, client: usize, offset: u64, cumulative: bool) {
    let position = Position::new(1, offset);
    let subscription = ID;
    let done = Command::Done {
        subscription,
        position,
        cumulative,
    };
    world.command(client, done);
    world.settle();
}

fn give_back(world: &mut World, client: usize, offset: u64) {
    let position = Position::new(1, offset);
    let subscription = ID;
    world.command(
        client,
        Command::Return {
            subscription,
            position,
        },
    );
    world.settle();
}

fn refusal(world: &World, client: usize) -> Option<ErrorCode> {
    match world.clients[client].replies().last() {
        Some(Reply::Refused(refusal)) => Some(refusal.code),
        _ => None,
    }
}

fn subscribe_access(subscribe: Access) -> ChannelRules {
    ChannelRules {
        subscribe,
        ..ChannelRules::default()
    }
}

/// The last client only publishes. The others may read what its grants say, the first one all of it.
fn world_with_secrets(workers: usize, secrets: Access) -> World {
    let book = RuleBook::new()
        .with("kept/secret", subscribe_access(secrets))
        .with("kept/*", ChannelRules::default());
    let mut world = World::with(workers, 3, &tight_limits(), book);
    let ann = Identity::user("ann").with("kept/*", Verbs::SUBSCRIBE);
    world.clients[0].identity = ann.into();
    for client in 0..3 {
        world.connect(client, client % workers, false);
    }
    world
}

fn member_of_all(window: u16) -> Subscribe {
    Subscribe::new(Filter::new("kept/+").unwrap(), Since::Now)
        .numbered(1)
        .acknowledged(window)
        .shared(share(NO_KEEP))
}

fn was_ended(world: &World, client: usize) -> bool {
    world.clients[client].notices().into_iter().any(|notice| {
        matches!(notice, Notice::Unsubscribed { refusal, .. } if refusal.code == ErrorCode::Forbidden)
    })
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Connect {
        client: usize,
        by_snapshot: bool,
    },
    Cut {
        client: usize,
    },
    Join {
        client: usize,
        window: u16,
    },
    Unsubscribe {
        client: usize,
    },
    Done {
        client: usize,
        which: usize,
        cumulative: bool,
    },
    Return {
        client: usize,
        which: usize,
    },
    Token {
        client: usize,
    },
    Publish,
    BrokerWorks {
        worker: usize,
        steps: usize,
    },
    Deliver {
        worker: usize,
        events: usize,
    },
    DeliverRead {
        worker: usize,
    },
    Read {
        client: usize,
        messages: usize,
    },
    Lag {
        worker: usize,
    },
    NewProcess,
}

const MEMBERS: usize = 4;
const WORKERS: usize = 2;

fn op() -> impl Strategy<Value = Op> {
    let client = 0..MEMBERS;
    let worker = 0..WORKERS;
    prop_oneof![
        4 => (client.clone(), any::<bool>())
            .prop_map(|(client, by_snapshot)| Op::Connect { client, by_snapshot }),
        1 => client.clone().prop_map(|client| Op::Cut { client }),
        4 => (client.clone(), 1..5_u16).prop_map(|(client, window)| Op::Join { client, window }),
        1 => client.clone().prop_map(|client| Op::Unsubscribe { client }),
        6 => (client.clone(), 0..4_usize, any::<bool>())
            .prop_map(|(client, which, cumulative)| Op::Done { client, which, cumulative }),
        2 => (client.clone(), 0..4_usize).prop_map(|(client, which)| Op::Return { client, which }),
        1 => client.clone().prop_map(|client| Op::Token { client }),
        10 => Just(Op::Publish),
        8 => (worker.clone(), 1..8_usize)
            .prop_map(|(worker, steps)| Op::BrokerWorks { worker, steps }),
        8 => (worker.clone(), 1..8_usize)
            .prop_map(|(worker, events)| Op::Deliver { worker, events }),
        2 => worker.clone().prop_map(|worker| Op::DeliverRead { worker }),
        6 => (client, 1..6_usize).prop_map(|(client, messages)| Op::Read { client, messages }),
        1 => worker.prop_map(|worker| Op::Lag { worker }),
        1 => Just(Op::NewProcess),
    ]
}

/// What the members have processed so far.
#[derive(Default)]
struct Processed {
    offsets: Vec<u64>,
    /// What was acknowledged just before the process ended may be delivered again.
    may_repeat: bool,
}

fn perform(world: &mut World, processed: &mut Processed, op: Op) {
    match op {
        Op::Connect {
            client,
            by_snapshot,
        } => {
            if world.clients[client].connection.is_none() {
                world.connect(client, client % WORKERS, by_snapshot);
            }
        }
        Op::Cut { client } => world.cut(client),
        Op::Join { client, window } => {
            if !world.clients[client].subscriptions.contains_key(&ID) {
                world.command(
                    client,
                    Command::Subscribe(member(Since::Start, window, HOUR)),
                );
            }
        }
        Op::Unsubscribe { client } => {
            let subscription = ID;
            world.command(client, Command::Unsubscribe { subscription });
        }
        Op::Done {
            client,
            which,
            cumulative,
        } => acknowledge(world, processed, client, (which, cumulative)),
        Op::Return { client, which } => {
            if let Some(position) = nth_in_hand(world, client, which) {
                let subscription = ID;
                let back = Command::Return {
                    subscription,
                    position,
                };
                world.command(client, back);
            }
        }
        Op::Token { client } => world.issue_token(client),
        Op::Publish => world.publish(MEMBERS, "kept/a", "x"),
        Op::BrokerWorks { worker, steps } => world.broker_works(worker, steps),
        Op::Deliver { worker, events } => world.deliver(worker, events),
        Op::DeliverRead { worker } => {
            if let Some(read) = world.broker.next_read(worker) {
                world.workers[worker].handle_broker(read, world.now);
                world.pump(worker);
            }
        }
        Op::Read { client, messages } => world.read(client, messages),
        Op::Lag { worker } => world.broker.lag(worker),
        Op::NewProcess => {
            processed.may_repeat = true;
            world.broker.save_shares();
            world.restart();
            world.connect(MEMBERS, 0, false);
        }
    }
}

fn nth_in_hand(world: &World, client: usize, which: usize) -> Option<Position> {
    let c = &world.clients[client];
    let seen = c
        .subscriptions
        .get(&ID)
        .filter(|_| c.connection.is_some())?;
    let at = which % seen.in_hand.len().max(1);
    seen.in_hand.get(at).copied()
}

fn acknowledge(
    world: &mut World,
    processed: &mut Processed,
    client: usize,
    (which, cumulative): (usize, bool),
) {
    let Some(position) = nth_in_hand(world, client, which) else {
        return;
    };
    let here = in_hand(world, client);
    let at = here.iter().position(|offset| *offset == position.offset);
    let at = at.expect("it is in hand");
    let first = if cumulative { 0 } else { at };
    processed.offsets.extend(&here[first..=at]);
    let subscription = ID;
    let done = Command::Done {
        subscription,
        position,
        cumulative,
    };
    world.command(client, done);
}

fn nobody_has_the_same(world: &World) {
    let mut all: Vec<u64> = (0..MEMBERS)
        .flat_map(|client| in_hand(world, client))
        .collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "two members have the same publication");
}

/// All members are there, and acknowledge whatever they get.
fn work_off(world: &mut World, processed: &mut Processed) {
    for client in 0..MEMBERS {
        if world.clients[client].connection.is_none() {
            world.connect(client, client % WORKERS, false);
        }
    }
    world.settle();
    for client in 0..MEMBERS {
        perform(world, processed, Op::Join { client, window: 3 });
    }
    loop {
        world.settle();
        nobody_has_the_same(world);
        let before = processed.offsets.len();
        for client in 0..MEMBERS {
            let all = in_hand(world, client).len();
            if all > 0 {
                acknowledge(world, processed, client, (all - 1, true));
            }
        }
        if processed.offsets.len() == before {
            return;
        }
    }
}
