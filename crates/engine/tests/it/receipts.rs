//! Receipts: anyone may ask which subscribers have offset N; the pongs of stock clients count as
//! the answer.

use std::time::Duration;

use offhook_engine::*;

use crate::world::{World, channel};

/// Asks as this client, and waits until everything is settled.
fn receipts(world: &mut World, client: usize, position: Position) -> Reply {
    world.wait(Duration::from_secs(1));
    let channel = channel("kept/a");
    world.command(client, Command::Receipts { channel, position });
    world.settle();
    let replies = world.clients[client].replies();
    (*replies.last().expect("an answer")).clone()
}

fn counted(world: &mut World, offset: u64) -> (u64, u64) {
    match receipts(world, 0, Position::new(1, offset)) {
        Reply::Receipts { receipts, .. } => (receipts.received, receipts.subscribers),
        other => panic!("{other:?}"),
    }
}

/// Three subscribers, the last one on another worker, and two publications that were delivered to
/// all of them.
fn two_published() -> World {
    let mut world = World::new(2, 3);
    for client in 0..3 {
        world.connect(client, client / 2, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    world.publish(0, "kept/a", "1");
    world.publish(0, "kept/a", "2");
    world.settle();
    world
}

#[test]
fn the_first_receipts_question_sends_pings_whose_pongs_answer_the_next_one() {
    let mut world = two_published();
    assert_eq!(counted(&mut world, 2), (0, 3), "nothing is proven yet");
    assert_eq!(counted(&mut world, 2), (3, 3));
    let sessions: Vec<_> = world.clients.iter().map(|client| client.session).collect();
    let Reply::Receipts { receipts, .. } = receipts(&mut world, 1, Position::new(1, 1)) else {
        panic!()
    };
    assert!(
        sessions
            .iter()
            .all(|session| receipts.sessions.contains(session))
    );
}

#[test]
fn a_pong_proves_everything_sent_before_its_mark_and_nothing_after() {
    let mut world = two_published();
    let (worker, connection) = world.clients[1].connection.unwrap();
    let mark = world.workers[worker].mark(connection).unwrap();
    world.publish(0, "kept/a", "3");
    world.settle();
    world.workers[worker].handle_receipt(connection, mark);
    assert_eq!(counted(&mut world, 2), (1, 3));
    let mut world = two_published();
    let mark = world.workers[worker].mark(connection).unwrap();
    world.publish(0, "kept/a", "3");
    world.settle();
    world.workers[worker].handle_receipt(connection, mark);
    assert_eq!(counted(&mut world, 3), (0, 3));
}

#[test]
fn an_invented_or_an_old_mark_proves_nothing() {
    let mut world = two_published();
    let (worker, connection) = world.clients[1].connection.unwrap();
    let old = world.workers[worker].mark(connection).unwrap();
    let new = world.workers[worker].mark(connection).unwrap();
    for mark in [old, new.wrapping_add(1), u32::MAX] {
        world.workers[worker].handle_receipt(connection, mark);
    }
    assert_eq!(counted(&mut world, 1), (0, 3));
}

#[test]
fn a_connection_that_does_not_read_has_no_receipts_and_gets_one_mark() {
    let mut world = two_published();
    let marks = |world: &mut World| {
        world.workers[0].handle_broker(
            BrokerEvent::AskReceipts {
                ask: AskId(0),
                channel: channel("kept/a"),
                position: Position::new(1, 2),
            },
            world.now,
        );
        let mut marks = 0;
        while let Some(delivery) = world.workers[0].poll_delivery() {
            marks += usize::from(matches!(delivery, Delivery::Mark { .. }));
        }
        while world.workers[0].poll_broker_request().is_some() {}
        world.now.instant += Duration::from_secs(1);
        marks
    };
    assert_eq!(marks(&mut world), 2);
    assert_eq!(marks(&mut world), 0);
}

#[test]
fn receipts_of_another_epoch_do_not_count() {
    let mut world = two_published();
    assert_eq!(counted(&mut world, 2).0, 0);
    assert_eq!(counted(&mut world, 2).0, 3);
    world.broker.new_epoch(&channel("kept/a"));
    world.settle();
    // Neither a lost nor a future position is valid in the stream.
    for position in [Position::new(1, 1), Position::new(2, 1)] {
        let reply = receipts(&mut world, 0, position);
        let refused = matches!(&reply, Reply::Refused(r) if r.code == ErrorCode::BadRequest);
        assert!(refused, "{reply:?}");
    }
    world.publish(0, "kept/a", "another first");
    world.settle();
    let Reply::Receipts { receipts, .. } = receipts(&mut world, 0, Position::new(2, 1)) else {
        panic!()
    };
    assert_eq!(receipts.received, 0, "no pong has proven this one yet");
}

#[test]
fn frequent_questions_about_receipts_are_refused() {
    let mut world = two_published();
    for _ in 0..2 {
        let channel = channel("kept/a");
        let position = Position::new(1, 2);
        world.command(0, Command::Receipts { channel, position });
    }
    world.settle();
    let replies = world.clients[0].replies();
    let busy = |reply: &&&Reply| matches!(reply, Reply::Refused(r) if r.code == ErrorCode::Busy);
    assert_eq!(replies.iter().filter(busy).count(), 1);
}

#[test]
fn a_consumer_can_read_its_position() {
    let mut world = two_published();
    let ask = |position| Command::Ack {
        channel: channel("kept/a"),
        consumer: Key::new("billing").unwrap(),
        position,
    };
    let done = Position::new(1, 1);
    for position in [None, Some(done), None] {
        world.command(0, ask(position));
    }
    world.settle();
    let acked = |reply: &&Reply| match reply {
        Reply::Acked { position, .. } => Some(*position),
        _ => None,
    };
    let replies = world.clients[0].replies();
    let told: Vec<_> = replies.iter().filter_map(acked).collect();
    assert_eq!(told, [None, Some(done), Some(done)]);
}

#[test]
fn acknowledging_in_a_channel_without_history_is_refused() {
    let mut world = two_published();
    let ack = Command::Ack {
        channel: channel("flow/c"),
        consumer: Key::new("billing").unwrap(),
        position: Some(Position::new(1, 1)),
    };
    world.command(0, ack);
    world.settle();
    let replies = world.clients[0].replies();
    let refused =
        |reply: &&Reply| matches!(reply, Reply::Refused(r) if r.code == ErrorCode::NoHistory);
    assert!(replies.iter().any(refused));
}

#[test]
fn receipts_can_be_queried_repeatedly() {
    let mut world = two_published();
    assert_eq!(counted(&mut world, 2), (0, 3));
    assert_eq!(counted(&mut world, 2), (3, 3));
    for offset in 3..6 {
        world.publish(0, "kept/a", "more");
        world.settle();
        assert_eq!(counted(&mut world, offset), (0, 3));
        assert_eq!(counted(&mut world, offset), (3, 3));
    }
}

#[test]
fn later_subscribers_have_not_received_earlier_publications() {
    let mut world = two_published();
    let late = Subscribe::new(channel("kept/a"), Since::Now).numbered(9);
    world.command(1, Command::Subscribe(late));
    world.settle();
    world.publish(0, "kept/a", "3");
    world.settle();
    // The session has both by its first subscription, and counts once.
    for offset in [2, 3] {
        counted(&mut world, offset);
        assert_eq!(counted(&mut world, offset), (3, 3));
    }
}

#[test]
fn later_subscribers_are_not_counted_for_earlier_publications() {
    let mut world = World::new(2, 3);
    for client in 0..2 {
        world.connect(client, client, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    world.publish(0, "kept/a", "1");
    world.settle();
    world.connect(2, 0, false);
    world.subscribe(2, "kept/a", Since::Now);
    world.settle();
    world.publish(0, "kept/a", "2");
    world.settle();
    for (offset, all) in [(1, 2), (2, 3)] {
        counted(&mut world, offset);
        assert_eq!(counted(&mut world, offset), (all, all));
    }
}

#[test]
fn a_session_with_an_acknowledged_flow_has_received_what_its_pongs_prove() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    world.subscribe(0, "kept/a", Since::Now);
    let flow = Flow::Acknowledged { window: 8 };
    let windowed = Subscribe::new(channel("kept/a"), Since::Now).numbered(1);
    world.command(1, Command::Subscribe(Subscribe { flow, ..windowed }));
    world.settle();
    world.publish(0, "kept/a", "1");
    world.settle();
    counted(&mut world, 1);
    assert_eq!(counted(&mut world, 1), (2, 2));
}

#[test]
fn publications_skipped_by_a_gap_count_as_not_received() {
    let mut world = two_published();
    world.cut(1);
    world.publish(0, "kept/a", "3");
    world.publish(0, "kept/a", "4");
    world.settle();
    world.broker.trim(&channel("kept/a"), 1);
    world.connect(1, 0, false);
    world.settle();
    assert_eq!(world.clients[1].gaps(), [GapReason::EvictedBySize]);
    for (offset, received) in [(3, 2), (4, 3)] {
        counted(&mut world, offset);
        assert_eq!(counted(&mut world, offset), (received, 3));
    }
}

#[test]
fn a_position_of_a_stream_that_diverged_was_received_by_nobody() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    world.publish(0, "kept/a", "1");
    world.settle();
    let lost = Position::new(1, 1);
    world.broker.restart(&channel("kept/a"), 1);
    world.settle();
    world.publish(0, "kept/a", "another 1");
    world.settle();
    let Reply::Refused(refusal) = receipts(&mut world, 0, lost) else {
        panic!("the position is no place in the stream")
    };
    assert_eq!(
        refusal.code,
        ErrorCode::BadRequest,
        "it is no longer part of the stream"
    );
}

#[test]
fn a_connection_that_catches_up_keeps_its_receipts() {
    let mut world = two_published();
    counted(&mut world, 2);
    assert_eq!(counted(&mut world, 2), (3, 3));
    for n in 3..=15 {
        world.publish(0, "kept/a", &n.to_string());
        world.settle_broker();
        world.read(0, usize::MAX);
    }
    world.settle();
    let told = world.clients[1].notices();
    assert!(told.iter().any(|n| matches!(n, Notice::CatchingUp { .. })));
    assert_eq!(counted(&mut world, 2), (3, 3));
}

/// How many of the sessions on worker 0 have received this publication, as far as it is known.
fn found(world: &mut World, position: Position) -> u64 {
    world.now.instant += Duration::from_secs(1);
    let asked = BrokerEvent::AskReceipts {
        ask: AskId(0),
        channel: channel("kept/a"),
        position,
    };
    world.workers[0].handle_broker(asked, world.now);
    match world.workers[0].poll_broker_request() {
        Some(BrokerRequest::Found { receipts, .. }) => receipts.expect("not too often").received,
        other => panic!("{other:?}"),
    }
}

#[test]
fn receipts_of_a_stream_that_was_replaced_do_not_count_for_the_new_one() {
    let mut world = two_published();
    counted(&mut world, 2);
    assert_eq!(counted(&mut world, 2), (3, 3));
    world.broker.restart(&channel("kept/a"), 2);
    for text in ["another 1", "another 2"] {
        world.publish(0, "kept/a", text);
    }
    world.broker_works(0, 2);
    world.deliver(0, usize::MAX);
    let another = Position::new(2, 1);
    assert_eq!(found(&mut world, another), 0, "it is being read");
    let requests = world.broker.requests[0].len();
    world.broker_works(0, requests);
    let read = world.broker.next_read(0).expect("both need the same");
    world.workers[0].handle_broker(read, world.now);
    assert_eq!(
        found(&mut world, another),
        0,
        "the gap was not announced yet"
    );
    world.pump(0);
    world.settle();
    receipts(&mut world, 0, another);
    let Reply::Receipts { receipts, .. } = receipts(&mut world, 0, another) else {
        panic!()
    };
    assert_eq!((receipts.received, receipts.subscribers), (3, 3));
}
