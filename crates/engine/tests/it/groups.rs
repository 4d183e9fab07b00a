//! What a worker asks of the broker for its groups, and how it goes on when something was returned
//! while it read, asked, or missed events.

use offhook_engine::*;

use crate::{
    sharing::{HOUR, NO_KEEP, done, in_hand, join, member, publish, world},
    world::{World, channel, rules, tight_limits},
};

/// The offsets that each request claims.
fn claims(requests: &[BrokerRequest]) -> Vec<Vec<u64>> {
    let places = |request: &BrokerRequest| match request {
        BrokerRequest::Share {
            request: ShareRequest::Claim { places, .. },
            ..
        } => Some(places.iter().map(|place| place.offset).collect()),
        _ => None,
    };
    requests.iter().filter_map(places).collect()
}

fn reads(requests: &[BrokerRequest]) -> usize {
    let is_read = |request: &&BrokerRequest| matches!(request, BrokerRequest::History { .. });
    requests.iter().filter(is_read).count()
}

/// Only this worker works, and its clients read.
fn one_worker_works(world: &mut World, worker: usize) {
    for _ in 0..10 {
        let count = world.broker.requests[worker].len();
        world.broker_works(worker, count);
        world.deliver(worker, usize::MAX);
        for client in (worker..world.clients.len()).step_by(world.workers.len()) {
            world.read(client, usize::MAX);
        }
    }
}

/// Publishes without delivering anything.
fn publish_only(world: &mut World, texts: impl IntoIterator<Item = u64>) {
    let publisher = world.clients.len() - 1;
    for text in texts {
        world.publish(publisher, "kept/a", &text.to_string());
    }
    let worker = publisher % world.workers.len();
    let count = world.broker.requests[worker].len();
    world.broker_works(worker, count);
}

#[test]
fn what_a_page_contains_is_claimed_with_one_request_as_far_as_members_have_room() {
    let mut world = world(1, 2);
    publish(&mut world, 1..=3);
    for client in 0..2 {
        world.command(client, Command::Subscribe(member(Since::Start, 1, NO_KEEP)));
    }
    assert_eq!(claims(&world.requests()), [vec![1, 2]]);
    assert_eq!(in_hand(&world, 0), [1]);
    assert_eq!(in_hand(&world, 1), [2]);
}

#[test]
fn what_was_published_while_a_claim_was_unanswered_is_claimed_with_one_request() {
    let mut world = world(1, 1);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    publish_only(&mut world, 1..=3);
    let all = world.requests();
    assert_eq!(claims(&all), [vec![1], vec![2, 3]]);
    assert_eq!(reads(&all), 0);
    assert_eq!(in_hand(&world, 0), [1, 2, 3]);
}

#[test]
fn a_worker_claims_at_most_64_publications_at_a_time() {
    let limits = Limits {
        outbox_bytes: 1 << 20,
        page_count: 1000,
        recent_count: 1000,
        ..tight_limits()
    };
    let mut world = World::with(1, 2, &limits, rules());
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    publish(&mut world, 1..=100);
    world.command(0, Command::Subscribe(member(Since::Start, 1000, NO_KEEP)));
    let claims = claims(&world.requests());
    let counts: Vec<_> = claims.iter().map(Vec::len).collect();
    assert_eq!(counts, [64, 36]);
    assert_eq!(in_hand(&world, 0).len(), 100);
}

#[test]
fn the_next_member_goes_on_without_reading_what_others_were_given() {
    let mut world = world(1, 3);
    for client in 0..3 {
        join(&mut world, client, member(Since::Now, 10, NO_KEEP));
    }
    for n in 1..=12 {
        publish_only(&mut world, [n]);
        assert_eq!(reads(&world.requests()), 0, "{n}");
    }
    assert_eq!(in_hand(&world, 1), [2, 5, 8, 11]);
}

#[test]
fn a_member_that_was_full_for_long_goes_on_where_its_group_is() {
    let mut world = world(1, 2);
    join(&mut world, 0, member(Since::Now, 20, NO_KEEP));
    join(&mut world, 1, member(Since::Now, 1, NO_KEEP));
    for n in 1..=8 {
        publish(&mut world, [n]);
    }
    assert_eq!(in_hand(&world, 1), [2]);
    done(&mut world, 1, 2, false);
    for n in 9..=10 {
        publish_only(&mut world, [n]);
        assert_eq!(reads(&world.requests()), 0, "{n}");
    }
    assert_eq!(in_hand(&world, 1).len(), 1);
}

