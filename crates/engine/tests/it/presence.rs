//! Members: present immediately, kept over a reconnect, and removed exactly once.

use std::{sync::Arc, time::Duration};

use offhook_engine::*;

use crate::world::{World, bare, channel, client::Wire, rules, tight_limits};

fn asked(world: &World, worker: usize) -> Vec<BrokerRequest> {
    let about_members = |request: &&BrokerRequest| {
        matches!(
            request,
            BrokerRequest::Join { .. } | BrokerRequest::Leave { .. } | BrokerRequest::Renew { .. }
        )
    };
    world.broker.requests[worker]
        .iter()
        .filter(about_members)
        .cloned()
        .collect()
}

fn subscribed() -> World {
    let mut world = World::new(2, 2);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.broker_works(0, 1);
    world.deliver(0, 1);
    world
}

#[test]
fn a_subscriber_joins_under_a_lease() {
    let world = subscribed();
    let requests = asked(&world, 0);
    assert!(
        matches!(requests[0], BrokerRequest::Renew { .. }),
        "the lease comes first"
    );
    assert!(matches!(&requests[1], BrokerRequest::Join { member, .. }
        if member.session == world.clients[0].session));
}

#[test]
fn a_lost_connection_leaves_after_the_grace_time_and_a_closed_one_immediately() {
    for (lost, expected) in [
        (true, tight_limits().presence_grace),
        (false, Duration::ZERO),
    ] {
        let mut world = subscribed();
        let (_, connection) = world.clients[0].connection.unwrap();
        if lost {
            world.workers[0].handle_connection_lost(connection);
        } else {
            world.workers[0].handle_connection_closed(connection);
        }
        world.pump(0);
        let Some(BrokerRequest::Leave { grace, .. }) = asked(&world, 0).pop() else {
            panic!()
        };
        assert_eq!(grace, expected);
    }
}

#[test]
fn a_reconnect_on_another_worker_is_a_later_claim_in_any_order_of_arrival() {
    let mut world = subscribed();
    world.settle();
    // The new connection opens before the old worker notices that the old one was lost.
    let (_, old) = world.clients[0].connection.take().unwrap();
    world.clients[0].lost();
    world.connect(0, 1, false);
    world.settle();
    world.workers[0].handle_connection_lost(old);
    world.pump(0);
    world.settle();
    let member = (channel("kept/a"), world.clients[0].session);
    assert!(
        !world.broker.members[&member].1,
        "the late goodbye does not count"
    );
}

#[test]
fn the_lease_is_renewed_only_while_there_are_members() {
    let mut world = subscribed();
    world.settle();
    world.wait(tight_limits().presence_lease / 3);
    assert!(matches!(
        asked(&world, 0)[..],
        [BrokerRequest::Renew { .. }]
    ));
    world.cut(0);
    world.settle();
    world.wait(tight_limits().presence_lease);
    assert!(asked(&world, 0).is_empty());
    assert_eq!(world.workers[0].poll_timeout(), None);
}

#[test]
fn joins_and_leaves_are_sent_only_to_subscriptions_with_presence() {
    let mut world = World::new(1, 2);
    for (client, presence) in [(0, true), (1, false)] {
        world.connect(client, 0, false);
        let channel = channel("kept/a");
        world.command(
            client,
            Command::Subscribe(Subscribe {
                presence,
                ..Subscribe::new(channel, Since::Now)
            }),
        );
    }
    world.settle();
    let member = Arc::new(Member {
        session: SessionId::from_bytes([9; 16]),
        user: "ann".into(),
        info: "{}".into(),
    });
    let change = PresenceChange {
        channel: channel("kept/a"),
        member,
        joined: true,
        user_sessions: 1,
    };
    world.workers[0].handle_broker(BrokerEvent::Presence(change.into()), world.now);
    world.pump(0);
    assert!(matches!(&world.clients[0].outbox[0], Wire::Presence(change) if change.joined));
    assert_eq!(world.clients[1].outbox.len(), 0);
}

#[test]
fn querying_presence_of_a_channel_without_presence_is_refused() {
    let quiet = ChannelRules {
        presence: false,
        ..ChannelRules::default()
    };
    let book = rules().with("quiet", quiet);
    let mut world = World::with(1, 1, &tight_limits(), book);
    world.connect(0, 0, false);
    world.command(
        0,
        Command::Presence {
            channel: channel("quiet"),
        },
    );
    world.subscribe(0, "quiet", Since::Now);
    world.settle();
    let Reply::Refused(refusal) = world.clients[0].replies()[0] else {
        panic!()
    };
    assert_eq!(refusal.code, ErrorCode::NoPresence);
    assert!(world.broker.members.is_empty());
}

fn change(name: &str) -> BrokerEvent {
    let member = Arc::new(Member {
        session: SessionId::from_bytes([9; 16]),
        user: "ann".into(),
        info: "{}".into(),
    });
    let change = PresenceChange {
        channel: channel(name),
        member,
        joined: true,
        user_sessions: 1,
    };
    BrokerEvent::Presence(change.into())
}

