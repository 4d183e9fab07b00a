//! Subscriptions have an identity: several on one channel, numbers, classes, own publications.

use std::sync::Arc;

use offhook_engine::*;

use crate::world::{World, channel, client::Wire, rules, tight_limits};

fn texts_of(world: &World, client: usize, key: &SubscriptionKey) -> Vec<String> {
    let of_it = |wire: &Wire| match wire {
        Wire::Publication(by, p, _) if by == key => {
            Some(String::from_utf8(p.data.to_vec()).unwrap())
        }
        _ => None,
    };
    world.clients[client]
        .read
        .iter()
        .filter_map(of_it)
        .collect()
}

fn numbered(id: u32) -> SubscriptionKey {
    SubscriptionKey::Id(SubscriptionId(id))
}

#[test]
fn several_subscriptions_of_a_session_to_one_channel_each_get_every_publication() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    world.publish(0, "kept/a", "before");
    world.settle();
    world.subscribe(0, "kept/a", Since::Now);
    for (id, since) in [(1, Since::Start), (2, Since::Now)] {
        let wish = Subscribe::new(channel("kept/a"), since).numbered(id);
        world.command(0, Command::Subscribe(wish));
    }
    world.settle();
    world.publish(0, "kept/a", "after");
    world.settle();
    let plain = SubscriptionKey::from(channel("kept/a"));
    assert_eq!(texts_of(&world, 0, &plain), ["after"]);
    assert_eq!(texts_of(&world, 0, &numbered(1)), ["before", "after"]);
    assert_eq!(texts_of(&world, 0, &numbered(2)), ["after"]);
}

#[test]
fn a_number_can_be_used_once_and_an_unnumbered_target_subscribed_once() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    let wish = |name| Subscribe::new(channel(name), Since::Now).numbered(7);
    world.command(0, Command::Subscribe(wish("kept/a")));
    world.settle();
    let (worker, connection) = world.clients[0].connection.unwrap();
    let again = Command::Subscribe(wish("kept/b"));
    world.clients[0].unanswered.insert(99, Command::Ping);
    world.workers[worker].handle_command(connection, CommandId(99), again, world.now);
    world.pump(worker);
    world.settle();
    let replies = world.clients[0].replies();
    let refused = replies.iter().find_map(|reply| match reply {
        Reply::Refused(refusal) => Some(refusal.code),
        _ => None,
    });
    assert_eq!(refused, Some(ErrorCode::AlreadySubscribed));
    assert_eq!(world.workers[0].subscriptions(), 1);
}

#[test]
fn unsubscribing_one_of_several_keeps_the_others_and_the_member() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    for id in [1, 2] {
        let wish = Subscribe::new(channel("kept/a"), Since::Now).numbered(id);
        world.command(0, Command::Subscribe(wish));
    }
    world.settle();
    let subscription = numbered(1);
    world.command(0, Command::Unsubscribe { subscription });
    world.settle();
    world.publish(0, "kept/a", "x");
    world.settle();
    assert_eq!(texts_of(&world, 0, &numbered(2)), ["x"]);
    assert!(texts_of(&world, 0, &numbered(1)).is_empty());
    let member = (channel("kept/a"), world.clients[0].session);
    assert!(world.broker.members.contains_key(&member));
    let subscription = numbered(2);
    world.command(0, Command::Unsubscribe { subscription });
    world.settle();
    assert!(
        !world.broker.members.contains_key(&member),
        "the last one leaves"
    );
}

#[test]
fn an_emptied_channel_can_be_subscribed_to_again() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    for text in ["1", "2"] {
        world.subscribe(0, "kept/a", Since::Now);
        world.settle();
        world.publish(1, "kept/a", text);
        world.settle();
        let subscription = channel("kept/a").into();
        world.command(0, Command::Unsubscribe { subscription });
        world.settle();
        assert_eq!(world.workers[0].channels(), 0);
    }
    assert_eq!(world.clients[0].texts("kept/a"), ["1", "2"]);
}