#[test]
fn a_group_that_begins_at_the_oldest_publication_has_no_gap_before_it() {
    let mut world = world(1, 1);
    publish(&mut world, 1..=5);
    world.broker.trim(&channel("kept/a"), 2);
    join(&mut world, 0, member(Since::Start, 10, NO_KEEP));
    assert_eq!(in_hand(&world, 0), [4, 5]);
    assert!(world.clients[0].gaps().is_empty());
    world.cut(0);
    let since = Since::Position(Position::new(1, 1));
    world.clients[0].subscriptions.clear();
    world.settle();
    world.connect(0, 0, false);
    join(&mut world, 0, member(since, 10, NO_KEEP));
    assert_eq!(in_hand(&world, 0), [4, 5]);
    assert_eq!(world.clients[0].gaps(), [GapReason::EvictedBySize]);
}

#[test]
fn what_was_claimed_and_could_not_be_handed_out_is_claimed_again_by_the_same_worker() {
    let mut world = world(1, 1);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    publish_only(&mut world, 1..=4);
    // The member does not read: its outbox takes three.
    world.settle_broker();
    assert_eq!(world.broker.shares.weight(), 512 + 4 * 64);
    world.settle();
    assert_eq!(
        world.clients[0].deliveries(),
        [(1, 1), (2, 1), (3, 1), (4, 1)]
    );
}

/// Member 0 on worker 0 has room for one and nothing in hand, and member 1 on worker 1 has 2 to 9.
fn all_but_one_elsewhere() -> World {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 1, NO_KEEP));
    publish(&mut world, [1]);
    join(&mut world, 1, member(Since::Now, 100, NO_KEEP));
    publish(&mut world, 2..=9);
    assert_eq!(
        (in_hand(&world, 0), in_hand(&world, 1)),
        (vec![1], (2..=9).collect())
    );
    done(&mut world, 0, 1, false);
    assert_eq!(in_hand(&world, 0), [0; 0]);
    world
}

/// Member 1 returns a publication, which only its worker and the broker know yet.
fn returns(world: &mut World, offset: u64) {
    let subscription = SubscriptionKey::Id(SubscriptionId(1));
    let position = Position::new(1, offset);
    let back = Command::Return {
        subscription,
        position,
    };
    world.command(1, back);
    world.broker_works(1, 1);
}

#[test]
fn what_is_returned_while_a_worker_reads_is_read_as_well() {
    let mut world = all_but_one_elsewhere();
    returns(&mut world, 4);
    world.deliver(0, usize::MAX);
    assert_eq!(reads(world.broker.requests[0].make_contiguous()), 1);
    // Before what is being read.
    returns(&mut world, 2);
    world.deliver(0, usize::MAX);
    one_worker_works(&mut world, 0);
    assert_eq!(in_hand(&world, 0), [2]);
    world.settle();
    let all = [in_hand(&world, 0), in_hand(&world, 1)].concat();
    assert_eq!(all.len(), 8, "{all:?}");
}

#[test]
fn a_gap_that_a_group_found_before_it_went_back_is_announced_once_and_from_where_it_begins() {
    let mut world = all_but_one_elsewhere();
    returns(&mut world, 4);
    world.deliver(0, usize::MAX);
    returns(&mut world, 2);
    world.deliver(0, usize::MAX);
    world.broker.trim(&channel("kept/a"), 0);
    one_worker_works(&mut world, 0);
    let notices = world.clients[0].notices();
    let gap = |notice: &&Notice| match notice {
        Notice::Gap { from, to, .. } => Some((from.offset, to.offset)),
        _ => None,
    };
    let gaps: Vec<_> = notices.iter().filter_map(gap).collect();
    assert_eq!(gaps, [(1, 9)]);
}

#[test]
fn a_worker_that_missed_a_return_while_it_was_quiet_asks_where_its_group_goes_on() {
    let mut world = all_but_one_elsewhere();
    returns(&mut world, 2);
    world.broker.lag(0);
    one_worker_works(&mut world, 0);
    assert_eq!(in_hand(&world, 0), [2]);
}

