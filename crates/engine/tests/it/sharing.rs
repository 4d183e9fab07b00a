//! Groups that share publications: each publication is delivered to one member, on whatever worker.

use std::{sync::Arc, time::Duration};

use offhook_engine::*;
use proptest::prelude::*;

use crate::world::{World, channel, client::Wire, rules, tight_limits};

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

#[test]
fn the_members_of_one_worker_take_turns() {
    let mut world = world(1, 3);
    for client in 0..3 {
        join(&mut world, client, member(Since::Now, 10, NO_KEEP));
    }
    for n in 1..=6 {
        publish(&mut world, [n]);
    }
    assert_eq!(in_hand(&world, 0), [1, 4]);
    assert_eq!(in_hand(&world, 1), [2, 5]);
    assert_eq!(in_hand(&world, 2), [3, 6]);
}

#[test]
fn members_on_several_workers_get_each_publication_once() {
    let mut world = world(2, 4);
    for client in 0..4 {
        join(&mut world, client, member(Since::Now, 10, NO_KEEP));
    }
    publish(&mut world, 1..=20);
    let mut all: Vec<u64> = (0..4).flat_map(|client| in_hand(&world, client)).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=20).collect::<Vec<_>>());
}

#[test]
fn what_a_lost_member_had_not_acknowledged_is_delivered_to_another_and_counted() {
    for workers in [1, 2] {
        let mut world = world(workers, 2);
        join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
        publish(&mut world, 1..=4);
        done(&mut world, 0, 2, false);
        join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
        assert_eq!(in_hand(&world, 1), [0; 0]);
        world.cut(0);
        world.settle();
        assert_eq!(world.clients[1].deliveries(), [(1, 2), (3, 2), (4, 2)]);
        done(&mut world, 1, 4, true);
        publish(&mut world, [5]);
        assert_eq!(in_hand(&world, 1), [5]);
    }
}

#[test]
fn what_a_member_had_not_acknowledged_is_delivered_to_another_when_it_unsubscribes() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    publish(&mut world, 1..=2);
    join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
    let subscription = ID;
    world.command(0, Command::Unsubscribe { subscription });
    world.settle();
    assert_eq!(in_hand(&world, 1), [1, 2]);
}

#[test]
fn a_returned_publication_is_delivered_again() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 2, NO_KEEP));
    publish(&mut world, 1..=3);
    assert_eq!(in_hand(&world, 0), [1, 2]);
    give_back(&mut world, 0, 1);
    // There is nobody else, and it comes before what was never delivered.
    assert_eq!(in_hand(&world, 0), [2, 1]);
    assert_eq!(world.clients[0].deliveries(), [(1, 1), (2, 1), (1, 2)]);
    join(&mut world, 1, member(Since::Now, 2, NO_KEEP));
    assert_eq!(in_hand(&world, 1), [3]);
    // In the order of its own deliveries.
    done(&mut world, 0, 1, true);
    assert_eq!(in_hand(&world, 0), [0; 0]);
    publish(&mut world, [4]);
    let all = [in_hand(&world, 0), in_hand(&world, 1)].concat();
    assert!(all.contains(&4), "{all:?}");
}

#[test]
fn a_member_with_a_full_window_is_passed_over() {
    for workers in [1, 2] {
        let mut world = world(workers, 2);
        join(&mut world, 0, member(Since::Now, 1, NO_KEEP));
        join(&mut world, 1, member(Since::Now, 100, NO_KEEP));
        publish(&mut world, 1..=10);
        let first = in_hand(&world, 0);
        assert!(first.len() <= 1);
        assert_eq!(in_hand(&world, 1).len() + first.len(), 10);
    }
}

#[test]
fn a_publication_that_arrives_while_a_claim_is_unanswered_does_not_replace_the_claim() {
    let mut world = world(1, 2);
    for client in 0..2 {
        join(&mut world, client, member(Since::Now, 10, NO_KEEP));
    }
    publish(&mut world, [1]);
    publish(&mut world, [2]);
    assert_eq!(in_hand(&world, 1), [2]);
    // The worker handles the return and the next publication before its requests are submitted.
    world.cut(1);
    world.publish(2, "kept/a", "3");
    let requests = world.broker.requests[0].len();
    world.broker_works(0, requests);
    world.deliver(0, usize::MAX);
    world.settle();
    assert_eq!(world.clients[0].deliveries(), [(1, 1), (2, 2), (3, 1)]);
}

