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