/// In a channel, what was returned before a place that is no longer retained is not retained either.
#[test]
fn a_worker_that_missed_a_return_while_it_read_asks_where_its_group_goes_on() {
    let mut world = world(2, 2);
    let of_filter = |window| {
        let filter = Filter::new("kept/+").unwrap();
        let wish = Subscribe {
            target: filter.into(),
            ..member(Since::Now, window, NO_KEEP)
        };
        Command::Subscribe(wish)
    };
    world.command(0, of_filter(1));
    world.settle();
    publish(&mut world, [1]);
    world.command(1, of_filter(100));
    world.settle();
    world.publish(2, "kept/b", "2");
    world.settle();
    publish(&mut world, 3..=9);
    done(&mut world, 0, 1, false);
    assert_eq!(in_hand(&world, 1), (2..=9).collect::<Vec<_>>());
    returns(&mut world, 4);
    world.deliver(0, usize::MAX);
    returns(&mut world, 2);
    world.broker.lag(0);
    world.deliver(0, usize::MAX);
    // What is being read is gone, and the rest is not.
    world.broker.trim(&channel("kept/a"), 0);
    one_worker_works(&mut world, 0);
    assert_eq!(in_hand(&world, 0), [2]);
}

#[test]
fn a_worker_that_missed_a_return_while_it_claimed_goes_back_to_it() {
    let mut world = all_but_one_elsewhere();
    publish_only(&mut world, [10]);
    world.deliver(0, usize::MAX);
    assert_eq!(
        claims(world.broker.requests[0].make_contiguous()),
        [vec![10]]
    );
    returns(&mut world, 2);
    world.broker.lag(0);
    one_worker_works(&mut world, 0);
    assert_eq!(in_hand(&world, 0), [2], "it is the oldest");
    world.settle();
    let mut all = [in_hand(&world, 0), in_hand(&world, 1)].concat();
    all.sort_unstable();
    assert_eq!(all, (2..=10).collect::<Vec<_>>());
}

#[test]
fn what_was_claimed_and_can_no_longer_be_read_does_not_stay_claimed() {
    let mut world = world(1, 2);
    for client in 0..2 {
        join(&mut world, client, member(Since::Now, 10, NO_KEEP));
    }
    let empty = world.broker.shares.weight();
    for n in 1..=8 {
        publish(&mut world, [n]);
    }
    done(&mut world, 0, 7, true);
    assert_eq!(in_hand(&world, 1), [2, 4, 6, 8]);
    // 9 is claimed, and before the answer 2 is returned, which is read first.
    publish_only(&mut world, [9]);
    world.cut(1);
    world.broker_works(0, 1);
    world.deliver(0, usize::MAX);
    assert_eq!(
        claims(world.broker.requests[0].make_contiguous()),
        [vec![9]]
    );
    let count = world.broker.requests[0].len();
    world.broker_works(0, count);
    world.broker.trim(&channel("kept/a"), 0);
    world.settle();
    assert_eq!(world.clients[0].gaps(), [GapReason::EvictedBySize]);
    publish(&mut world, [10]);
    assert_eq!(in_hand(&world, 0), [10]);
    done(&mut world, 0, 10, false);
    assert_eq!(
        world.broker.shares.weight(),
        empty,
        "nothing is claimed or returned"
    );
}

#[test]
fn the_reader_that_leaves_while_it_waits_for_publications_gives_its_position_to_the_next() {
    let mut world = world(1, 3);
    for client in 0..3 {
        join(&mut world, client, member(Since::Now, 10, NO_KEEP));
    }
    publish(&mut world, 1..=12);
    let taken = in_hand(&world, 0);
    done(&mut world, 0, *taken.last().unwrap(), true);
    world.cut(0);
    assert_eq!(reads(&world.requests()), 0);
    publish_only(&mut world, [13]);
    assert_eq!(reads(&world.requests()), 0);
    let all = [in_hand(&world, 1), in_hand(&world, 2)].concat();
    assert!(all.contains(&13), "{all:?}");
}

#[test]
fn a_group_is_kept_for_a_member_that_left_before_others_that_do_not_need_it() {
    let mut world = world(1, 2);
    join(&mut world, 0, member(Since::Now, 10, HOUR));
    join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
    publish(&mut world, [1]);
    for client in 0..2 {
        world.cut(client);
        world.settle();
    }
    publish(&mut world, [2]);
    let saved: Vec<_> = world.broker.sessions.values().collect();
    let kept = saved[0].1;
    assert!(
        kept < HOUR && kept > HOUR / 2,
        "some of it is over: {kept:?}"
    );
    world.connect(0, 0, false);
    world.settle();
    let mut texts = world.clients[0].texts("kept/a");
    texts.dedup();
    assert_eq!(texts, ["1", "2"]);
}