#[test]
fn after_unsubscribing_no_joins_and_leaves_are_sent() {
    let mut world = World::new(1, 3);
    for client in 0..3 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    for client in [0, 2] {
        let subscription = channel("kept/a").into();
        world.command(client, Command::Unsubscribe { subscription });
        world.settle();
    }
    world.workers[0].handle_broker(change("kept/a"), world.now);
    world.pump(0);
    let heard: Vec<_> = world
        .clients
        .iter()
        .map(|client| client.outbox.len())
        .collect();
    assert_eq!(heard, [0, 1, 0]);
}

#[test]
fn a_resumed_subscription_with_presence_gets_the_members() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.connect(0, 0, true);
    world.settle();
    let told = world.clients[0].notices().into_iter().any(|notice| {
        matches!(
            notice,
            Notice::Reply {
                id: None,
                reply: Reply::Members { .. }
            }
        )
    });
    assert!(told);
}

#[test]
fn members_that_could_not_be_sent_are_sent_later() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    world.workers[0].handle_broker(BrokerEvent::Lagged, world.now);
    assert!(world.workers[0].poll_delivery().is_none());
    let mut failed = false;
    while let Some(request) = world.workers[0].poll_broker_request() {
        if let BrokerRequest::Members { id, .. } = request {
            let failure = BrokerFailure::Busy;
            world.workers[0].handle_broker(BrokerEvent::Failed { id, failure }, world.now);
            failed = true;
        } else {
            world.broker.requests[0].push_back(request);
        }
    }
    assert!(failed);
    let later = world.now.instant + tight_limits().read_again_after;
    assert_eq!(world.workers[0].poll_timeout(), Some(later));
    world.wait(tight_limits().read_again_after);
    let asks = |r: &BrokerRequest| matches!(r, BrokerRequest::Members { .. });
    assert!(world.broker.requests[0].iter().any(asks));
}

#[test]
fn members_whose_lease_expired_join_again_and_those_that_left_do_not() {
    let mut world = World::new(1, 3);
    for client in 0..3 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Now);
        world.subscribe(client, "kept/b", Since::Now);
    }
    world.settle();
    world.cut(2);
    world.settle();
    world.broker.members.clear();
    world.workers[0].handle_broker(BrokerEvent::LeaseEnded, world.now);
    world.pump(0);
    world.settle();
    let back: Vec<_> = world
        .broker
        .members
        .keys()
        .map(|(name, session)| (name.clone(), *session))
        .collect();
    let expected: Vec<_> = ["kept/a", "kept/b"]
        .iter()
        .flat_map(|name| [0, 1].map(|client| (channel(name), world.clients[client].session)))
        .collect();
    assert_eq!(back, expected);
}

#[test]
fn a_lease_of_a_second_is_renewed_before_it_ends() {
    let limits = Limits {
        presence_lease: Duration::from_secs(1),
        ..tight_limits()
    };
    let mut world = World::with(1, 1, &limits, rules());
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle_at_once();
    for _ in 0..10 {
        let at = world.workers[0].poll_timeout().expect("it is renewed");
        let pause = at - world.now.instant;
        assert!(pause <= Duration::from_millis(334), "{pause:?}");
        world.wait(pause);
        assert!(matches!(
            asked(&world, 0)[..],
            [BrokerRequest::Renew { .. }]
        ));
        world.settle_at_once();
    }
}

/// The pending lists of members.
fn lists_asked(engine: &mut Engine) -> Vec<RequestId> {
    bare::told(engine);
    let mut lists = Vec::new();
    while let Some(request) = engine.poll_broker_request() {
        match request {
            BrokerRequest::Members { id, .. } => lists.push(id),
            BrokerRequest::Follow { id, .. } => {
                let head = Position::new(1, 0);
                let (first, trimmed) = (1, Trimmed::BySize);
                let stream = StreamState {
                    head,
                    first,
                    trimmed,
                };
                engine.handle_broker(BrokerEvent::Followed { id, stream }, bare::now());
                bare::told(engine);
            }
            _ => {}
        }
    }
    lists
}

#[test]
fn pending_lists_of_members_are_sent_one_by_one_while_there_is_room() {
    let rules = RuleBook::everything(ChannelRules::default());
    let limits = Limits {
        outbox_bytes: 10_000,
        ..Limits::default()
    };
    let mut engine = Engine::new(limits, Arc::new(rules), bare::now());
    let arrival = || Arrival::new(bare::session(1), bare::identity());
    let snapshot = SessionSnapshot {
        session: bare::session(1),
        generation: 1,
        identity: bare::identity(),
        subscriptions: (0..20)
            .map(|n| SubscriptionSnapshot {
                target: channel("room").into(),
                id: Some(SubscriptionId(n)),
                position: Position::new(1, 0),
                presence: true,
                echo: true,
                vouched: false,
                flow: Flow::Pushed,
                unacknowledged: None,
                share: None,
            })
            .collect(),
        note: Default::default(),
        time_ms: 1_000_000,
    };
    let connection = engine
        .handle_connection_resumed(arrival(), snapshot, &[], bare::now())
        .unwrap();
    let member = Arc::new(Member {
        session: bare::session(2),
        user: "ann".into(),
        info: "{}".into(),
    });
    // A hundred members are some 7 KB.
    let answer = |id| BrokerEvent::Members {
        id,
        members: vec![Arc::clone(&member); 100],
        total: 100,
    };
    let mut lists = 0;
    let mut asked = lists_asked(&mut engine);
    while let [one] = asked[..] {
        engine.handle_broker(answer(one), bare::now());
        lists += 1;
        asked = lists_asked(&mut engine);
    }
    assert_eq!(
        (lists, asked.len()),
        (2, 0),
        "the outbox is full with two of them"
    );
    assert!(engine.wants_writable(connection));
    while lists < 20 {
        engine.handle_writable(connection, 5_000);
        let asked = lists_asked(&mut engine);
        let [one] = asked[..] else {
            panic!("{asked:?}")
        };
        engine.handle_broker(answer(one), bare::now());
        lists += 1;
    }
    engine.handle_writable(connection, 5_000);
    assert_eq!(lists_asked(&mut engine), [], "each is told once");
}

