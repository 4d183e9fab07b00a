//! Connections that do not read: others are not affected, memory is limited, and nothing is lost
//! silently.

use offhook_engine::*;

use crate::world::{OUTBOX, World, channel};

/// Client 0 publishes, 1 reads, 2 does not.
fn one_that_does_not_read(name: &str, publications: usize) -> World {
    let mut world = World::new(1, 3);
    for client in 0..3 {
        world.connect(client, 0, false);
    }
    for client in 1..3 {
        world.subscribe(client, name, Since::Now);
    }
    world.settle();
    for n in 0..publications {
        world.publish_with(0, name, &n.to_string(), None, &(n % 2).to_string());
        world.broker_works(0, 9);
        world.deliver(0, 9);
        world.read(0, 9);
        world.read(1, 9);
        let outbox = world.clients[2].outbox_bytes();
        assert!(outbox <= OUTBOX + 200, "the outbox is bounded: {outbox}");
    }
    world
}

#[test]
fn a_slow_connection_delays_nobody_and_gets_everything_retained_later() {
    let mut world = one_that_does_not_read("kept/a", 50);
    let all: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(world.clients[1].texts("kept/a"), all);
    world.settle();
    assert_eq!(world.clients[2].texts("kept/a"), all);
    assert!(world.clients[2].gaps().is_empty());
}

#[test]
fn a_connection_that_was_slow_is_told_when_it_falls_behind_and_when_it_is_live_again() {
    let mut world = one_that_does_not_read("kept/a", 50);
    world.settle();
    let notices = world.clients[2].notices();
    let behind = notices
        .iter()
        .position(|n| matches!(n, Notice::CatchingUp { .. }))
        .unwrap();
    let live = notices
        .iter()
        .position(|n| matches!(n, Notice::Live { .. }))
        .unwrap();
    assert!(behind < live);
}

#[test]
fn without_history_the_oldest_are_dropped_and_a_gap_says_so() {
    let mut world = one_that_does_not_read("flow/c", 50);
    world.settle();
    let texts = world.clients[2].texts("flow/c");
    assert_eq!(world.clients[2].gaps(), [GapReason::Dropped]);
    // The newest four are remembered here, whatever their tags.
    assert!(
        texts.ends_with(&["46", "47", "48", "49"].map(str::to_owned)),
        "{texts:?}"
    );
    assert!(texts.len() < 50);
}

#[test]
fn conflation_keeps_the_newest_of_each_key() {
    let mut world = one_that_does_not_read("price/d", 50);
    world.settle();
    let texts = world.clients[2].texts("price/d");
    assert_eq!(texts[texts.len() - 2..], ["48", "49"]);
    assert_eq!(world.clients[2].gaps(), [GapReason::Conflated]);
}

#[test]
fn a_channel_that_disconnects_slow_subscribers_closes_the_connection() {
    let world = one_that_does_not_read("strict/e", 50);
    let closed = world.clients[2].outbox.iter().any(|wire| {
        matches!(
            wire,
            crate::world::client::Wire::Notice(Notice::Close {
                reason: CloseReason::TooSlow
            })
        )
    });
    assert!(closed);
    assert!(
        world.clients[2].outbox.len() < 10,
        "nothing comes after the close"
    );
    assert_eq!(world.clients[1].texts("strict/e").len(), 50);
}

#[test]
fn after_a_mailbox_overflow_the_rest_is_read_from_history() {
    let mut world = World::new(1, 2);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    for n in 0..5 {
        world.publish(0, "kept/a", &n.to_string());
    }
    world.broker_works(0, 99);
    world.broker.lag(0);
    world.settle();
    assert_eq!(world.clients[0].texts("kept/a"), ["0", "1", "2", "3", "4"]);
    assert!(world.clients[0].gaps().is_empty());
}

#[test]
fn all_live_subscribers_share_one_broadcast() {
    let mut world = World::new(1, 100);
    for client in 0..100 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    world.publish(0, "kept/a", "once");
    world.broker_works(0, 9);
    while let Some(event) = world.broker.next_event(0) {
        world.workers[0].handle_broker(event, world.now);
    }
    let mut broadcasts = Vec::new();
    while let Some(delivery) = world.workers[0].poll_delivery() {
        let counted = delivery.recipients();
        match delivery {
            Delivery::Broadcast { recipients, .. } => {
                assert!(!recipients.is_empty());
                assert_eq!(counted, recipients.len());
                broadcasts.push(counted);
            }
            _ => assert_eq!(counted, 1),
        }
    }
    assert_eq!(broadcasts, [100]);
}

#[test]
fn a_connection_that_was_full_gets_the_members_again() {
    let mut world = one_that_does_not_read("kept/a", 50);
    world.settle();
    let members = |reply: &&&Reply| matches!(reply, Reply::Members { channel: c, .. } if *c == channel("kept/a"));
    assert_ne!(world.clients[2].replies().iter().filter(members).count(), 0);
    assert_eq!(world.clients[1].replies().iter().filter(members).count(), 0);
}

#[test]
fn keys_beyond_the_remembered_number_are_not_reported_as_conflated() {
    for (keys, reason) in [(3, GapReason::Conflated), (9, GapReason::Dropped)] {
        let mut world = World::new(1, 2);
        world.connect(0, 0, false);
        world.connect(1, 0, false);
        world.subscribe(0, "price/d", Since::Now);
        world.settle();
        for n in 0..40 {
            world.publish_with(1, "price/d", &n.to_string(), None, &(n % keys).to_string());
            world.broker_works(0, 9);
            world.deliver(0, 9);
            world.read(1, 9);
        }
        world.settle();
        let gaps = world.clients[0].gaps();
        assert!(
            !gaps.is_empty() && gaps.iter().all(|gap| *gap == reason),
            "{keys}: {gaps:?}"
        );
    }
}

#[test]
fn publications_without_a_key_do_not_replace_each_other() {
    let mut world = World::new(1, 2);
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    world.subscribe(0, "price/d", Since::Now);
    world.settle();
    for n in 0..40 {
        let publish = Command::Publish {
            channel: channel("price/d"),
            data: n.to_string().into(),
            format: Format::Text,
            tags: Tags::default(),
            key: None,
        };
        world.command(1, publish);
        world.broker_works(0, 9);
        world.deliver(0, 9);
        world.read(1, 9);
    }
    world.settle();
    // The newest four are remembered here, whole.
    let texts = world.clients[0].texts("price/d");
    assert!(
        texts.ends_with(&["36", "37", "38", "39"].map(str::to_owned)),
        "{texts:?}"
    );
}
