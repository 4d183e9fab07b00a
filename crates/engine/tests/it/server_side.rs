//! Subscriptions made by the server, and rules and limits that change at run time.

use std::sync::Arc;

use offhook_engine::*;

use crate::world::{World, bare, channel, client::Wire, rules, tight_limits};

fn session(world: &World, client: usize) -> Whom {
    Whom::Session(world.clients[client].session)
}

fn connected(clients: usize) -> World {
    let mut world = World::new(1, clients);
    for client in 0..clients {
        world.connect(client, 0, false);
    }
    world
}

#[test]
fn a_session_is_subscribed_and_unsubscribed_by_the_server() {
    let mut world = connected(2);
    let wish = Subscribe::new(channel("kept/a"), Since::Now);
    let whom = session(&world, 0);
    // The test client accepts only what it requested, so it is told of the subscription first.
    world.clients[0].expects(&wish);
    assert_eq!(world.workers[0].subscribe_for(&whom, &wish, world.now), 1);
    world.pump(0);
    world.settle();
    world.publish(1, "kept/a", "x");
    world.settle();
    assert_eq!(world.clients[0].texts("kept/a"), ["x"]);
    let why = Refusal::new(ErrorCode::Forbidden, "the room was closed");
    let key = channel("kept/a").into();
    assert_eq!(
        world.workers[0].unsubscribe_for(&whom, &key, &why, world.now),
        1
    );
    world.pump(0);
    world.settle();
    let ended = Notice::Unsubscribed {
        subscription: channel("kept/a").into(),
        refusal: why,
    };
    assert!(world.clients[0].notices().contains(&&ended));
    assert_eq!(world.workers[0].subscriptions(), 0);
    let nobody = Whom::Session(SessionId::from_bytes([99; 16]));
    assert_eq!(world.workers[0].subscribe_for(&nobody, &wish, world.now), 0);
}

#[test]
fn all_sessions_of_a_user_can_be_messaged_and_disconnected() {
    let mut world = World::new(1, 0);
    let mut ids = Vec::new();
    for (n, user) in [(1, "ann"), (2, "ann"), (3, "bob")] {
        let arrival = Arrival::new(
            SessionId::from_bytes([n; 16]),
            Arc::new(Identity::user(user)),
        );
        let engine = &mut world.workers[0];
        ids.push(engine.handle_connection_opened(arrival, world.now).unwrap());
    }
    let engine = &mut world.workers[0];
    let ann = Whom::User("ann".into());
    let told = |engine: &mut Engine| {
        let mut told = Vec::new();
        while let Some(delivery) = engine.poll_delivery() {
            if let Delivery::Connection { connection, notice } = delivery {
                told.push((connection, notice));
            }
        }
        told.sort_by_key(|(connection, _)| *connection);
        told
    };
    assert_eq!(engine.tell(&ann, &"hi".into(), Format::Text, world.now), 2);
    let hi = || Notice::Told {
        data: "hi".into(),
        format: Format::Text,
    };
    assert_eq!(told(engine), [(ids[0], hi()), (ids[1], hi())]);
    let reason = CloseReason::Disconnected;
    assert_eq!(engine.disconnect(&ann, reason, world.now), 2);
    let close = || Notice::Close { reason };
    assert_eq!(told(engine), [(ids[0], close()), (ids[1], close())]);
    assert_eq!(
        engine.disconnect(&ann, reason, world.now),
        0,
        "they are closing already"
    );
    engine.handle_connection_closed(ids[0]);
    engine.handle_connection_closed(ids[1]);
    assert_eq!(engine.tell(&ann, &"hi".into(), Format::Text, world.now), 0);
}

/// Opens a connection of a user, whose identity shares nothing with any other when it arrives.
fn open(world: &mut World, session: u8, user: &str, pattern: &str) -> ConnectionId {
    let identity = Identity::user(user).with(pattern, Verbs::ALL);
    let arrival = Arrival::new(bare::session(session), Arc::new(identity));
    let opened = world.workers[0].handle_connection_opened(arrival, world.now);
    opened.unwrap()
}

fn identity(world: &World, connection: ConnectionId) -> &Arc<Identity> {
    world.workers[0].identity(connection).unwrap()
}

#[test]
fn connections_share_what_is_equal_in_their_identities_and_nothing_else() {
    let mut world = World::new(1, 0);
    let ann = open(&mut world, 1, "ann", "chat/*");
    let again = open(&mut world, 2, "ann", "chat/*");
    let bob = open(&mut world, 3, "bob", "chat/*");
    let limited = open(&mut world, 4, "ann", "news/*");
    assert!(Arc::ptr_eq(identity(&world, ann), identity(&world, again)));
    assert!(Arc::ptr_eq(
        &identity(&world, ann).grants,
        &identity(&world, bob).grants
    ));
    assert_eq!(*identity(&world, bob).user, *"bob");
    let other = Identity::user("ann").with("news/*", Verbs::ALL);
    assert_eq!(**identity(&world, limited), other);
    // Replacing one of them leaves the others alone.
    let whom = Whom::Session(bare::session(2));
    let fewer = Arc::new(Identity::user("ann"));
    world.workers[0].replace_identity(&whom, &fewer, "revoked", world.now);
    assert!(identity(&world, again).grants.is_empty());
    assert_eq!(identity(&world, ann).grants.len(), 1);
    assert_eq!(identity(&world, bob).grants.len(), 1);
}