#[test]
fn without_echo_a_session_gets_the_positions_of_its_own_publications() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
        let wish = Subscribe::new(channel("kept/a"), Since::Now).without_echo();
        world.command(client, Command::Subscribe(wish));
    }
    world.settle();
    for (client, text) in [(0, "mine"), (1, "yours"), (0, "mine again")] {
        world.publish(client, "kept/a", text);
        world.settle();
    }
    assert_eq!(world.clients[0].texts("kept/a"), ["yours"]);
    assert_eq!(world.clients[1].texts("kept/a"), ["mine", "mine again"]);
    assert_eq!(
        world.clients[0].to("kept/a").position,
        Some(Position::new(1, 3))
    );
    assert!(world.clients[0].gaps().is_empty());
}

/// An engine with one channel, and `each` live subscribers of class 0 and of class 1.
fn two_classes(world: &mut World, each: u8) {
    for n in 0..2 * each {
        let session = SessionId::from_bytes([n + 1; 16]);
        let arrival = Arrival::new(session, Arc::new(Identity::stranger())).of(Class(n % 2));
        let engine = &mut world.workers[0];
        let connection = engine.handle_connection_opened(arrival, world.now).unwrap();
        let wish = match n % 4 {
            1 => Subscribe::new(channel("kept/a"), Since::Now).numbered(u32::from(n)),
            _ => Subscribe::new(channel("kept/a"), Since::Now),
        };
        engine.handle_command(
            connection,
            CommandId(1),
            Command::Subscribe(wish),
            world.now,
        );
    }
    drain(world);
}

/// Takes all output of the engine, and ignores it.
fn drain(world: &mut World) {
    for _ in 0..3 {
        while world.workers[0].poll_delivery().is_some() {}
        while let Some(request) = world.workers[0].poll_broker_request() {
            world.broker.requests[0].push_back(request);
        }
        world.broker_works(0, 99);
        while let Some(event) = world.broker.next_event(0) {
            world.workers[0].handle_broker(event, world.now);
        }
    }
    while world.workers[0].poll_delivery().is_some() {}
}

fn publication(offset: u64) -> Arc<Publication> {
    let draft = Draft {
        channel: channel("kept/a"),
        data: "x".into(),
        format: Format::Text,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 0,
    };
    Arc::new(draft.at(Place::after(Position::new(1, offset - 1), offset)))
}

#[test]
fn each_class_is_one_broadcast_and_only_numbered_subscriptions_get_numbers() {
    let mut world = World::with(1, 0, &tight_limits(), rules());
    two_classes(&mut world, 8);
    let event = BrokerEvent::Publication(publication(1));
    world.workers[0].handle_broker(event, world.now);
    let mut seen = Vec::new();
    while let Some(delivery) = world.workers[0].poll_delivery() {
        let Delivery::Broadcast {
            class, recipients, ..
        } = delivery
        else {
            continue;
        };
        let numbers = recipients.iter().filter(|(_, id)| id.is_some()).count();
        seen.push((
            class.0,
            recipients.are_numbered(),
            recipients.len(),
            numbers,
        ));
    }
    seen.sort_unstable();
    assert_eq!(seen, [(0, false, 8, 0), (1, false, 4, 0), (1, true, 4, 4)]);
}

#[test]
fn a_broadcast_in_parts_is_exact_when_subscribers_leave_in_between() {
    for gone in 0..16 {
        let mut world = World::with(1, 0, &tight_limits(), rules());
        two_classes(&mut world, 8);
        let event = BrokerEvent::Publication(publication(1));
        world.workers[0].handle_broker(event, world.now);
        let mut told: Vec<ConnectionId> = Vec::new();
        let mut left = None;
        loop {
            let Some(delivery) = world.workers[0].poll_delivery_within(3) else {
                break;
            };
            if let Delivery::Broadcast { recipients, .. } = delivery {
                assert!(recipients.len() <= 3);
                told.extend(recipients.connections());
            }
            if left.is_none() && told.len() >= 5 {
                let connections: Vec<_> = told.clone();
                // Either the one that was served, or the one that was not.
                let all = 16;
                let candidate = connections.get(gone % all).copied();
                let candidate = candidate.unwrap_or(connections[0]);
                world.workers[0].handle_connection_lost(candidate);
                left = Some(candidate);
            }
        }
        let mut once = told.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), told.len(), "nobody is told twice");
        assert_eq!(told.len(), 16, "everybody is told");
    }
}

