//! Resubscribing with a position: everything, in order, once; or a gap with the reason.

use std::sync::Arc;

use offhook_engine::*;

use crate::world::{World, channel};

fn gap_of(world: &World, client: usize) -> (Position, Position, GapReason) {
    let gaps = world.clients[client].notices();
    let gap = gaps.iter().find_map(|notice| match notice {
        Notice::Gap {
            from, to, reason, ..
        } => Some((*from, *to, *reason)),
        _ => None,
    });
    gap.expect("a gap was announced")
}

/// A channel with ten publications, and no connection but the publisher's.
fn ten_published(name: &str) -> World {
    let mut world = World::new(2, 3);
    world.connect(0, 0, false);
    for n in 1..=10 {
        world.publish(0, name, &n.to_string());
    }
    world.settle();
    world
}

fn subscribe_since(world: &mut World, epoch: u64, offset: u64) {
    world.connect(1, 0, false);
    world.subscribe(1, "kept/a", Since::Position(Position::new(epoch, offset)));
    world.settle();
}

#[test]
fn a_subscription_from_a_position_gets_what_follows_and_then_live() {
    let mut world = ten_published("kept/a");
    subscribe_since(&mut world, 1, 6);
    assert_eq!(world.clients[1].texts("kept/a"), ["7", "8", "9", "10"]);
    let live = Notice::Live {
        subscription: channel("kept/a").into(),
        position: Position::new(1, 10),
    };
    assert!(world.clients[1].notices().contains(&&live));
}

#[test]
fn a_subscription_from_the_head_is_live_immediately() {
    let mut world = ten_published("kept/a");
    subscribe_since(&mut world, 1, 10);
    assert!(world.clients[1].to("kept/a").live);
    assert!(world.clients[1].texts("kept/a").is_empty());
}

#[test]
fn a_trimmed_position_is_a_gap_with_reason_evicted_by_size() {
    let mut world = ten_published("kept/a");
    world.broker.trim(&channel("kept/a"), 3);
    subscribe_since(&mut world, 1, 2);
    let gap = (
        Position::new(1, 2),
        Position::new(1, 7),
        GapReason::EvictedBySize,
    );
    assert_eq!(gap_of(&world, 1), gap);
    assert_eq!(world.clients[1].texts("kept/a"), ["8", "9", "10"]);
}

#[test]
fn a_position_of_another_epoch_is_a_gap_with_reason_epoch_changed() {
    let mut world = ten_published("kept/a");
    world.broker.new_epoch(&channel("kept/a"));
    world.publish(0, "kept/a", "anew");
    world.settle();
    subscribe_since(&mut world, 1, 10);
    let gap = (
        Position::new(1, 10),
        Position::new(2, 0),
        GapReason::EpochChanged,
    );
    assert_eq!(gap_of(&world, 1), gap);
    assert_eq!(world.clients[1].texts("kept/a"), ["anew"]);
}

#[test]
fn a_client_that_knows_a_new_epoch_before_its_worker_misses_nothing_and_gets_no_gap() {
    let mut world = World::new(2, 2);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.publish(0, "kept/a", "old");
    world.settle();
    world.broker.new_epoch(&channel("kept/a"));
    world.connect(1, 1, false);
    world.subscribe(1, "kept/a", Since::Now);
    world.broker_works(1, 9);
    world.deliver(1, 9);
    world.read(1, 9);
    world.cut(1);
    world.connect(1, 0, false);
    world.settle();
    assert!(world.clients[1].gaps().is_empty());
    assert!(world.clients[1].texts("kept/a").is_empty());
    assert!(world.clients[1].to("kept/a").live);
}

#[test]
fn a_position_ahead_of_the_stream_is_a_gap_with_reason_unknown_position() {
    let mut world = ten_published("kept/a");
    subscribe_since(&mut world, 1, 99);
    let gap = (
        Position::new(1, 99),
        Position::new(1, 10),
        GapReason::UnknownPosition,
    );
    assert_eq!(gap_of(&world, 1), gap);
    assert!(world.clients[1].to("kept/a").live);
}

#[test]
fn last_n_causes_no_gap_even_if_there_are_fewer() {
    let mut world = ten_published("kept/a");
    world.broker.trim(&channel("kept/a"), 2);
    world.connect(1, 0, false);
    world.subscribe(1, "kept/a", Since::Last(5));
    world.settle();
    assert_eq!(world.clients[1].texts("kept/a"), ["9", "10"]);
    assert!(world.clients[1].gaps().is_empty());
}

