//! Acknowledged flows: a window, and redelivery.

use offhook_engine::*;

use crate::world::{World, channel, rules, tight_limits};

fn key() -> SubscriptionKey {
    channel("kept/a").into()
}

/// Client 0 has a window of three in a channel with `publications` publications; client 1
/// publishes.
fn with_window(publications: u64) -> World {
    let mut world = World::new(2, 2);
    for client in 0..2 {
        world.connect(client, client, false);
    }
    let wish = Subscribe::new(channel("kept/a"), Since::Now).acknowledged(3);
    world.command(0, Command::Subscribe(wish));
    world.settle();
    for n in 1..=publications {
        world.publish(1, "kept/a", &n.to_string());
    }
    world.settle();
    world
}

fn done(world: &mut World, offset: u64, cumulative: bool) {
    let position = Position::new(1, offset);
    let subscription = key();
    world.command(
        0,
        Command::Done {
            subscription,
            position,
            cumulative,
        },
    );
    world.settle();
}

fn offsets(world: &World) -> Vec<u64> {
    world.clients[0]
        .deliveries()
        .iter()
        .map(|(offset, _)| *offset)
        .collect()
}

#[test]
fn no_more_than_the_window_comes_before_an_acknowledgement() {
    let mut world = with_window(10);
    assert_eq!(offsets(&world), [1, 2, 3]);
    done(&mut world, 2, false);
    assert_eq!(offsets(&world), [1, 2, 3, 4]);
    done(&mut world, 4, true);
    assert_eq!(offsets(&world), [1, 2, 3, 4, 5, 6, 7]);
    world.publish(1, "kept/a", "11");
    world.settle();
    assert_eq!(offsets(&world), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn what_is_published_while_the_window_has_room_comes_at_once() {
    let mut world = with_window(0);
    for n in 1..=2 {
        world.publish(1, "kept/a", &n.to_string());
        world.settle();
        assert_eq!(offsets(&world).len(), n);
    }
}

#[test]
fn what_was_not_done_is_delivered_again_after_a_disconnect_and_counted() {
    let mut world = with_window(6);
    done(&mut world, 2, false);
    assert_eq!(offsets(&world), [1, 2, 3, 4]);
    for deliveries in [2, 3] {
        world.issue_token(0);
        world.settle();
        world.cut(0);
        world.clients[0].read.clear();
        world.connect(0, deliveries % 2, true);
        world.settle();
        let expected = [1, 3, 4].map(|offset| (offset, deliveries as u16));
        assert_eq!(world.clients[0].deliveries(), expected);
    }
    done(&mut world, 4, true);
    assert_eq!(world.clients[0].deliveries()[3..], [(5, 1), (6, 1)]);
}

#[test]
fn an_acknowledgement_of_what_did_not_come_is_refused_and_one_that_comes_twice_is_not() {
    let mut world = with_window(5);
    done(&mut world, 1, false);
    done(&mut world, 1, false);
    let refusal = |world: &World| match world.clients[0].replies().last() {
        Some(Reply::Refused(refusal)) => Some(refusal.code),
        _ => None,
    };
    assert_eq!(refusal(&world), None);
    done(&mut world, 5, true);
    assert_eq!(refusal(&world), Some(ErrorCode::BadRequest));
}

#[test]
fn a_window_needs_history_and_is_bounded_by_the_limit() {
    let limits = Limits {
        window: 2,
        ..tight_limits()
    };
    let mut world = World::with(1, 2, &limits, rules());
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    let wish = |name| Subscribe::new(channel(name), Since::Now).acknowledged(100);
    world.command(0, Command::Subscribe(wish("flow/c")));
    world.settle();
    let refused = matches!(world.clients[0].replies()[0],
        Reply::Refused(refusal) if refusal.code == ErrorCode::NoHistory);
    assert!(refused);
    world.command(0, Command::Subscribe(wish("kept/a")));
    world.settle();
    for _ in 0..5 {
        world.publish(1, "kept/a", "x");
    }
    world.settle();
    assert_eq!(offsets(&world), [1, 2]);
}

#[test]
fn only_a_subscription_with_a_window_is_acknowledged() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    world.publish(0, "kept/a", "x");
    world.settle();
    done(&mut world, 1, false);
    let Some(Reply::Refused(refusal)) = world.clients[0].replies().pop() else {
        panic!()
    };
    assert_eq!(refusal.code, ErrorCode::BadRequest);
}

#[test]
fn a_full_window_notices_later_that_what_it_was_handed_out_is_lost() {
    let mut world = with_window(4);
    assert_eq!(offsets(&world), [1, 2, 3]);
    world.broker.restart(&channel("kept/a"), 4);
    world.settle();
    done(&mut world, 3, true);
    assert_eq!(world.clients[0].gaps(), [GapReason::Diverged]);
    world.publish(1, "kept/a", "other");
    world.settle();
    assert_eq!(world.clients[0].texts("kept/a"), ["1", "2", "3", "other"]);
}