#[test]
fn a_subscriber_that_falls_behind_during_a_broadcast_reads_it_from_history() {
    let mut world = World::with(1, 0, &tight_limits(), rules());
    two_classes(&mut world, 8);
    world.workers[0].handle_broker(BrokerEvent::Publication(publication(1)), world.now);
    let first = match world.workers[0].poll_delivery_within(1) {
        Some(Delivery::Broadcast { recipients, .. }) => recipients.connections()[0],
        other => panic!("{other:?}"),
    };
    let snapshot = |world: &World, connection| {
        let session = world.workers[0].snapshot(connection, world.now).unwrap();
        session.subscriptions[0].position
    };
    assert_eq!(snapshot(&world, first), Position::new(1, 1));
    let mut others = Vec::new();
    while let Some(delivery) = world.workers[0].poll_delivery_within(1) {
        if let Delivery::Broadcast { recipients, .. } = delivery {
            others.push(recipients.connections()[0]);
        }
    }
    // Again; all but the first fall behind before they are served.
    world.workers[0].handle_broker(BrokerEvent::Publication(publication(2)), world.now);
    let told = match world.workers[0].poll_delivery_within(1) {
        Some(Delivery::Broadcast { recipients, .. }) => recipients.connections()[0],
        other => panic!("{other:?}"),
    };
    for connection in others.iter().chain([&first]).filter(|c| **c != told) {
        world.workers[0].handle_full(*connection);
        assert_eq!(snapshot(&world, *connection), Position::new(1, 1));
    }
    assert_eq!(snapshot(&world, told), Position::new(1, 2));
}

#[test]
fn finding_and_ending_one_of_ten_thousand_subscriptions_takes_constant_time() {
    let limits = Limits {
        subscriptions: 20_000,
        requests: 100_000,
        ..tight_limits()
    };
    let mut world = World::with(1, 1, &limits, rules());
    world.connect(0, 0, false);
    let wish = |n: u32| Subscribe::new(channel(&format!("kept/{n}")), Since::Now).numbered(n);
    for n in 0..10_000 {
        world.command(0, Command::Subscribe(wish(n)));
    }
    world.settle();
    assert_eq!(world.workers[0].subscriptions(), 10_000);
    for n in (0..10_000).step_by(2) {
        let subscription = numbered(n);
        world.command(0, Command::Unsubscribe { subscription });
    }
    world.settle();
    assert_eq!(world.workers[0].subscriptions(), 5_000);
    let (worker, connection) = world.clients[0].connection.unwrap();
    world.workers[worker].handle_full(connection);
    world.workers[worker].handle_writable(connection, 100_000);
    world.pump(worker);
    world.settle();
    world.cut(0);
    while world.leave_on(0) {}
    assert_eq!(world.workers[0].subscriptions(), 0);
    assert_eq!(world.workers[0].channels(), 0);
}

#[test]
fn a_resumed_session_is_notified_once_all_subscriptions_are_restored() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    for name in ["kept/a", "kept/b"] {
        world.subscribe(0, name, Since::Now);
    }
    world.settle();
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.connect(0, 0, true);
    world.settle();
    let notices = world.clients[0].notices();
    let restored = notices
        .iter()
        .rposition(|n| matches!(n, Notice::Restored))
        .unwrap();
    let subscribed = |n: &&Notice| {
        matches!(
            n,
            Notice::Reply {
                id: None,
                reply: Reply::Subscribed { .. }
            }
        )
    };
    assert_eq!(
        notices[..restored]
            .iter()
            .copied()
            .filter(subscribed)
            .count(),
        2
    );
    assert!(!notices[restored..].iter().copied().any(|n| subscribed(&n)));
}

