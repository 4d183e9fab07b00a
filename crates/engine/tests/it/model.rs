//! Random lives of several sessions on two workers: connections die at any moment, the broker answers
//! late, mailboxes overflow, history is trimmed. [`Client`](crate::world::client::Client) checks
//! each message as it reads it; at the end everybody must have everything.

use std::time::Duration;

use offhook_engine::{BrokerFailure, Command, Since};
use proptest::prelude::*;

use crate::world::{World, channel};

const CLIENTS: usize = 4;
const WORKERS: usize = 2;
const CHANNELS: [&str; 5] = ["kept/a", "kept/b", "flow/c", "price/d", "strict/e"];

#[derive(Clone, Copy, Debug)]
enum Op {
    Connect {
        client: usize,
        worker: usize,
        by_snapshot: bool,
    },
    Cut {
        client: usize,
    },
    Subscribe {
        client: usize,
        channel: usize,
        since: u8,
    },
    Unsubscribe {
        client: usize,
        channel: usize,
    },
    Publish {
        client: usize,
        channel: usize,
        key: u8,
        tag: u8,
    },
    Token {
        client: usize,
    },
    Receipts {
        client: usize,
        channel: usize,
        back: u64,
    },
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
    Trim {
        channel: usize,
        keep: u64,
    },
    NewEpoch {
        channel: usize,
    },
    Restart {
        channel: usize,
        lost: u64,
    },
    Failing {
        how: u8,
    },
    Wait {
        ms: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    let worker = 0..WORKERS;
    let ch = 0..CHANNELS.len();
    prop_oneof![
        4 => (client.clone(), worker.clone(), any::<bool>()).prop_map(
            |(client, worker, by_snapshot)| Op::Connect { client, worker, by_snapshot }
        ),
        1 => client.clone().prop_map(|client| Op::Cut { client }),
        4 => (client.clone(), ch.clone(), 0..4_u8)
            .prop_map(|(client, channel, since)| Op::Subscribe { client, channel, since }),
        1 => (client.clone(), ch.clone())
            .prop_map(|(client, channel)| Op::Unsubscribe { client, channel }),
        10 => (client.clone(), ch.clone(), 0..12_u8, 0..3_u8)
            .prop_map(|(client, channel, key, tag)| Op::Publish { client, channel, key, tag }),
        1 => client.clone().prop_map(|client| Op::Token { client }),
        2 => (client.clone(), ch.clone(), 0..3_u64)
            .prop_map(|(client, channel, back)| Op::Receipts { client, channel, back }),
        8 => (worker.clone(), 1..8_usize)
            .prop_map(|(worker, steps)| Op::BrokerWorks { worker, steps }),
        8 => (worker.clone(), 1..8_usize)
            .prop_map(|(worker, events)| Op::Deliver { worker, events }),
        2 => worker.clone().prop_map(|worker| Op::DeliverRead { worker }),
        6 => (client, 1..6_usize).prop_map(|(client, messages)| Op::Read { client, messages }),
        1 => worker.prop_map(|worker| Op::Lag { worker }),
        1 => (ch.clone(), 0..6_u64).prop_map(|(channel, keep)| Op::Trim { channel, keep }),
        1 => ch.clone().prop_map(|channel| Op::NewEpoch { channel }),
        1 => (ch, 0..4_u64).prop_map(|(channel, lost)| Op::Restart { channel, lost }),
        1 => (0..4_u8).prop_map(|how| Op::Failing { how }),
        1 => (0..2_000_u64).prop_map(|ms| Op::Wait { ms }),
    ]
}

fn perform(world: &mut World, op: Op) {
    match op {
        Op::Connect {
            client,
            worker,
            by_snapshot,
        } => {
            if world.clients[client].connection.is_none() {
                world.connect(client, worker, by_snapshot);
            }
        }
        Op::Cut { client } => world.cut(client),
        Op::Subscribe {
            client,
            channel: name,
            since,
        } => {
            let since = [Since::Now, Since::Start, Since::Last(2), Since::Last(5)][since as usize];
            let known = &world.clients[client].subscriptions;
            if !known.contains_key(&channel(CHANNELS[name]).into()) {
                world.subscribe(client, CHANNELS[name], since);
            }
        }
        Op::Unsubscribe {
            client,
            channel: name,
        } => {
            world.command(
                client,
                Command::Unsubscribe {
                    subscription: channel(CHANNELS[name]).into(),
                },
            );
        }
        Op::Publish {
            client,
            channel,
            key,
            tag,
        } => {
            let key = (key < 8).then(|| format!("key {key}"));
            let tag = tag.to_string();
            world.publish_with(client, CHANNELS[channel], "text", key.as_deref(), &tag);
        }
        Op::Token { client } => world.issue_token(client),
        Op::Receipts {
            client,
            channel: name,
            back,
        } => {
            let channel = channel(CHANNELS[name]);
            let stream = world.broker.stream(&channel);
            let head = stream.head().offset;
            let position = stream.at(head.saturating_sub(back).max(1));
            world.now.instant += Duration::from_millis(1);
            world.command(client, Command::Receipts { channel, position });
        }
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
        Op::Trim {
            channel: name,
            keep,
        } => world.broker.trim(&channel(CHANNELS[name]), keep),
        Op::NewEpoch { channel: name } => world.broker.new_epoch(&channel(CHANNELS[name])),
        Op::Restart {
            channel: name,
            lost,
        } => {
            // Streams without history begin anew with their broker.
            if CHANNELS[name].starts_with("kept/") {
                world.broker.restart(&channel(CHANNELS[name]), lost);
            }
        }
        Op::Failing { how } => {
            world.broker.failure =
                [None, None, None, Some(BrokerFailure::StorageFull)][how as usize];
        }
        Op::Wait { ms } => world.wait(Duration::from_millis(ms)),
    }
}

/// Everyone comes back, the disk has space, all queues run empty.
fn come_to_rest(world: &mut World) {
    world.broker.failure = None;
    // A slow connection that is closed comes back; once it reads there is no reason to close it again.
    for _ in 0..3 {
        for client in 0..CLIENTS {
            if world.clients[client].connection.is_none() {
                world.connect(client, client % WORKERS, false);
            }
        }
        world.settle();
    }
}

fn everybody_has_everything(world: &World) {
    for client in &world.clients {
        assert!(
            client.unanswered.is_empty(),
            "unanswered: {:?}",
            client.unanswered
        );
        for (key, seen) in &client.subscriptions {
            let name = seen.wish.target.channel().unwrap();
            let stream = &world.broker.streams[name];
            let position = seen
                .position
                .expect("every subscription came to a position");
            assert!(seen.confirmed && seen.live, "{key} is not live: {seen:?}");
            assert_eq!(position, stream.head());
            let here = (name.clone(), client.session);
            assert!(
                world
                    .broker
                    .members
                    .get(&here)
                    .is_some_and(|claim| !claim.1),
                "absent"
            );
        }
    }
    for ((name, session), (_, awaited)) in &world.broker.members {
        let client = world
            .clients
            .iter()
            .find(|c| c.session == *session)
            .unwrap();
        let present = client.subscriptions.contains_key(&name.clone().into());
        assert!(present || *awaited, "{session} haunts {name}");
    }
    for worker in &world.workers {
        let mine = |c: &&crate::world::client::Client| c.connection.is_some();
        assert!(worker.connections() <= world.clients.iter().filter(mine).count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // `PROPTEST_CASES` asks for more.
        cases: ProptestConfig::default().cases.max(1000),
        max_shrink_iters: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn everyone_gets_everything_once_in_order_and_every_gap_is_announced(
        ops in prop::collection::vec(op(), 1..160)
    ) {
        let mut world = World::new(WORKERS, CLIENTS);
        for op in ops {
            perform(&mut world, op);
        }
        come_to_rest(&mut world);
        everybody_has_everything(&world);
    }
}