#[test]
fn a_user_is_found_by_name_through_any_number_of_connections_opened_and_closed() {
    let mut world = World::new(1, 0);
    let ann = Whom::User("ann".into());
    let found = |world: &World| world.workers[0].connections_of(&ann).len();
    let open: Vec<_> = (1..=40)
        .map(|n| open(&mut world, n, "ann", "chat/*"))
        .collect();
    assert_eq!(found(&world), 40);
    for (n, connection) in open.iter().enumerate() {
        world.workers[0].handle_connection_closed(*connection);
        assert_eq!(found(&world), 39 - n);
    }
    // Closing one twice changes nothing, and the name can be used again.
    world.workers[0].handle_connection_closed(open[0]);
    let last = self::open(&mut world, 50, "ann", "chat/*");
    assert_eq!(world.workers[0].connections_of(&ann), [last]);
    // A connection that changes hands is found by its new name only.
    let whom = Whom::Session(bare::session(50));
    let bob = Arc::new(Identity::user("bob"));
    world.workers[0].replace_identity(&whom, &bob, "signed in", world.now);
    assert_eq!(found(&world), 0);
    let bob = Whom::User("bob".into());
    assert_eq!(world.workers[0].connections_of(&bob), [last]);
}

#[test]
fn a_revoked_grant_ends_only_what_it_permitted() {
    let granted = ChannelRules {
        subscribe: Access::Granted,
        ..ChannelRules::default()
    };
    let book = RuleBook::new()
        .with("kept/private/*", granted)
        .with("kept/*", ChannelRules::default());
    let mut world = World::with(1, 0, &tight_limits(), book);
    let ann = Identity::user("ann").with("kept/private/*", Verbs::SUBSCRIBE);
    let session = SessionId::from_bytes([1; 16]);
    let engine = &mut world.workers[0];
    let arrival = Arrival::new(session, Arc::new(ann));
    let connection = engine.handle_connection_opened(arrival, world.now).unwrap();
    for name in ["kept/private/a", "kept/b"] {
        let wish = Subscribe::new(channel(name), Since::Now);
        engine.handle_command(
            connection,
            CommandId(1),
            Command::Subscribe(wish),
            world.now,
        );
    }
    assert_eq!(engine.subscriptions(), 2);
    while engine.poll_delivery().is_some() {}
    let fewer = Arc::new(Identity::user("ann"));
    assert_eq!(
        engine.replace_identity(&Whom::User("ann".into()), &fewer, "revoked", world.now),
        1
    );
    assert_eq!(engine.subscriptions(), 1);
    let refused = matches!(engine.poll_delivery(), Some(Delivery::Connection { notice, .. })
        if matches!(&notice, Notice::Reply { reply: Reply::Refused(r), .. }
            if r.code == ErrorCode::Forbidden && r.detail.ends_with(": revoked")));
    assert!(refused);
}

#[test]
fn rules_can_be_replaced_while_there_are_subscriptions() {
    let mut world = connected(2);
    for name in ["kept/a", "flow/c"] {
        world.subscribe(0, name, Since::Now);
    }
    world.settle();
    let member = (channel("kept/a"), world.clients[0].session);
    assert!(world.broker.members.contains_key(&member));
    let silent = ChannelRules {
        presence: false,
        publish: Access::Nobody,
        ..ChannelRules::default()
    };
    let book = Arc::new(RuleBook::new().with("kept/*", silent));
    world.workers[0].set_rules(book, world.now);
    world.pump(0);
    world.settle();
    let gone = world.clients[0].notices().iter().any(|notice| {
        matches!(notice, Notice::Unsubscribed { subscription, refusal }
            if subscription.target.as_str() == "flow/c" && refusal.code == ErrorCode::UnknownChannel)
    });
    assert!(gone, "a channel that no rule allows any more ends");
    assert_eq!(world.workers[0].channels(), 1);
    assert!(
        !world.broker.members.contains_key(&member),
        "presence is kept no longer"
    );
    world.publish(1, "kept/a", "x");
    world.settle();
    assert!(matches!(world.clients[1].replies().last(),
        Some(Reply::Refused(r)) if r.code == ErrorCode::Forbidden));
    world.workers[0].set_rules(Arc::new(rules()), world.now);
    world.pump(0);
    world.settle();
    assert!(
        world.broker.members.contains_key(&member),
        "and is kept again"
    );
    world.publish(1, "kept/a", "y");
    world.settle();
    assert_eq!(world.clients[0].texts("kept/a"), ["y"]);
}