/// The sessions that are told of a join, in parts of this many; `between` happens after the first.
fn told_in_parts(world: &mut World, between: impl Fn(&mut World)) -> Vec<usize> {
    let member = Arc::new(Member {
        session: bare::session(99),
        user: "ann".into(),
        info: "{}".into(),
    });
    let change = PresenceChange {
        channel: channel("kept/a"),
        member,
        joined: true,
        user_sessions: 1,
    };
    let event = BrokerEvent::Presence(Arc::new(change));
    world.workers[0].handle_broker(event, world.now);
    let mut told = Vec::new();
    loop {
        let part = match world.workers[0].poll_delivery_within(3) {
            None => return told,
            Some(Delivery::Presence { recipients, .. }) => recipients.connections().to_vec(),
            Some(_) => continue,
        };
        assert!(part.len() <= 3, "{part:?}");
        let is_first = told.is_empty();
        told.extend(part.into_iter().map(|connection| {
            let place = Some((0, connection));
            let mut clients = world.clients.iter();
            clients
                .position(|client| client.connection == place)
                .unwrap()
        }));
        if is_first {
            between(world);
        }
    }
}

#[test]
fn a_join_is_told_to_a_large_audience_in_parts() {
    let mut world = World::new(1, 10);
    for client in 0..10 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    let mut told = told_in_parts(&mut world, |_| {});
    told.sort_unstable();
    assert_eq!(told, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_subscriber_that_leaves_between_two_parts_of_a_join_changes_nothing_for_others() {
    let mut world = World::new(1, 10);
    for client in 0..10 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    // One who was told, and one who was not.
    let mut told = told_in_parts(&mut world, |world| {
        for client in [1, 8] {
            let (_, connection) = world.clients[client].connection.unwrap();
            world.workers[0].handle_connection_lost(connection);
        }
    });
    told.sort_unstable();
    assert_eq!(told, [0, 1, 2, 3, 4, 5, 6, 7, 9]);
}

#[test]
fn a_subscriber_that_leaves_another_channel_between_two_parts_of_a_join_changes_nothing() {
    let mut world = World::new(1, 10);
    for client in 0..10 {
        world.connect(client, 0, false);
        for name in ["kept/a", "kept/b"] {
            world.subscribe(client, name, Since::Now);
        }
    }
    world.settle();
    let mut told = told_in_parts(&mut world, |world| {
        let (_, connection) = world.clients[0].connection.unwrap();
        let subscription = channel("kept/b").into();
        let leave = Command::Unsubscribe { subscription };
        world.workers[0].handle_command(connection, CommandId(999), leave, world.now);
    });
    told.sort_unstable();
    assert_eq!(told, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_subscriber_that_wants_the_members_is_told_them_when_it_starts() {
    for wants in [true, false] {
        let mut world = World::new(1, 1);
        world.connect(0, 0, false);
        let wish = Subscribe {
            members: wants,
            ..Subscribe::new(channel("kept/a"), Since::Now).with_presence()
        };
        world.command(0, Command::Subscribe(wish));
        world.settle();
        let lists = world.clients[0].notices().into_iter();
        let lists = lists.filter(|notice| {
            matches!(
                notice,
                Notice::Reply {
                    id: None,
                    reply: Reply::Members { .. }
                }
            )
        });
        assert_eq!(lists.count(), usize::from(wants));
    }
}

#[test]
fn while_the_memory_for_members_is_full_nobody_new_becomes_a_member() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    world.workers[0].set_members_full(true);
    world.subscribe(1, "kept/a", Since::Now);
    world.settle();
    let refused = world.clients[1].replies().into_iter().any(|reply| {
        matches!(reply, Reply::Refused(refusal) if refusal.code == ErrorCode::Busy
            && refusal.detail.contains("memory for members"))
    });
    assert!(refused);
    // Who is a member already stays one, and may resume.
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.connect(0, 0, true);
    world.settle();
    assert_eq!(world.workers[0].subscriptions(), 1);
    world.workers[0].set_members_full(false);
    world.subscribe(1, "kept/a", Since::Now);
    world.settle();
    assert_eq!(world.workers[0].subscriptions(), 2);
}
