//! State: the newest publication of each value, then what follows.

use offhook_engine::*;

use crate::world::{OUTBOX, World, channel};

/// A channel with two values that were changed often, and no subscriber.
fn with_values() -> World {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    for (text, value) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "c")] {
        world.publish_with(1, "state/g", text, None, value);
    }
    world.publish_with(1, "state/g", "", None, "c");
    world.settle();
    world
}

fn texts(values: &[std::sync::Arc<Publication>]) -> Vec<&[u8]> {
    values.iter().map(|value| &*value.data).collect()
}

#[test]
fn a_subscription_since_the_state_gets_the_newest_of_each_value_and_then_what_follows() {
    let mut world = with_values();
    world.subscribe(0, "state/g", Since::State);
    world.publish_with(1, "state/g", "6", None, "b");
    world.settle();
    world.publish_with(1, "state/g", "7", None, "b");
    world.settle();
    let notices = world.clients[0].notices();
    let state = notices.iter().find_map(|notice| match notice {
        Notice::State {
            values, position, ..
        } => Some((texts(values), *position)),
        _ => None,
    });
    let (values, position) = state.expect("the state came");
    let newest: [&[u8]; 2] = [b"3", b"6"];
    assert_eq!(values, newest);
    assert_eq!(position.map(|position| position.offset), Some(6));
    assert_eq!(world.clients[0].texts("state/g"), ["7"]);
    assert!(world.clients[0].to("state/g").live);
    assert!(world.clients[0].gaps().is_empty());
}

#[test]
fn the_state_is_read_once_by_whoever_may_read_the_channel() {
    let mut world = with_values();
    for name in ["state/g", "kept/a"] {
        let channel = channel(name);
        world.command(0, Command::State { channel });
    }
    world.settle();
    let replies = world.clients[0].replies();
    let state = replies.iter().find_map(|reply| match reply {
        Reply::State {
            values, position, ..
        } => Some((texts(values), position.offset)),
        _ => None,
    });
    let newest: Vec<&[u8]> = vec![b"2", b"3"];
    assert_eq!(state, Some((newest, 5)));
    let refused = |r: &&&Reply| matches!(r, Reply::Refused(r) if r.code == ErrorCode::NoState);
    assert_eq!(replies.iter().filter(refused).count(), 1);
}

#[test]
fn there_is_no_beginning_with_a_state_that_is_not_kept() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::State);
    let filter = Filter::new("state/+").unwrap();
    world.command(0, Command::Subscribe(Subscribe::new(filter, Since::State)));
    world.settle();
    let replies = world.clients[0].replies();
    let refused = replies.iter().filter_map(|reply| match reply {
        Reply::Refused(refusal) => Some(refusal.code),
        _ => None,
    });
    let codes: Vec<_> = refused.collect();
    assert_eq!(codes, [ErrorCode::NoState, ErrorCode::BadRequest]);
}

#[test]
fn a_slow_connection_falls_back_to_the_state_where_the_rule_says_so() {
    let mut world = with_values();
    world.subscribe(0, "state/g", Since::Now);
    world.settle();
    for n in 0..50 {
        world.publish_with(1, "state/g", &n.to_string(), None, &(n % 2).to_string());
        world.broker_works(0, 9);
        world.deliver(0, 9);
        world.read(1, 9);
        assert!(world.clients[0].outbox_bytes() <= OUTBOX + 200);
    }
    world.settle();
    let notices = world.clients[0].notices();
    let at = |what: fn(&Notice) -> bool| notices.iter().position(|notice| what(notice));
    let told = at(|notice| matches!(notice, Notice::CatchingUp { .. })).unwrap();
    let state = at(|notice| matches!(notice, Notice::State { .. })).unwrap();
    let live = at(|notice| matches!(notice, Notice::Live { .. })).unwrap();
    assert!(told < state && state < live, "{told} {state} {live}");
    assert!(world.clients[0].gaps().is_empty());
}

#[test]
fn a_state_that_can_not_be_read_for_now_is_read_later() {
    let mut world = with_values();
    world.subscribe(0, "state/g", Since::State);
    world.broker_works(0, 1);
    world.deliver(0, 1);
    world.broker.failure = Some(BrokerFailure::StorageFailed);
    world.settle();
    assert!(!world.clients[0].to("state/g").live);
    world.broker.failure = None;
    world.settle();
    assert!(world.clients[0].to("state/g").live);
}
