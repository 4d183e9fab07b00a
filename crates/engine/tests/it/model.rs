//! Random histories of several sessions on two workers: connections are lost at any moment, the
//! broker answers late, mailboxes overflow, history is trimmed, the process ends. [`Client`](Client) checks each
//! message as it reads it; at the end every client must have everything.

use std::time::Duration;

use offhook_engine::{BrokerFailure, Command, Filter, Since, Subscribe, Target};
use proptest::prelude::*;

use crate::world::{World, channel, client::Client, seen::Seen};

const CLIENTS: usize = 4;
const WORKERS: usize = 2;
const CHANNELS: [&str; 7] = [
    "kept/a", "kept/b", "flow/c", "price/d", "strict/e", "asked/f", "state/g",
];
const FILTERS: [&str; 2] = ["kept/+", "#"];

/// The kind of a client's subscription.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain(usize),
    Numbered(usize, u32),
    WithoutEcho(usize),
    Window(usize, u16),
    Filter(usize),
    FilterWindow(usize, u16),
}

fn kind() -> impl Strategy<Value = Kind> {
    let ch = 0..CHANNELS.len();
    let kept = prop_oneof![Just(0_usize), Just(1), Just(5)];
    prop_oneof![
        4 => ch.clone().prop_map(Kind::Plain),
        2 => (ch.clone(), 0..3_u32).prop_map(|(channel, id)| Kind::Numbered(channel, id)),
        1 => ch.prop_map(Kind::WithoutEcho),
        2 => (kept, 1..4_u16).prop_map(|(channel, window)| Kind::Window(channel, window)),
        2 => (0..FILTERS.len()).prop_map(Kind::Filter),
        1 => (0..FILTERS.len(), 1..4_u16)
            .prop_map(|(filter, window)| Kind::FilterWindow(filter, window)),
    ]
}

fn wish(kind: Kind, since: Since) -> Subscribe {
    let to = |channel: usize| Subscribe {
        members: true,
        ..Subscribe::new(self::channel(CHANNELS[channel]), since).with_presence()
    };
    match kind {
        Kind::Plain(channel) => to(channel),
        Kind::Numbered(channel, id) => to(channel).numbered(id),
        Kind::WithoutEcho(channel) => to(channel).numbered(10).without_echo(),
        Kind::Window(channel, window) => to(channel).numbered(11).acknowledged(window),
        Kind::Filter(filter) => Subscribe::new(Filter::new(FILTERS[filter]).unwrap(), since),
        Kind::FilterWindow(filter, window) => {
            let wish = Subscribe::new(Filter::new(FILTERS[filter]).unwrap(), since);
            wish.numbered(12 + filter as u32).acknowledged(window)
        }
    }
}

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
        kind: Kind,
        since: u8,
    },
    Unsubscribe {
        client: usize,
        kind: Kind,
    },
    Done {
        client: usize,
        which: usize,
        cumulative: bool,
    },
    Decide {
        worker: usize,
        oldest: bool,
        allowed: bool,
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
    NewProcess,
    Failing {
        how: u8,
    },
    Full {
        full: bool,
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
        5 => (client.clone(), kind(), 0..4_u8)
            .prop_map(|(client, kind, since)| Op::Subscribe { client, kind, since }),
        1 => (client.clone(), kind()).prop_map(|(client, kind)| Op::Unsubscribe { client, kind }),
        3 => (client.clone(), 0..4_usize, any::<bool>())
            .prop_map(|(client, which, cumulative)| Op::Done { client, which, cumulative }),
        3 => (worker.clone(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(worker, oldest, allowed)| Op::Decide { worker, oldest, allowed }),
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
        1 => Just(Op::NewProcess),
        1 => (0..4_u8).prop_map(|how| Op::Failing { how }),
        1 => any::<bool>().prop_map(|full| Op::Full { full }),
        1 => (0..2_000_u64).prop_map(|ms| Op::Wait { ms }),
    ]
}

#[expect(clippy::too_many_lines, reason = "a line or two for each operation")]
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
            kind,
            since,
        } => {
            let since = match kind {
                Kind::Filter(_) | Kind::FilterWindow(..) => {
                    [Since::Now, Since::Start][usize::from(since % 2)]
                }
                Kind::Plain(6) | Kind::Numbered(6, _) if since > 0 => Since::State,
                _ => [Since::Now, Since::Start, Since::Last(2), Since::Last(5)][usize::from(since)],
            };
            let wish = wish(kind, since);
            if !world.clients[client]
                .subscriptions
                .contains_key(&wish.name().key())
            {
                world.command(client, Command::Subscribe(wish));
            }
        }
        Op::Unsubscribe { client, kind } => {
            let subscription = wish(kind, Since::Now).name().key();
            world.command(client, Command::Unsubscribe { subscription });
        }
        Op::Done {
            client,
            which,
            cumulative,
        } => done(world, client, which, cumulative),
        Op::Decide {
            worker,
            oldest,
            allowed,
        } => world.decide(worker, oldest, allowed),
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
            // Streams without history start again whenever their broker does.
            if ["kept/", "asked"]
                .iter()
                .any(|kept| CHANNELS[name].starts_with(kept))
            {
                world.broker.restart(&channel(CHANNELS[name]), lost);
            }
        }
        Op::NewProcess => world.restart(),
        Op::Failing { how } => {
            world.broker.failure =
                [None, None, None, Some(BrokerFailure::StorageFull)][how as usize];
        }
        Op::Full { full } => world.broker.full = full,
        Op::Wait { ms } => world.wait(Duration::from_millis(ms)),
    }
}