#[test]
fn many_subscriptions_of_a_session_to_one_channel_make_it_one_member() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    let changes = |world: &mut World| {
        let (mut joins, mut leaves) = (0, 0);
        for request in &world.broker.requests[0] {
            match request {
                BrokerRequest::Join { .. } => joins += 1,
                BrokerRequest::Leave { .. } => leaves += 1,
                _ => {}
            }
        }
        world.settle();
        (joins, leaves)
    };
    let subscribe = |world: &mut World, id| {
        let wish = Subscribe::new(channel("kept/a"), Since::Now).numbered(id);
        world.command(0, Command::Subscribe(wish));
    };
    let unsubscribe = |world: &mut World, id| {
        let subscription = numbered(id);
        world.command(0, Command::Unsubscribe { subscription });
    };
    // The first is made a member by the answer to its request.
    subscribe(&mut world, 0);
    world.broker_works(0, 1);
    world.deliver(0, 1);
    assert_eq!(changes(&mut world), (1, 0));
    for id in 1..30 {
        subscribe(&mut world, id);
    }
    world.subscribe(0, "kept/a", Since::Now);
    assert_eq!(changes(&mut world), (0, 0));
    for round in 0..3 {
        for id in 0..29 {
            unsubscribe(&mut world, id);
        }
        assert_eq!(changes(&mut world), (0, 0), "{round}");
        unsubscribe(&mut world, 5);
        world.settle();
        assert!(matches!(world.clients[0].replies().last(),
            Some(Reply::Refused(no)) if no.code == ErrorCode::NotSubscribed));
        for id in 0..29 {
            subscribe(&mut world, id);
        }
        assert_eq!(changes(&mut world), (0, 0), "{round}");
    }
    for id in 0..30 {
        unsubscribe(&mut world, id);
    }
    assert_eq!(
        changes(&mut world),
        (0, 0),
        "the one without a number remains"
    );
    world.command(
        0,
        Command::Unsubscribe {
            subscription: channel("kept/a").into(),
        },
    );
    assert_eq!(changes(&mut world), (0, 1));
}

#[test]
fn a_subscription_with_nothing_to_read_is_live_with_its_answer() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    world.publish(1, "kept/b", "1");
    world.publish(1, "flow/c", "1");
    world.settle();
    let head = Position::new(1, 1);
    for (name, since) in [
        ("kept/a", Since::Start),
        ("flow/c", Since::Start),
        ("flow/c", Since::Last(5)),
        ("kept/b", Since::Last(0)),
        ("kept/b", Since::Position(head)),
    ] {
        world.subscribe(0, name, since);
        world.settle();
        let live = match world.clients[0].replies().last() {
            Some(Reply::Subscribed { live, .. }) => *live,
            other => panic!("{other:?}"),
        };
        assert!(live, "{name} {since:?}");
        let subscription = channel(name).into();
        world.command(0, Command::Unsubscribe { subscription });
        world.settle();
    }
}

#[test]
fn a_subscription_that_the_server_made_and_ended_before_it_began_is_reported() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    let wish = Subscribe::new(channel("kept/a"), Since::Now);
    let whom = Whom::Session(world.clients[0].session);
    world.clients[0].expects(&wish);
    let why = Refusal::new(ErrorCode::Forbidden, "closed");
    let engine = &mut world.workers[0];
    engine.subscribe_for(&whom, &wish, world.now);
    engine.unsubscribe_for(&whom, &channel("kept/a").into(), &why, world.now);
    world.pump(0);
    world.settle();
    let ended = Notice::Unsubscribed {
        subscription: channel("kept/a").into(),
        refusal: why.clone(),
    };
    assert_eq!(world.clients[0].notices(), [&ended]);
    // One that had begun leaves at once: nothing else will make it again.
    world.clients[0].expects(&wish);
    world.workers[0].subscribe_for(&whom, &wish, world.now);
    world.pump(0);
    world.settle();
    world.workers[0].unsubscribe_for(&whom, &channel("kept/a").into(), &why, world.now);
    world.pump(0);
    let at_once = |request: &BrokerRequest| matches!(request, BrokerRequest::Leave { grace, .. } if grace.is_zero());
    assert!(world.broker.requests[0].iter().any(at_once));
}
