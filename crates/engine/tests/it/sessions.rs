//! Sessions outlive connections: tokens, replacement, draining.

use std::{sync::Arc, time::Duration};

use offhook_engine::*;

use crate::world::{World, channel, client::Wire, rules, tight_limits};

#[test]
fn a_token_restores_subscriptions_and_positions_in_one_round_trip() {
    let mut world = World::new(2, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Now);
        world.subscribe(client, "kept/b", Since::Now);
    }
    world.settle();
    world.publish(1, "kept/a", "1");
    world.settle();
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.publish(1, "kept/a", "2");
    world.publish(1, "kept/b", "3");
    world.settle();
    world.connect(0, 1, true);
    world.settle();
    assert_eq!(world.clients[0].texts("kept/a"), ["1", "2"]);
    assert_eq!(world.clients[0].texts("kept/b"), ["3"]);
}

#[test]
fn the_clients_own_positions_take_precedence_over_those_of_a_token() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    world.issue_token(0);
    world.publish(1, "kept/a", "after the token");
    world.settle();
    world.cut(0);
    world.connect(0, 0, true);
    world.settle();
    assert_eq!(world.clients[0].texts("kept/a"), ["after the token"]);
}

#[test]
fn a_resumed_session_closes_its_old_connection() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    let identity = world.clients[0].identity();
    let (_, old) = world.clients[0].connection.unwrap();
    let session = world.clients[0].session;
    let new = world.workers[0]
        .handle_connection_opened(Arrival::new(session, identity), world.now)
        .unwrap();
    assert_ne!(
        old.index(),
        new.index(),
        "the old connection still uses its place"
    );
    world.pump(0);
    let close = Notice::Close {
        reason: CloseReason::Replaced,
    };
    assert!(matches!(world.clients[0].outbox.back(), Some(Wire::Notice(n)) if *n == close));
    world.workers[0].handle_connection_closed(old);
    assert_eq!(world.workers[0].connections(), 1);
}

#[test]
fn a_closed_connection_is_ignored_everywhere() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    let (_, connection) = world.clients[0].connection.unwrap();
    world.cut(0);
    let engine = &mut world.workers[0];
    engine.handle_command(connection, CommandId(1), Command::Ping, world.now);
    engine.handle_full(connection);
    engine.handle_writable(connection, 10);
    engine.handle_connection_lost(connection);
    engine.handle_receipt(connection, 0);
    assert!(engine.poll_delivery().is_none());
    assert!(engine.snapshot(connection, world.now).is_none());
    assert_eq!(engine.mark(connection), None);
}

#[test]
fn a_drain_gives_each_connection_its_own_pause_and_accepts_no_new_ones() {
    let mut world = World::new(1, 3);
    for client in 0..3 {
        world.connect(client, 0, false);
    }
    let mut random = [0, u32::MAX / 2, u32::MAX].into_iter();
    let spread = Duration::from_secs(10);
    world.workers[0].handle_drain(spread, || random.next().unwrap());
    world.pump(0);
    let advice = |c: &crate::world::client::Client| match c.outbox.front() {
        Some(Wire::Notice(Notice::Reconnect { after })) => after.as_millis(),
        _ => panic!("no advice"),
    };
    let pauses: Vec<_> = world.clients.iter().map(advice).collect();
    assert_eq!(pauses, [0, 4999, 10_000]);
    let stranger = Arc::new(Identity::stranger());
    let session = SessionId::from_bytes([9; 16]);
    let refused =
        world.workers[0].handle_connection_opened(Arrival::new(session, stranger), world.now);
    assert_eq!(refused.unwrap_err().code.retry(), Retry::Reconnect);
}

#[test]
fn the_last_subscriber_of_a_channel_unfollows_it() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    let asked = |world: &World| world.broker.requests[0].iter().cloned().collect::<Vec<_>>();
    let unfollow = BrokerRequest::Unfollow {
        channel: channel("kept/a"),
    };
    world.cut(0);
    assert!(!asked(&world).contains(&unfollow));
    world.cut(1);
    assert!(asked(&world).contains(&unfollow));
    assert_eq!(world.workers[0].channels(), 0);
}

#[test]
fn a_closed_connection_uses_no_memory() {
    let mut world = World::with(1, 50, &tight_limits(), rules());
    for client in 0..50 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Start);
    }
    for client in 0..50 {
        world.cut(client);
    }
    world.settle();
    assert_eq!(
        (world.workers[0].connections(), world.workers[0].channels()),
        (0, 0)
    );
    assert_eq!(world.workers[0].poll_timeout(), None);
}

#[test]
fn a_session_on_a_newer_connection_is_found_after_the_older_one_has_ended() {
    let mut world = World::new(1, 0);
    let session = SessionId::from_bytes([1; 16]);
    let whom = Whom::Session(session);
    let mut open = || {
        let arrival = Arrival::new(session, Arc::new(Identity::stranger()));
        world.workers[0].handle_connection_opened(arrival, world.now)
    };
    let (old, new) = (open().unwrap(), open().unwrap());
    let engine = &mut world.workers[0];
    // It is numbered after the older one, whatever number the caller gave it.
    let generation = |engine: &Engine, of| engine.snapshot(of, world.now).unwrap().generation;
    assert_eq!(generation(engine, new), 2);
    engine.handle_connection_lost(old);
    assert_eq!(engine.connections_of(&whom), [new]);
    engine.handle_connection_lost(new);
    assert_eq!(engine.connections_of(&whom), []);
}

#[test]
fn a_client_is_told_that_all_is_restored_after_the_last_subscription_and_once() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    for name in ["kept/a", "kept/b", "kept/c"] {
        world.subscribe(0, name, Since::Now);
    }
    world.settle();
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.settle();
    let restored = |world: &World| {
        let notices = world.clients[0].notices();
        notices
            .iter()
            .filter(|notice| ***notice == Notice::Restored)
            .count()
    };
    assert_eq!(restored(&world), 0);
    world.connect(0, 0, true);
    for told in [0, 0, 1] {
        // One subscription begins: its request is answered.
        world.broker_works(0, 1);
        world.deliver(0, 1);
        world.read(0, usize::MAX);
        assert_eq!(restored(&world), told);
    }
    world.settle();
    assert_eq!(restored(&world), 1);
}

#[test]
fn a_connection_with_room_does_not_ask_for_more() {
    let mut world = World::new(1, 0);
    let arrival = Arrival::new(
        SessionId::from_bytes([1; 16]),
        Arc::new(Identity::stranger()),
    );
    let engine = &mut world.workers[0];
    let connection = engine.handle_connection_opened(arrival, world.now).unwrap();
    assert!(!engine.wants_writable(connection));
    engine.handle_full(connection);
    assert!(engine.wants_writable(connection));
    assert_eq!(engine.poll_wants_writable(), Some(connection));
    engine.handle_full(connection);
    engine.handle_writable(connection, 100);
    assert!(!engine.wants_writable(connection));
    assert_eq!(engine.poll_wants_writable(), None);
    // An outbox that has no room at all still waits.
    engine.handle_writable(connection, 0);
    assert!(engine.wants_writable(connection));
}