#[test]
fn limits_can_be_replaced_while_running() {
    let mut world = connected(1);
    let limits = Limits {
        data_bytes: 3,
        ..tight_limits()
    };
    world.publish(0, "kept/a", "four");
    world.workers[0].set_limits(limits);
    world.publish(0, "kept/a", "four");
    world.settle();
    let refused = |reply: &&Reply| matches!(reply, Reply::Refused(_));
    assert_eq!(
        world.clients[0]
            .replies()
            .into_iter()
            .filter(refused)
            .count(),
        1
    );
}

#[test]
fn a_session_can_change_its_info() {
    let mut world = connected(1);
    for id in [1, 2] {
        let wish = Subscribe::new(channel("kept/a"), Since::Now).numbered(id);
        world.command(0, Command::Subscribe(wish));
    }
    world.settle();
    let info = "{\"typing\":true}";
    world.command(0, Command::UpdateInfo { info: info.into() });
    let claims: Vec<_> = world.broker.requests[0]
        .iter()
        .filter_map(|request| match request {
            BrokerRequest::Join { member, .. } => Some(member.info.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(claims, [info], "once a channel");
    assert!(matches!(
        world.clients[0].outbox.back(),
        Some(Wire::Notice(Notice::Reply {
            reply: Reply::InfoUpdated,
            ..
        }))
    ));
}

#[test]
fn a_subscription_that_the_server_made_survives_a_reconnect() {
    let rules = ChannelRules {
        subscribe: Access::Granted,
        ..ChannelRules::default()
    };
    let book = RuleBook::everything(rules);
    let mut engine = Engine::new(Limits::default(), Arc::new(book), bare::now());
    let arrival = || Arrival::new(bare::session(1), bare::identity());
    let connection = engine
        .handle_connection_opened(arrival(), bare::now())
        .unwrap();
    let wish = Subscribe::new(channel("orders/ann"), Since::Now);
    engine.subscribe_for(&Whom::Session(bare::session(1)), &wish, bare::now());
    bare::told(&mut engine);
    let Some(BrokerRequest::Follow { id, .. }) = engine.poll_broker_request() else {
        panic!()
    };
    let head = Position::new(1, 0);
    let stream = StreamState {
        head,
        first: 1,
        trimmed: Trimmed::BySize,
    };
    engine.handle_broker(BrokerEvent::Followed { id, stream }, bare::now());
    assert!(bare::told(&mut engine)[0].contains("Subscribed"));
    let snapshot = engine.snapshot(connection, bare::now()).unwrap();
    engine.handle_connection_lost(connection);
    engine
        .handle_connection_resumed(arrival(), snapshot, &[], bare::now())
        .unwrap();
    let all = bare::told(&mut engine);
    assert!(
        !all.iter().any(|told| told.contains("Unsubscribed")),
        "{all:?}"
    );
}

#[test]
fn the_sessions_of_a_user_are_named() {
    let mut world = World::new(1, 0);
    for (session, user) in [(1, "ann"), (2, "bob"), (3, "ann")] {
        open(&mut world, session, user, "chat/*");
    }
    let mut sessions = world.workers[0].sessions_of(&Whom::User("ann".into()));
    sessions.sort();
    assert_eq!(sessions, [bare::session(1), bare::session(3)]);
    assert_eq!(world.workers[0].sessions_of(&Whom::User("eve".into())), []);
}

#[test]
fn a_session_that_cannot_be_subscribed_is_told_why_and_one_that_is_subscribed_is_not() {
    let mut world = connected(1);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    let told = world.clients[0].notices().len();
    let whom = session(&world, 0);
    for name in ["kept/a", "no rule"] {
        let wish = Subscribe::new(channel(name), Since::Now);
        assert_eq!(world.workers[0].subscribe_for(&whom, &wish, world.now), 1);
    }
    let mut told_now = Vec::new();
    while let Some(delivery) = world.workers[0].poll_delivery() {
        if let Delivery::Connection { notice, .. } = delivery {
            told_now.push(notice);
        }
    }
    assert!(told > 0);
    let [Notice::Unsubscribed { refusal, .. }] = &told_now[..] else {
        panic!("{told_now:?}")
    };
    assert_eq!(refusal.code, ErrorCode::UnknownChannel);
}

#[test]
fn rules_that_leave_presence_as_it_is_let_nobody_join_or_leave() {
    let mut world = connected(1);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    world.workers[0].set_rules(Arc::new(rules()), world.now);
    world.pump(0);
    let changes = |request: &&BrokerRequest| {
        matches!(
            request,
            BrokerRequest::Join { .. }
                | BrokerRequest::Leave { .. }
                | BrokerRequest::Members { .. }
        )
    };
    assert_eq!(world.broker.requests[0].iter().filter(changes).count(), 0);
    // The same for a channel without presence.
    let silent = || {
        let presence = ChannelRules {
            presence: false,
            ..ChannelRules::default()
        };
        Arc::new(RuleBook::everything(presence))
    };
    world.workers[0].set_rules(silent(), world.now);
    world.pump(0);
    world.settle();
    world.workers[0].set_rules(silent(), world.now);
    world.pump(0);
    assert_eq!(world.broker.requests[0].iter().filter(changes).count(), 0);
}
