//! Publishes keep their order, and idempotency keys and consumers keep their owner.

use std::time::Duration;

use offhook_engine::*;

use crate::world::{World, channel, client::Wire, rules, tight_limits};

fn world_with(change: impl Fn(&mut Limits)) -> World {
    let mut limits = tight_limits();
    change(&mut limits);
    let mut world = World::with(1, 1, &limits, rules());
    world.connect(0, 0, false);
    world
}

/// Publishes with these keys, and returns which were accepted.
fn taken(world: &mut World, keys: &[&str]) -> Vec<bool> {
    let before = world.clients[0].replies().len();
    for key in keys {
        world.publish_with(0, "kept/a", key, Some(key), "");
    }
    let refused: Vec<_> = world.clients[0]
        .outbox
        .iter()
        .filter_map(|wire| match wire {
            Wire::Notice(Notice::Reply {
                id,
                reply: Reply::Refused(_),
            }) => id.map(|id| id.0),
            _ => None,
        })
        .collect();
    let first = world.clients[0].unanswered.keys().next_back().unwrap() + 1 - keys.len() as u64;
    world.settle_at_once();
    assert_eq!(world.clients[0].replies().len(), before + keys.len());
    (first..)
        .take(keys.len())
        .map(|id| !refused.contains(&id))
        .collect()
}

#[test]
fn a_publish_does_not_overtake_a_rate_limited_one() {
    let mut world = world_with(|limits| {
        limits.publish_burst = 2;
        limits.publishes_per_second = 10;
    });
    assert_eq!(taken(&mut world, &["1", "2", "3"]), [true, true, false]);
    world.now.instant += Duration::from_millis(100);
    assert_eq!(
        taken(&mut world, &["4"]),
        [false],
        "it was sent after 3 and would come before it"
    );
    world.now.instant += Duration::from_millis(300);
    assert_eq!(taken(&mut world, &["3", "4"]), [true, true]);
    let stream = &world.broker.streams[&channel("kept/a")];
    let data: Vec<_> = (1..=4)
        .map(|offset| stream.all[&(1, offset)].data.clone())
        .collect();
    assert_eq!(data, ["1", "2", "3", "4"]);
}

#[test]
fn a_client_that_abandons_a_refused_publish_may_publish_others_after_a_while() {
    let mut world = world_with(|limits| {
        limits.publish_burst = 1;
        limits.publishes_per_second = 10;
    });
    assert_eq!(taken(&mut world, &["1", "2"]), [true, false]);
    // 5 s after the delay that was given, which is 100 ms.
    world.now.instant += Duration::from_millis(5_050);
    assert_eq!(taken(&mut world, &["3"]), [false]);
    world.now.instant += Duration::from_millis(100);
    assert_eq!(taken(&mut world, &["3"]), [true]);
}

#[test]
fn keys_and_consumers_of_anonymous_sessions_belong_to_the_session() {
    let mut world = World::with(1, 2, &tight_limits(), rules());
    for client in 0..2 {
        world.connect(client, 0, false);
        world.publish_with(client, "kept/a", "mine", Some("a1"), "");
        let (channel, consumer) = (channel("kept/a"), Key::new("billing").unwrap());
        let position = (client == 0).then_some(Position::new(1, 1));
        world.settle();
        world.command(
            client,
            Command::Ack {
                channel,
                consumer,
                position,
            },
        );
    }
    world.settle();
    assert_eq!(world.broker.streams[&channel("kept/a")].head().offset, 2);
    let acked = |world: &World| match world.clients[1].replies().last() {
        Some(Reply::Acked { position, .. }) => *position,
        other => panic!("{other:?}"),
    };
    assert_eq!(acked(&world), None);
    // They survive a reconnect of the session.
    world.cut(0);
    world.connect(0, 0, false);
    world.publish_with(0, "kept/a", "mine", Some("a1"), "");
    world.settle();
    assert_eq!(world.broker.streams[&channel("kept/a")].head().offset, 2);
}

#[test]
fn a_publish_that_is_refused_for_good_holds_up_no_later_one() {
    let mut world = world_with(|limits| limits.data_bytes = 3);
    // The key is the data.
    assert_eq!(taken(&mut world, &["long", "1", "2"]), [false, true, true]);
}

#[test]
fn a_publish_does_not_overtake_one_for_which_the_broker_had_no_room() {
    let mut world = world_with(|_| {});
    world.broker.full = true;
    assert_eq!(taken(&mut world, &["1", "2"]), [false, false]);
    world.broker.full = false;
    assert_eq!(
        taken(&mut world, &["3"]),
        [false],
        "it was sent after 1 and would come before it"
    );
    assert_eq!(taken(&mut world, &["1", "2", "3"]), [true, true, true]);
    assert_eq!(texts(&world, "kept/a"), ["1", "2", "3"]);
}

#[test]
fn a_publish_that_waits_for_a_verdict_does_not_overtake_one_for_which_the_broker_had_no_room() {
    let mut world = world_with(|_| {});
    let publish = |world: &mut World| {
        for key in ["1", "2"] {
            world.publish_with(0, "asked/a", key, Some(key), "");
        }
    };
    publish(&mut world);
    world.broker.full = true;
    world.decide(0, true, true);
    world.broker.full = false;
    // The backend allows the second one only now.
    world.decide(0, true, true);
    world.settle_at_once();
    publish(&mut world);
    world.decide(0, true, true);
    world.decide(0, true, true);
    world.settle_at_once();
    assert_eq!(texts(&world, "asked/a"), ["1", "2"]);
}

/// The data in a channel, in order.
fn texts(world: &World, name: &str) -> Vec<String> {
    let stream = &world.broker.streams[&channel(name)];
    let places = stream.line.iter().map(|at| (at.epoch.0, at.offset));
    let data = places.map(|place| stream.all[&place].data.to_vec());
    data.map(|data| String::from_utf8(data).unwrap()).collect()
}
