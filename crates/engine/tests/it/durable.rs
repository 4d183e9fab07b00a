//! Durable sessions while no connection has them.

use std::{sync::Arc, time::Duration};

use offhook_engine::*;

use crate::world::{World, channel, tight_limits};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Client 0 has a durable session with a window in a channel of three publications.
fn durable() -> World {
    let mut world = World::new(2, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    let (worker, connection) = world.clients[0].connection.unwrap();
    world.workers[worker].set_durable(connection, Some(WEEK));
    let wish = Subscribe::new(channel("kept/a"), Since::Now).acknowledged(10);
    world.command(0, Command::Subscribe(wish));
    world.settle();
    for text in ["1", "2", "3"] {
        world.publish(1, "kept/a", text);
    }
    world.settle();
    world
}

/// The session as another worker loads it.
fn load(world: &mut World) -> Option<SessionSnapshot> {
    let session = world.clients[0].session;
    world.workers[1].handle_load_session(CallerId(7), session, world.now);
    world.pump(1);
    world.settle();
    match world.workers[1].poll_caller_reply() {
        Some((CallerId(7), CallerReply::Session(snapshot))) => snapshot.map(|s| *s),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_that_becomes_durable_is_saved_once_it_has_settled() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    let (_, connection) = world.clients[0].connection.unwrap();
    let engine = &mut world.workers[0];
    engine.set_durable(connection, Some(WEEK));
    let soon = world.now.instant + tight_limits().save_after;
    assert_eq!(engine.poll_timeout(), Some(soon));
}

#[test]
fn a_durable_session_is_saved_soon_after_it_changed_and_not_with_each_change() {
    let mut world = durable();
    let saves = |world: &World| {
        let is_save = |r: &&BrokerRequest| matches!(r, BrokerRequest::SaveSession { .. });
        world.broker.requests[0].iter().filter(is_save).count()
    };
    for offset in 1..=3 {
        let (subscription, cumulative) = (channel("kept/a").into(), false);
        let position = Position::new(1, offset);
        world.command(
            0,
            Command::Done {
                subscription,
                position,
                cumulative,
            },
        );
    }
    assert_eq!(saves(&world), 0);
    let due = world.workers[0].poll_timeout().unwrap();
    assert_eq!(due, world.now.instant + tight_limits().save_after);
    world.wait(tight_limits().save_after - Duration::from_millis(1));
    assert_eq!(saves(&world), 0, "others may change it, too");
    world.wait(Duration::from_millis(1));
    assert_eq!(saves(&world), 1);
    world.wait(tight_limits().save_after);
    assert_eq!(saves(&world), 1, "nothing has changed");
}

#[test]
fn an_unchanged_session_is_saved_a_few_times_per_lifetime_of_its_copy() {
    let mut world = durable();
    world.wait(tight_limits().save_after);
    world.settle();
    let copy = world.broker.sessions.values().next().unwrap().1 - WEEK;
    let (mut saves, mut turns) = (0, 0);
    let end = world.now.instant + copy * 4;
    while world.now.instant < end {
        let next = world.workers[0].poll_timeout().unwrap();
        assert!(next > world.now.instant, "nothing is due");
        world.wait(next - world.now.instant);
        let saved = |r: &&BrokerRequest| matches!(r, BrokerRequest::SaveSession { .. });
        saves += world.broker.requests[0].iter().filter(saved).count();
        let all = world.broker.requests[0].len();
        world.broker_works(0, all);
        turns += 1;
        assert!(turns < 100_000, "it is woken all the time");
    }
    // After half of its copy's lifetime, or three quarters of it at the latest.
    assert!((5..=8).contains(&saves), "{saves} times");
}

#[test]
fn a_disconnected_session_continues_with_its_window_on_another_worker() {
    let mut world = durable();
    let (subscription, cumulative) = (channel("kept/a").into(), false);
    let position = Position::new(1, 2);
    world.command(
        0,
        Command::Done {
            subscription,
            position,
            cumulative,
        },
    );
    world.cut(0);
    world.settle();
    assert_eq!(world.broker.sessions.values().next().unwrap().1, WEEK);
    world.publish(1, "kept/a", "4");
    world.settle();
    let snapshot = load(&mut world).expect("it is kept");
    world.clients[0].snapshot = Some(snapshot);
    world.clients[0].read.clear();
    world.connect(0, 1, true);
    world.settle();
    assert_eq!(world.clients[0].deliveries(), [(1, 2), (3, 2), (4, 1)]);
}

#[test]
fn a_session_that_is_no_longer_durable_is_dropped() {
    let mut world = durable();
    let (worker, connection) = world.clients[0].connection.unwrap();
    world.wait(tight_limits().save_after);
    world.settle();
    assert!(load(&mut world).is_some());
    world.workers[worker].set_durable(connection, None);
    world.pump(worker);
    world.settle();
    assert!(load(&mut world).is_none());
    world.cut(0);
    world.settle();
    assert!(world.broker.sessions.is_empty());
}

#[test]
fn a_durable_session_replaced_on_the_same_worker_is_saved() {
    let mut world = durable();
    let session = world.clients[0].session;
    let arrival = Arrival::new(session, Arc::new(Identity::stranger()));
    world.workers[0]
        .handle_connection_opened(arrival, world.now)
        .unwrap();
    let mut saved = None;
    while let Some(request) = world.workers[0].poll_broker_request() {
        if let BrokerRequest::SaveSession { bytes, .. } = request {
            saved = Some(SessionSnapshot::from_bytes(&bytes).unwrap());
        }
    }
    assert_eq!(saved.unwrap().subscriptions.len(), 1);
}

#[test]
fn while_its_connection_is_open_a_session_is_saved_again_before_the_brokers_copy_expires() {
    let mut world = durable();
    let (worker, connection) = world.clients[0].connection.unwrap();
    let expiry = Duration::from_secs(3);
    world.workers[worker].set_durable(connection, Some(expiry));
    world.wait(tight_limits().save_after);
    world.settle();
    let saves = |world: &World| {
        let saved = |r: &BrokerRequest| match r {
            BrokerRequest::SaveSession { expiry, .. } => Some(*expiry),
            _ => None,
        };
        world.broker.requests[0].iter().find_map(saved)
    };
    let copy = world.broker.sessions.values().next().unwrap().1;
    assert!(copy > expiry, "the connection has not ended: {copy:?}");
    // Nothing changes for a long time: a new copy is stored before the old one expires.
    let mut quiet = Duration::ZERO;
    while saves(&world).is_none() {
        assert!(quiet < copy, "the copy has expired");
        let next = world.workers[worker].poll_timeout().unwrap();
        let step = next.saturating_duration_since(world.now.instant);
        let step = step.max(Duration::from_millis(1));
        quiet += step;
        world.wait(step);
    }
    world.settle();
    world.cut(0);
    world.settle();
    let copy = world.broker.sessions.values().next().unwrap().1;
    assert_eq!(copy, expiry, "now it begins to count");
}

fn remember(world: &mut World, note: &'static str) {
    let note = note.into();
    let at_once = true;
    world.command(0, Command::Remember { note, at_once });
}

/// The replies to `Remember` of client 0.
fn remembered(world: &World) -> usize {
    let replies = world.clients[0].replies();
    replies
        .iter()
        .filter(|reply| ***reply == Reply::Remembered)
        .count()
}

#[test]
fn a_note_is_acknowledged_once_the_session_is_saved_with_it() {
    let mut world = durable();
    remember(&mut world, "one");
    assert_eq!(remembered(&world), 0, "the broker has not answered");
    world.settle();
    assert_eq!(remembered(&world), 1);
    assert_eq!(load(&mut world).unwrap().note, "one");
    // It stays with the session on its next connection, whatever is saved then.
    world.cut(0);
    world.settle();
    world.clients[0].snapshot = load(&mut world);
    world.connect(0, 1, true);
    world.settle();
    let (worker, connection) = world.clients[0].connection.unwrap();
    let snapshot = world.workers[worker].snapshot(connection, world.now);
    assert_eq!(snapshot.unwrap().note, "one");
}

#[test]
fn a_note_that_is_not_urgent_is_saved_with_the_session_later() {
    let mut world = durable();
    world.settle();
    let (note, at_once) = ("later".into(), false);
    world.command(0, Command::Remember { note, at_once });
    let is_save = |request: &BrokerRequest| matches!(request, BrokerRequest::SaveSession { .. });
    assert!(!world.broker.requests[0].iter().any(is_save));
    world.settle_at_once();
    assert_eq!(remembered(&world), 1);
    world.cut(0);
    world.settle();
    assert_eq!(load(&mut world).unwrap().note, "later");
}

#[test]
fn a_note_is_saved_before_later_publications() {
    let mut world = durable();
    remember(&mut world, "key 1");
    world.publish(0, "kept/a", "under key 1");
    world.pump(0);
    let kinds: Vec<_> = world.broker.requests[0]
        .iter()
        .filter_map(|request| match request {
            BrokerRequest::SaveSession { id, .. } => Some(("save", id.is_some())),
            BrokerRequest::Publish { .. } => Some(("publish", true)),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [("save", true), ("publish", true)]);
}

#[test]
fn a_note_of_a_session_that_is_not_durable_is_acknowledged_immediately() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    remember(&mut world, "note");
    world.settle();
    assert_eq!(remembered(&world), 1);
    assert!(world.broker.sessions.is_empty());
}

#[test]
fn a_note_that_could_not_be_saved_is_refused() {
    let mut world = durable();
    world.broker.failure = Some(BrokerFailure::StorageFailed);
    remember(&mut world, "note");
    world.settle();
    assert_eq!(remembered(&world), 0);
}