#[test]
fn a_member_whose_turn_is_over_does_not_continue_when_more_is_published() {
    let mut world = world(1, 3);
    for client in 0..3 {
        join(&mut world, client, member(Since::Now, 10, NO_KEEP));
    }
    for n in 1..=3 {
        publish(&mut world, [n]);
    }
    // The first member waits for publications, and gets the one that was returned meanwhile.
    world.cut(1);
    world.settle();
    assert_eq!(in_hand(&world, 0), [1, 2]);
    for n in 4..=7 {
        world.publish(3, "kept/a", &n.to_string());
        let is_read = |request: &BrokerRequest| matches!(request, BrokerRequest::History { .. });
        assert!(!world.requests().iter().any(is_read), "{n}");
    }
    assert_eq!(in_hand(&world, 0), [1, 2, 5, 7]);
    assert_eq!(in_hand(&world, 2), [3, 4, 6]);
    for client in [0, 2] {
        let read = &world.clients[client].read;
        let is_gap = |wire: &Wire| matches!(wire, Wire::Notice(Notice::Gap { .. }));
        assert!(!read.iter().any(is_gap), "{read:?}");
    }
}

#[test]
fn all_members_full_is_no_loss_and_they_continue_after_an_acknowledgement() {
    let mut world = world(2, 2);
    for client in 0..2 {
        join(&mut world, client, member(Since::Now, 1, NO_KEEP));
    }
    publish(&mut world, 1..=6);
    let mut processed = Vec::new();
    for _ in 0..3 {
        for client in 0..2 {
            let here = in_hand(&world, client);
            assert_eq!(here.len(), 1);
            processed.push(here[0]);
            done(&mut world, client, here[0], false);
        }
    }
    processed.sort_unstable();
    assert_eq!(processed, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_member_that_does_not_read_is_passed_over() {
    let mut world = world(1, 2);
    for client in 0..2 {
        join(&mut world, client, member(Since::Now, 100, NO_KEEP));
    }
    for n in 1..=20 {
        world.publish(2, "kept/a", &n.to_string());
        world.settle_broker();
        world.read(1, usize::MAX);
    }
    let read = in_hand(&world, 1).len();
    assert!(read > 12, "{read} of 20 while the other does not read");
    world.settle();
    assert_eq!(in_hand(&world, 0).len() + in_hand(&world, 1).len(), 20);
}

#[test]
fn a_group_that_is_kept_misses_nothing_while_it_has_no_member() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, HOUR));
    publish(&mut world, 1..=3);
    done(&mut world, 0, 2, false);
    world.cut(0);
    world.settle();
    publish(&mut world, [4]);
    join(&mut world, 1, member(Since::Now, 10, HOUR));
    assert_eq!(world.clients[1].deliveries(), [(1, 2), (3, 2), (4, 1)]);
}

#[test]
fn a_group_that_is_not_kept_begins_anew() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    publish(&mut world, 1..=3);
    world.cut(0);
    world.settle();
    join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
    publish(&mut world, [4]);
    assert_eq!(in_hand(&world, 1), [4]);
}

#[test]
fn a_group_of_durable_sessions_is_kept_as_long_as_they_are() {
    let mut world = world(2, 2);
    let (worker, connection) = world.clients[0].connection.unwrap();
    world.workers[worker].set_durable(connection, Some(HOUR));
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    world.cut(0);
    world.settle();
    publish(&mut world, [1]);
    join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
    assert_eq!(in_hand(&world, 1), [1]);
}

#[test]
fn a_restored_member_takes_part_again() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.settle();
    publish(&mut world, 1..=2);
    assert_eq!(in_hand(&world, 1), [1, 2]);
    world.connect(0, 1, true);
    world.settle();
    for n in 3..=6 {
        publish(&mut world, [n]);
    }
    assert_eq!(in_hand(&world, 0).len(), 2);
    assert_eq!(in_hand(&world, 1).len(), 4);
}

#[test]
fn a_saved_group_survives_the_process() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, HOUR));
    publish(&mut world, 1..=3);
    done(&mut world, 0, 2, false);
    world.broker.save_shares();
    world.restart();
    for client in 0..3 {
        world.connect(client, client % 2, false);
    }
    world.clients[0].read.clear();
    world.settle();
    publish(&mut world, [4]);
    assert_eq!(world.clients[0].deliveries(), [(1, 2), (3, 2), (4, 1)]);
}