#[test]
fn start_is_the_oldest_retained_publication() {
    let mut world = ten_published("kept/a");
    world.broker.trim(&channel("kept/a"), 4);
    world.connect(1, 0, false);
    world.subscribe(1, "kept/a", Since::Start);
    world.settle();
    assert_eq!(world.clients[1].texts("kept/a"), ["7", "8", "9", "10"]);
}

#[test]
fn a_client_ahead_of_its_new_worker_waits_and_gets_no_duplicate() {
    let mut world = World::new(2, 3);
    for (client, worker) in [(0, 0), (1, 1)] {
        world.connect(client, worker, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    world.publish(0, "kept/a", "1");
    world.broker_works(0, 1);
    world.deliver(0, 2);
    world.read(0, 9);
    assert_eq!(world.clients[0].texts("kept/a"), ["1"]);
    // The other worker does not know of the session when the client connects to it.
    world.cut(0);
    world.connect(0, 1, false);
    world.broker_works(1, 9);
    let read = world
        .broker
        .next_read(1)
        .expect("the position is checked by a read");
    world.workers[1].handle_broker(read, world.now);
    world.pump(1);
    world.read(0, 9);
    assert!(!world.clients[0].to("kept/a").live);
    let asks = |request: &BrokerRequest| {
        matches!(
            request,
            BrokerRequest::Follow { .. } | BrokerRequest::History { .. }
        )
    };
    assert!(!world.broker.requests[1].iter().any(asks), "it waits");
    world.publish(1, "kept/a", "2");
    world.settle();
    assert_eq!(world.clients[0].texts("kept/a"), ["1", "2"]);
    assert!(world.clients[0].to("kept/a").live);
    assert!(world.clients[0].gaps().is_empty());
}

#[test]
fn a_publication_sent_twice_by_the_broker_is_delivered_once() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    world.publish(0, "kept/a", "1");
    world.settle();
    let again = Arc::clone(&world.broker.streams[&channel("kept/a")].all[&(1, 1)]);
    world.workers[0].handle_broker(BrokerEvent::Publication(again), world.now);
    world.pump(0);
    assert!(world.clients[0].outbox.is_empty());
}

#[test]
fn many_clients_with_one_position_cause_one_read_of_history() {
    let mut world = World::new(1, 100);
    world.connect(0, 0, false);
    world.publish(0, "kept/a", "1");
    world.publish(0, "kept/a", "2");
    world.settle();
    for client in 1..100 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Position(Position::new(1, 0)));
    }
    world.broker_works(0, 1);
    world.deliver(0, 1);
    let history = |request: &&BrokerRequest| matches!(request, BrokerRequest::History { .. });
    assert_eq!(world.broker.requests[0].iter().filter(history).count(), 1);
    world.settle();
    assert!(
        world.clients[1..]
            .iter()
            .all(|c| c.texts("kept/a") == ["1", "2"])
    );
}

#[test]
fn a_failing_disk_delays_catching_up_and_loses_nothing() {
    let mut world = ten_published("kept/a");
    world.connect(1, 0, false);
    world.subscribe(1, "kept/a", Since::Position(Position::new(1, 5)));
    world.broker_works(0, 1);
    world.deliver(0, 1);
    world.broker.failure = Some(BrokerFailure::StorageFailed);
    world.settle();
    assert!(world.clients[1].texts("kept/a").is_empty());
    world.broker.failure = None;
    world.settle();
    assert_eq!(world.clients[1].texts("kept/a"), ["6", "7", "8", "9", "10"]);
}

#[test]
fn a_corrupt_log_ends_the_subscription_with_a_reason() {
    let mut world = ten_published("kept/a");
    world.connect(1, 0, false);
    world.subscribe(1, "kept/a", Since::Position(Position::new(1, 5)));
    world.broker_works(0, 1);
    world.deliver(0, 1);
    world.broker.failure = Some(BrokerFailure::StorageCorrupt);
    world.settle();
    let ended = world.clients[1].notices().into_iter().any(|notice| {
        matches!(notice, Notice::Unsubscribed { refusal, .. }
            if refusal.code == ErrorCode::StorageCorrupt)
    });
    assert!(ended);
    assert!(world.clients[1].texts("kept/a").is_empty());
}

#[test]
fn a_history_query_reports_what_is_missing_before_its_first_publication() {
    let mut world = ten_published("kept/a");
    world.broker.trim(&channel("kept/a"), 2);
    let since = Since::Position(Position::new(1, 3));
    world.command(
        0,
        Command::History {
            channel: channel("kept/a"),
            since,
            limit: 10,
        },
    );
    world.settle();
    let replies = world.clients[0].replies();
    let Some(Reply::History {
        publications,
        gap,
        head,
        ..
    }) = replies.last()
    else {
        panic!()
    };
    assert_eq!(publications.len(), 2);
    assert_eq!(*gap, Some(GapReason::EvictedBySize));
    assert_eq!(*head, Position::new(1, 10));
}