/// A client acknowledges something that it has read on this connection.
fn done(world: &mut World, client: usize, which: usize, cumulative: bool) {
    let mut undone = Vec::new();
    for (key, seen) in &world.clients[client].subscriptions {
        for offset in &seen.on_this_connection {
            undone.push((key.clone(), seen.undone[offset].0));
        }
    }
    let Some((subscription, position)) = undone.get(which % undone.len().max(1)).cloned() else {
        return;
    };
    world.command(
        client,
        Command::Done {
            subscription,
            position,
            cumulative,
        },
    );
}

/// Every client acknowledges everything that can be delivered, and everything asked outside is
/// answered.
fn work_off(world: &mut World) {
    loop {
        world.settle();
        let mut worked = false;
        for worker in 0..WORKERS {
            for _ in 0..200 {
                world.decide(worker, true, true);
            }
        }
        for client in 0..CLIENTS {
            let open = |c: &Client| {
                c.subscriptions
                    .values()
                    .any(|seen| !seen.on_this_connection.is_empty())
            };
            while world.clients[client].connection.is_some() && open(&world.clients[client]) {
                done(world, client, 0, true);
                worked = true;
            }
        }
        if !worked {
            world.settle();
            return;
        }
    }
}

/// Every client reconnects, the disk has space, and all queues are emptied.
fn come_to_rest(world: &mut World) {
    world.broker.failure = None;
    world.broker.full = false;
    // A slow connection that was closed reconnects; once it reads, there is no reason to close it
    // again.
    for _ in 0..3 {
        for client in 0..CLIENTS {
            if world.clients[client].connection.is_none() {
                world.connect(client, client % WORKERS, false);
            }
        }
        work_off(world);
    }
}

/// Whether a filter delivered everything that was published, or named it as missing.
fn filter_is_whole(world: &World, filter: &Filter, seen: &Seen) {
    let broker = &world.broker;
    let began = seen.began.expect("it began").offset;
    let log = broker.log.iter().zip(1..).skip(began as usize);
    for ((channel, position), sequence) in log {
        if !filter.matches(channel) || channel.as_str().starts_with("asked/") {
            continue;
        }
        let lost = |(from, to): &(u64, u64)| *from < sequence && sequence <= *to;
        if !broker.is_on_disk(channel) && seen.restarts.iter().any(lost) {
            continue;
        }
        let here = (position.epoch.0, position.offset);
        let came = seen.came.get(channel).is_some_and(|came| {
            let missing = |(from, to): &(u64, u64)| *from < here.1 && here.1 <= *to;
            came.publications.contains(&here) || came.missing.iter().any(missing)
        });
        assert!(came, "{filter} did not bring {channel} {position}");
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
            assert!(seen.confirmed && seen.live, "{key} is not live: {seen:?}");
            let name = match &seen.wish.target {
                Target::Channel(name) => name,
                Target::Filter(filter) => {
                    filter_is_whole(world, filter, seen);
                    assert!(seen.undone.is_empty(), "{key} is done: {seen:?}");
                    continue;
                }
            };
            let stream = &world.broker.streams[name];
            let position = seen
                .position
                .expect("every subscription came to a position");
            assert_eq!(position, stream.head());
            assert!(
                seen.undone.is_empty(),
                "it is done with everything: {seen:?}"
            );
            let watches = seen.wish.presence && seen.wish.members;
            assert!(seen.told_members || !watches, "{key} lacks the members");
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
        let on_it = |seen: &Seen| seen.wish.target.channel() == Some(name);
        let present = client.subscriptions.values().any(on_it);
        assert!(present || *awaited, "{session} haunts {name}");
    }
    for worker in &world.workers {
        let mine = |c: &&Client| c.connection.is_some();
        assert!(worker.connections() <= world.clients.iter().filter(mine).count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // `PROPTEST_CASES` can ask for more.
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
        world.broker.strict = true;
        for op in ops {
            perform(&mut world, op);
        }
        come_to_rest(&mut world);
        everybody_has_everything(&world);
    }
}