#[test]
fn a_filter_is_shared_like_a_channel() {
    let mut world = world(2, 3);
    let filter = Filter::new("kept/+").unwrap();
    for client in 0..3 {
        let wish = Subscribe::new(filter.clone(), Since::Now)
            .numbered(1)
            .acknowledged(10)
            .shared(share(NO_KEEP));
        join(&mut world, client, wish);
    }
    for n in 0..12 {
        let name = ["kept/a", "flow/c", "kept/b"][n % 3];
        world.publish(3, name, &n.to_string());
        world.settle();
    }
    world.cut(1);
    world.settle();
    let mut all = [in_hand(&world, 0), in_hand(&world, 2)].concat();
    all.sort_unstable();
    assert_eq!(all, [1, 3, 4, 6, 7, 9, 10, 12]);
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

#[test]
fn publications_that_nobody_may_read_do_not_stop_a_group() {
    let mut world = world_with_secrets(1, Access::Nobody);
    for client in 0..2 {
        join(&mut world, client, member_of_all(10));
        assert_eq!(refusal(&world, client), None);
    }
    for name in ["kept/a", "kept/secret", "kept/a"] {
        world.publish(2, name, "x");
        world.settle();
    }
    let all = [in_hand(&world, 0), in_hand(&world, 1)].concat();
    assert_eq!(all, [1, 3]);
}

#[test]
fn a_client_that_may_not_read_all_channels_of_a_filter_takes_nothing_from_its_group() {
    for workers in [1, 2] {
        let mut world = world_with_secrets(workers, Access::Granted);
        join(&mut world, 1, member_of_all(10));
        join(&mut world, 0, member_of_all(20));
        for _ in 0..10 {
            world.publish(2, "kept/secret", "x");
            world.settle();
        }
        assert_eq!(in_hand(&world, 0), (1..=10).collect::<Vec<_>>());
        assert_eq!(refusal(&world, 1), Some(ErrorCode::Forbidden));
        assert_eq!(refusal(&world, 0), None);
    }
}

#[test]
fn a_full_member_and_one_that_may_not_read_do_not_pass_a_publication_to_and_fro() {
    for workers in [1, 2] {
        let mut world = world_with_secrets(workers, Access::Granted);
        join(&mut world, 0, member_of_all(1));
        join(&mut world, 1, member_of_all(10));
        world.publish(2, "kept/secret", "1");
        world.publish(2, "kept/secret", "2");
        // Does not end if they wake each other.
        world.settle();
        assert_eq!(in_hand(&world, 0), [1]);
        done(&mut world, 0, 1, false);
        assert_eq!(in_hand(&world, 0), [2]);
    }
}

fn was_ended(world: &World, client: usize) -> bool {
    world.clients[client].notices().into_iter().any(|notice| {
        matches!(notice, Notice::Unsubscribed { refusal, .. } if refusal.code == ErrorCode::Forbidden)
    })
}

#[test]
fn a_member_that_may_no_longer_read_everything_leaves_its_group() {
    for by_rules in [true, false] {
        let secrets = match by_rules {
            true => Access::Everyone,
            false => Access::Granted,
        };
        let mut world = world_with_secrets(2, secrets);
        let ann = world.clients[0].identity();
        let session = world.clients[1].session;
        let (whom, now) = (Whom::Session(session), world.now);
        let why = "a test";
        world.workers[1].replace_identity(&whom, &ann, why, now);
        for client in 0..2 {
            join(&mut world, client, member_of_all(20));
        }
        let stranger = Arc::new(Identity::stranger());
        world.workers[1].replace_identity(&whom, &stranger, why, now);
        world.settle();
        assert_eq!(was_ended(&world, 1), !by_rules);
        let book = RuleBook::new().with("kept/*", subscribe_access(Access::Granted));
        let book = Arc::new(book);
        for worker in 0..2 {
            world.workers[worker].set_rules(Arc::clone(&book), now);
        }
        for _ in 0..10 {
            world.publish(2, "kept/secret", "x");
            world.settle();
        }
        assert!(was_ended(&world, 1));
        assert_eq!(in_hand(&world, 0), (1..=10).collect::<Vec<_>>());
    }
}

#[test]
fn a_returned_publication_that_is_no_longer_retained_is_announced_and_does_not_stop_the_group() {
    let mut world = world(1, 2);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    join(&mut world, 1, member(Since::Now, 1, NO_KEEP));
    // More than the worker has in memory.
    publish(&mut world, 1..=8);
    let before = in_hand(&world, 1);
    world.broker.trim(&channel("kept/a"), 0);
    world.cut(0);
    world.settle();
    done(&mut world, 1, before[0], false);
    publish(&mut world, [9]);
    assert_eq!(in_hand(&world, 1), [9]);
    assert_eq!(world.clients[1].gaps(), [GapReason::EvictedBySize]);
    world.connect(0, 0, false);
    world.settle();
    publish(&mut world, [10]);
    assert_eq!(in_hand(&world, 0), [10]);
}

#[test]
fn a_restored_log_is_shared_from_where_it_continues() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
    publish(&mut world, 1..=4);
    // A copy with 1 and 2 is restored.
    world.broker.restart(&channel("kept/a"), 2);
    publish(&mut world, 3..=6);
    let texts = |client: usize| world.clients[client].texts("kept/a");
    let mut all = [texts(0), texts(1)].concat();
    all.sort_unstable();
    assert_eq!(all, ["1", "2", "3", "3", "4", "4", "5", "6"]);
}