/// The result of reading backward: offsets, the gap, and whether there is more.
fn read_before(world: &mut World, before: Position) -> (Vec<u64>, Option<GapReason>, bool) {
    let channel = channel("kept/a");
    let history = Command::HistoryBefore {
        channel,
        before,
        limit: 10,
    };
    world.command(0, history);
    world.settle();
    let replies = world.clients[0].replies();
    let Some(Reply::History {
        publications,
        gap,
        more,
        ..
    }) = replies.last()
    else {
        panic!("{replies:?}")
    };
    let offsets = publications.iter().map(|p| p.position.offset).collect();
    (offsets, *gap, *more)
}

#[test]
fn history_can_be_read_backward_in_pages_to_the_oldest_publication() {
    let mut world = ten_published("kept/a");
    world.broker.trim(&channel("kept/a"), 8);
    let mut before = |offset| read_before(&mut world, Position::new(1, offset));
    // A page has three here.
    assert_eq!(before(9), (vec![6, 7, 8], None, true));
    assert_eq!(before(6), (vec![3, 4, 5], None, false));
    assert_eq!(before(3), (vec![], None, false));
    assert_eq!(before(1), (vec![], None, false));
}

#[test]
fn history_read_forward_says_whether_there_is_more() {
    let mut world = ten_published("kept/a");
    let mut read = |since, limit| {
        let channel = channel("kept/a");
        let history = Command::History {
            channel,
            since,
            limit,
        };
        world.command(0, history);
        world.settle();
        match world.clients[0].replies().last() {
            Some(Reply::History {
                publications, more, ..
            }) => (publications.len(), *more),
            other => panic!("{other:?}"),
        }
    };
    let after = |offset| Since::Position(Position::new(1, offset));
    // A page has three here.
    assert_eq!(read(Since::Start, 10), (3, true));
    assert_eq!(read(after(7), 10), (3, false));
    assert_eq!(read(after(7), 2), (2, true));
    assert_eq!(read(Since::Last(2), 10), (2, false));
    assert_eq!(read(after(10), 10), (0, false));
    // Only the head was asked for.
    assert_eq!(read(Since::Start, 0), (0, false));
}

#[test]
fn history_before_an_invalid_position_reports_the_reason() {
    let mut world = ten_published("kept/a");
    let unknown = read_before(&mut world, Position::new(1, 99));
    assert_eq!(
        unknown,
        (vec![8, 9, 10], Some(GapReason::UnknownPosition), true)
    );
    world.broker.restart(&channel("kept/a"), 4);
    world.publish(0, "kept/a", "other 7");
    world.settle();
    let diverged = read_before(&mut world, Position::new(1, 9));
    assert_eq!(diverged, (vec![4, 5, 6], Some(GapReason::Diverged), true));
}

#[test]
fn a_restart_without_loss_causes_no_gap() {
    let mut world = ten_published("kept/a");
    world.broker.restart(&channel("kept/a"), 0);
    world.publish(0, "kept/a", "11");
    world.settle();
    subscribe_since(&mut world, 1, 9);
    assert_eq!(world.clients[1].texts("kept/a"), ["10", "11"]);
    assert!(world.clients[1].gaps().is_empty());
    let seen = world.clients[1].to("kept/a");
    assert_eq!(seen.position, Some(Position::new(2, 11)));
}

#[test]
fn a_position_beyond_the_end_of_its_epoch_is_a_gap_from_where_the_streams_diverged() {
    let mut world = ten_published("kept/a");
    world.broker.restart(&channel("kept/a"), 4);
    for text in ["other 7", "other 8"] {
        world.publish(0, "kept/a", text);
    }
    world.settle();
    subscribe_since(&mut world, 1, 8);
    let notices = world.clients[1].notices();
    let gap = Notice::Gap {
        subscription: channel("kept/a").into(),
        from: Position::new(1, 8),
        to: Position::new(1, 6),
        reason: GapReason::Diverged,
        agreed: Some(Position::new(1, 6)),
    };
    assert!(notices.contains(&&gap), "{notices:?}");
    assert_eq!(world.clients[1].texts("kept/a"), ["other 7", "other 8"]);
}

