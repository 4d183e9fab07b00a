//! Acknowledged flows: a window, and redelivery.

use offhook_engine::*;

use crate::world::{World, bare, channel, rules, tight_limits};

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
fn at_most_a_window_is_delivered_before_an_acknowledgement() {
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
fn publications_are_delivered_immediately_while_the_window_has_room() {
    let mut world = with_window(0);
    for n in 1..=2 {
        world.publish(1, "kept/a", &n.to_string());
        world.settle();
        assert_eq!(offsets(&world).len(), n);
    }
}

#[test]
fn unacknowledged_messages_are_delivered_again_and_counted_after_a_disconnect() {
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
fn acknowledging_an_undelivered_message_is_refused_and_acknowledging_twice_is_not() {
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
fn a_window_requires_history_and_is_limited() {
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
fn only_subscriptions_with_a_window_accept_acknowledgements() {
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
fn a_full_window_later_detects_that_delivered_messages_were_lost() {
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

#[test]
fn new_messages_of_a_restored_log_do_not_count_as_acknowledged() {
    let mut world = with_window(0);
    for n in 1..=3 {
        world.publish(1, "kept/a", &n.to_string());
    }
    world.settle();
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.clients[0].read.clear();
    // An older copy with 1 is restored, and the stream continues elsewhere.
    world.broker.restart(&channel("kept/a"), 2);
    for other in ["other 2", "other 3", "other 4"] {
        world.publish(1, "kept/a", other);
    }
    world.settle();
    world.connect(0, 0, true);
    world.settle();
    let texts = world.clients[0].texts("kept/a");
    assert_eq!(
        texts,
        ["1", "other 2", "other 3"],
        "a window of three; gaps {:?}",
        world.clients[0].gaps()
    );
}

#[test]
fn out_of_order_acknowledgements_use_limited_memory() {
    let mut world = with_window(0);
    let size = |world: &World| format!("{:?}", world.workers[0]).len();
    let mut sizes = Vec::new();
    for n in 1..=3000_u64 {
        world.publish(1, "kept/a", "x");
        world.settle();
        if n > 1 {
            let (subscription, position) = (channel("kept/a").into(), Position::new(1, n));
            world.command(
                0,
                Command::Done {
                    subscription,
                    position,
                    cumulative: false,
                },
            );
            world.settle();
        }
        if n % 1000 == 0 {
            sizes.push(size(&world));
        }
    }
    assert!(
        sizes[2] < sizes[0] * 2,
        "the first is never done: {sizes:?}"
    );
}

fn filter_with_window(world: &mut World) {
    let filter = Filter::new("kept/+").unwrap();
    let wish = Subscribe::new(filter, Since::Now)
        .numbered(7)
        .acknowledged(10);
    world.command(0, Command::Subscribe(wish));
    world.settle();
}

#[test]
fn a_filter_with_a_window_redelivers_unacknowledged_messages_after_the_brokers_order_advanced() {
    let mut world = World::new(1, 2);
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    filter_with_window(&mut world);
    for n in 1..=4 {
        world.publish(1, "kept/a", &n.to_string());
    }
    world.settle();
    let at = |n| Position::new(1, n);
    let (subscription, cumulative) = (SubscriptionKey::Id(SubscriptionId(7)), false);
    for n in [1, 3] {
        let (subscription, position) = (subscription.clone(), at(n));
        world.workers[0].handle_command(
            world.clients[0].connection.unwrap().1,
            CommandId(1_000 + n),
            Command::Done {
                subscription,
                position,
                cumulative,
            },
            world.now,
        );
    }
    let (worker, connection) = world.clients[0].connection.unwrap();
    let mut snapshot = world.workers[worker]
        .snapshot(connection, world.now)
        .unwrap();
    world.cut(0);
    // The broker has begun a new epoch since: the places of the session are of the one before.
    for s in &mut snapshot.subscriptions {
        s.position.epoch = Epoch(0);
        let unacknowledged = s.unacknowledged.as_mut().unwrap();
        unacknowledged.until.epoch = Epoch(0);
        for earlier in &mut unacknowledged.publications {
            earlier.position.epoch = Epoch(0);
        }
    }
    let arrival = Arrival::new(snapshot.session, bare::identity());
    let engine = &mut world.workers[0];
    engine
        .handle_connection_resumed(arrival, snapshot, &[], world.now)
        .unwrap();
    let mut came = Vec::new();
    for _ in 0..20 {
        while let Some(delivery) = engine.poll_delivery() {
            if let Delivery::Publication {
                place, deliveries, ..
            } = delivery
            {
                came.push((place.offset, deliveries));
            }
        }
        while let Some(request) = engine.poll_broker_request() {
            world.broker.requests[0].push_back(request);
        }
        world.broker.work(0);
        while let Some(event) = world.broker.next_event(0) {
            engine.handle_broker(event, world.now);
        }
    }
    assert_eq!(came, [(2, 2), (4, 2)]);
}

#[test]
fn a_waiting_acknowledged_subscription_holds_no_page_of_history() {
    let mut world = World::new(1, 2);
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    for n in 1..=3 {
        world.publish(1, "kept/a", &format!("{n} {}", "x".repeat(1_000)));
    }
    world.settle();
    let wish = Subscribe::new(channel("kept/a"), Since::Start).acknowledged(1);
    world.command(0, Command::Subscribe(wish));
    world.settle();
    let held = format!("{:?}", world.workers[0]);
    assert_eq!(held.matches("xxxxxxxxxx").count(), 0, "{held}");
}

#[test]
fn messages_of_an_earlier_connection_can_be_acknowledged_only_after_redelivery() {
    let mut world = with_window(0);
    world.publish(1, "kept/a", "1");
    world.settle();
    let (_, connection) = world.clients[0].connection.unwrap();
    let done = |position| Command::Done {
        subscription: channel("kept/a").into(),
        position,
        cumulative: false,
    };
    for (n, position) in [(1, Position::new(7, 1)), (2, Position::new(1, 2))] {
        let id = CommandId(1_000 + n);
        world.workers[0].handle_command(connection, id, done(position), world.now);
        let all = bare::told(&mut world.workers[0]);
        assert!(all[0].contains("Refused"), "{all:?}");
    }
}

#[test]
fn own_publications_in_a_window_without_echo_are_told_and_need_no_acknowledgement() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    let wish = Subscribe::new(channel("kept/a"), Since::Now);
    let wish = wish.numbered(1).acknowledged(1).without_echo();
    world.command(0, Command::Subscribe(wish));
    world.settle();
    for (client, text) in [(0, "own"), (1, "other"), (0, "own again")] {
        world.publish(client, "kept/a", text);
    }
    world.settle();
    assert_eq!(world.clients[0].texts("kept/a"), ["other"]);
    let subscription = SubscriptionKey::Id(SubscriptionId(1));
    let position = Position::new(1, 2);
    world.command(
        0,
        Command::Done {
            subscription,
            position,
            cumulative: false,
        },
    );
    world.settle();
    let own = world.clients[0]
        .notices()
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::Own { position, .. } => Some(position.offset),
            _ => None,
        });
    assert_eq!(own.collect::<Vec<_>>(), [1, 3]);
}