#[test]
fn a_shared_subscription_needs_a_window_a_number_its_own_publications_and_history() {
    let mut world = world(1, 1);
    let wish = || member(Since::Now, 5, NO_KEEP);
    let wishes = [
        Subscribe {
            flow: Flow::Pushed,
            ..wish()
        },
        Subscribe { id: None, ..wish() },
        wish().without_echo(),
    ];
    for wish in wishes {
        join(&mut world, 0, wish);
        assert_eq!(refusal(&world, 0), Some(ErrorCode::BadRequest));
    }
    let target = channel("flow/c").into();
    join(&mut world, 0, Subscribe { target, ..wish() });
    assert_eq!(refusal(&world, 0), Some(ErrorCode::NoHistory));
}

#[test]
fn only_what_was_delivered_can_be_acknowledged_or_returned() {
    let mut world = world(1, 1);
    join(&mut world, 0, member(Since::Now, 5, NO_KEEP));
    publish(&mut world, [1]);
    done(&mut world, 0, 1, false);
    done(&mut world, 0, 1, false);
    assert_eq!(refusal(&world, 0), None, "twice is no error");
    done(&mut world, 0, 2, true);
    assert_eq!(refusal(&world, 0), Some(ErrorCode::BadRequest));
    give_back(&mut world, 0, 2);
    assert_eq!(refusal(&world, 0), Some(ErrorCode::BadRequest));
    let wish = Subscribe::new(channel("kept/a"), Since::Now)
        .numbered(2)
        .acknowledged(5);
    join(&mut world, 0, wish);
    let subscription = SubscriptionKey::Id(SubscriptionId(2));
    let position = Position::new(1, 1);
    world.command(
        0,
        Command::Return {
            subscription,
            position,
        },
    );
    world.settle();
    assert_eq!(refusal(&world, 0), Some(ErrorCode::BadRequest));
}

#[test]
fn a_broker_that_does_not_serve_a_group_ends_its_subscriptions() {
    let mut world = World::with(1, 2, &tight_limits(), rules());
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    world.subscribe(1, "kept/a", Since::Now);
    world.settle();
    world.command(0, Command::Subscribe(member(Since::Now, 5, NO_KEEP)));
    world.broker.failure = Some(BrokerFailure::TooManyGroups);
    world.settle();
    let ended = world.clients[0].notices().into_iter().any(|notice| {
        matches!(notice, Notice::Unsubscribed { refusal, .. } if refusal.code == ErrorCode::Busy)
    });
    assert!(ended);
}

#[test]
fn returning_again_and_again_takes_no_memory() {
    let mut world = world(1, 1);
    join(&mut world, 0, member(Since::Now, 5, NO_KEEP));
    publish(&mut world, [1]);
    let mut sizes = Vec::new();
    for n in 1..=300 {
        give_back(&mut world, 0, 1);
        assert_eq!(in_hand(&world, 0), [1]);
        world.clients[0].read.clear();
        if n % 100 == 0 {
            sizes.push(format!("{:?}", world.workers[0]).len());
        }
    }
    assert!(sizes[2] < sizes[0] + 200, "{sizes:?}");
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

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(500),
        max_shrink_iters: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_publication_is_processed_once_whatever_happens_to_the_members(
        ops in prop::collection::vec(op(), 1..160)
    ) {
        let mut world = World::new(WORKERS, MEMBERS + 1);
        world.connect(MEMBERS, 0, false);
        let mut processed = Processed::default();
        for op in ops {
            perform(&mut world, &mut processed, op);
            nobody_has_the_same(&world);
        }
        work_off(&mut world, &mut processed);
        let head = world.broker.stream(&channel("kept/a")).head().offset;
        let mut offsets = processed.offsets;
        let count = offsets.len();
        offsets.sort_unstable();
        offsets.dedup();
        assert_eq!(offsets, (1..=head).collect::<Vec<_>>(), "not all was processed");
        if !processed.may_repeat {
            assert_eq!(count, offsets.len(), "something was processed twice");
        }
    }
}

#[test]
fn a_token_has_the_position_of_the_group_whoever_reads_for_it() {
    let mut world = world(1, 2);
    for client in 0..2 {
        join(&mut world, client, member(Since::Now, 10, HOUR));
    }
    publish(&mut world, 1..=4);
    for client in 0..2 {
        let (_, connection) = world.clients[client].connection.unwrap();
        let snapshot = world.workers[0].snapshot(connection, world.now).unwrap();
        let position = snapshot.subscriptions[0].position;
        assert_eq!(position, Position::new(1, 4), "member {client}");
    }
}