#[test]
fn publications_trimmed_after_a_divergence_are_in_the_same_gap() {
    let mut world = ten_published("kept/a");
    world.broker.restart(&channel("kept/a"), 4);
    for n in 0..5 {
        world.publish(0, "kept/a", &format!("other {n}"));
    }
    world.settle();
    world.broker.trim(&channel("kept/a"), 2);
    subscribe_since(&mut world, 1, 8);
    let notices = world.clients[1].notices();
    let gap = Notice::Gap {
        subscription: channel("kept/a").into(),
        from: Position::new(1, 8),
        to: Position::new(2, 9),
        reason: GapReason::Diverged,
        agreed: Some(Position::new(1, 6)),
    };
    assert!(notices.contains(&&gap), "{notices:?}");
    assert_eq!(world.clients[1].texts("kept/a"), ["other 3", "other 4"]);
}

#[test]
fn a_subscription_from_the_start_survives_the_loss_of_everything_before_its_first_read() {
    let mut world = World::new(1, 2);
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    world.publish(1, "kept/a", "lost");
    world.subscribe(1, "kept/a", Since::Start);
    world.broker_works(0, 2);
    world.broker.restart(&channel("kept/a"), 1);
    world.deliver(0, 2);
    world.publish(0, "kept/a", "kept");
    world.settle();
    assert_eq!(world.clients[1].texts("kept/a"), ["kept"]);
    let seen = world.clients[1].to("kept/a");
    assert!(seen.live);
}

#[test]
fn a_subscription_ended_by_a_corrupt_log_is_removed_completely_and_can_be_made_again() {
    let mut world = ten_published("kept/a");
    world.connect(1, 0, false);
    world.subscribe(1, "kept/a", Since::Position(Position::new(1, 5)));
    world.broker_works(0, 1);
    world.deliver(0, 1);
    world.broker.failure = Some(BrokerFailure::StorageCorrupt);
    world.settle();
    assert_eq!(
        (
            world.workers[0].subscriptions(),
            world.workers[0].channels()
        ),
        (0, 0)
    );
    let member = (channel("kept/a"), world.clients[1].session);
    assert!(
        world
            .broker
            .members
            .get(&member)
            .is_none_or(|claim| claim.1),
        "it is only awaited"
    );
    world.broker.failure = None;
    world.subscribe(1, "kept/a", Since::Position(Position::new(1, 8)));
    world.settle();
    assert_eq!(world.clients[1].texts("kept/a"), ["9", "10"]);
}

#[test]
fn reads_in_flight_of_a_worker_are_limited_and_others_wait() {
    let mut world = World::new(1, 8);
    world.connect(0, 0, false);
    for n in 1..=10 {
        world.publish(0, "kept/a", &n.to_string());
    }
    world.settle();
    for client in 1..8 {
        world.connect(client, 0, false);
        let since = Since::Position(Position::new(1, client as u64));
        world.subscribe(client, "kept/a", since);
    }
    world.broker_works(0, 1);
    world.deliver(0, 1);
    let reads = |world: &World| {
        let is_read = |request: &&BrokerRequest| matches!(request, BrokerRequest::History { .. });
        world.broker.requests[0].iter().filter(is_read).count()
    };
    assert_eq!(reads(&world), crate::world::tight_limits().reads);
    world.settle();
    for client in 1..8 {
        let expected: Vec<_> = (client + 1..=10).map(|n| n.to_string()).collect();
        assert_eq!(world.clients[client].texts("kept/a"), expected);
    }
}

#[test]
fn a_read_that_returns_nothing_although_there_is_more_is_delayed() {
    let mut world = ten_published("kept/a");
    world.connect(1, 0, false);
    world.subscribe(1, "kept/a", Since::Position(Position::new(1, 5)));
    world.broker_works(0, 1);
    world.deliver(0, 1);
    let start = Position::new(1, 5);
    let stream = StreamState {
        head: Position::new(1, 10),
        first: 1,
        trimmed: Trimmed::BySize,
    };
    for round in 0..3 {
        let mut reads = std::mem::take(&mut world.broker.requests[0]).into_iter();
        let read = reads.find_map(|request| match request {
            BrokerRequest::History { id, .. } => Some(id),
            _ => None,
        });
        let id = read.expect("it is read again after the pause");
        let start = ReadStart::at(start);
        let publications = Vec::new();
        let nothing = BrokerEvent::History {
            id,
            stream,
            start,
            publications,
        };
        world.workers[0].handle_broker(nothing, world.now);
        world.pump(0);
        if round > 0 {
            assert!(world.broker.requests[0].is_empty(), "not at once");
            let pause = crate::world::tight_limits().read_again_after;
            assert_eq!(
                world.workers[0].poll_timeout(),
                Some(world.now.instant + pause)
            );
            world.wait(pause);
        }
    }
    world.settle();
    assert_eq!(world.clients[1].texts("kept/a"), ["6", "7", "8", "9", "10"]);
}
