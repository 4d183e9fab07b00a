//! Defects that a review found, each with the test that would have found it.

use std::sync::Arc;

use offhook_engine::*;

use crate::world::{World, channel};

const NOW: u64 = 1_000_000;

fn now() -> Now {
    World::new(1, 0).now
}

fn identity() -> Arc<Identity> {
    Arc::new(Identity::stranger())
}

fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

fn publication(name: &str, offset: u64, previous: u64, sequence: u64) -> Arc<Publication> {
    let draft = Draft {
        channel: channel(name),
        data: offset.to_string().into(),
        format: Format::Json,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: NOW,
    };
    let (position, previous) = (Position::new(1, offset), Position::new(1, previous));
    Arc::new(draft.at(Place {
        position,
        previous,
        sequence,
    }))
}

/// What is handed out, as (offset) or what a notice says.
fn told(engine: &mut Engine) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(delivery) = engine.poll_delivery() {
        told.push(match delivery {
            Delivery::Broadcast { publication, .. } | Delivery::Publication { publication, .. } => {
                format!("message {}", publication.sequence)
            }
            Delivery::Connection { notice, .. } => format!("{notice:?}").chars().take(60).collect(),
            Delivery::Presence { .. } | Delivery::Mark { .. } => "other".into(),
        });
    }
    told
}

#[test]
fn a_lag_is_not_forgotten_by_what_was_told_before_it() {
    let mut engine = Engine::new(
        Limits::default(),
        Arc::new(RuleBook::everything(ChannelRules::default())),
        now(),
    );
    let connection = engine
        .handle_connection_opened(Arrival::new(session(1), identity()), now())
        .unwrap();
    let wish = Subscribe::new(Filter::new("a/#").unwrap(), Since::Now).numbered(7);
    engine.handle_command(connection, CommandId(1), Command::Subscribe(wish), now());
    told(&mut engine);
    let Some(BrokerRequest::FollowFilter { id, .. }) = engine.poll_broker_request() else {
        panic!()
    };
    let stream = |offset| StreamState {
        head: Position::new(1, offset),
        first: 0,
        trimmed: Trimmed::BySize,
    };
    engine.handle_broker(
        BrokerEvent::Followed {
            id,
            stream: stream(4),
        },
        now(),
    );
    told(&mut engine);
    // One after the other, with nothing taken between, as `poll_delivery_within` allows.
    engine.handle_broker(BrokerEvent::Publication(publication("a/x", 1, 0, 5)), now());
    engine.handle_broker(BrokerEvent::Lagged, now());
    // 6, 7 and 8 were left out.
    engine.handle_broker(BrokerEvent::Publication(publication("a/x", 5, 4, 9)), now());
    let mut all = told(&mut engine);
    let mut reads = 0;
    while let Some(request) = engine.poll_broker_request() {
        match request {
            BrokerRequest::FollowFilter { id, .. } => {
                engine.handle_broker(
                    BrokerEvent::Followed {
                        id,
                        stream: stream(9),
                    },
                    now(),
                );
                all.extend(told(&mut engine));
            }
            BrokerRequest::FilterHistory { .. } => reads += 1,
            _ => {}
        }
    }
    // 9 may only come after a read has brought what is between.
    assert!(
        reads > 0 && !all.contains(&"message 9".to_owned()),
        "{all:#?} reads {reads}"
    );
}

fn windowed() -> World {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    let wish = Subscribe::new(channel("kept/a"), Since::Now).acknowledged(3);
    world.command(0, Command::Subscribe(wish));
    world.settle();
    world
}

#[test]
fn what_a_restored_log_goes_on_with_is_not_taken_for_done() {
    let mut world = windowed();
    for n in 1..=3 {
        world.publish(1, "kept/a", &n.to_string());
    }
    world.settle();
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.clients[0].read.clear();
    // An older copy is restored that has 1, and the stream goes on elsewhere.
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
fn what_is_done_out_of_order_takes_no_memory_for_ever() {
    let mut world = windowed();
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

#[test]
fn a_subscription_that_the_server_made_survives_a_reconnect() {
    let rules = ChannelRules {
        subscribe: Access::Granted,
        ..ChannelRules::default()
    };
    let book = RuleBook::everything(rules);
    let mut engine = Engine::new(Limits::default(), Arc::new(book), now());
    let arrival = || Arrival::new(session(1), identity());
    let connection = engine.handle_connection_opened(arrival(), now()).unwrap();
    let wish = Subscribe::new(channel("orders/ann"), Since::Now);
    engine.subscribe_for(&Whom::Session(session(1)), &wish, now());
    told(&mut engine);
    let Some(BrokerRequest::Follow { id, .. }) = engine.poll_broker_request() else {
        panic!()
    };
    let head = Position::new(1, 0);
    let stream = StreamState {
        head,
        first: 1,
        trimmed: Trimmed::BySize,
    };
    engine.handle_broker(BrokerEvent::Followed { id, stream }, now());
    assert!(told(&mut engine)[0].contains("Subscribed"));
    let snapshot = engine.snapshot(connection, now()).unwrap();
    engine.handle_connection_lost(connection);
    engine
        .handle_connection_resumed(arrival(), snapshot, &[], now())
        .unwrap();
    let all = told(&mut engine);
    assert!(
        !all.iter().any(|told| told.contains("Unsubscribed")),
        "{all:?}"
    );
}

#[test]
fn a_position_of_a_stream_that_diverged_was_received_by_nobody() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    world.publish(0, "kept/a", "1");
    world.settle();
    let lost = Position::new(1, 1);
    world.broker.restart(&channel("kept/a"), 1);
    world.settle();
    world.publish(0, "kept/a", "another 1");
    world.settle();
    for _ in 0..2 {
        world.wait(std::time::Duration::from_secs(1));
        let channel = channel("kept/a");
        world.command(
            0,
            Command::Receipts {
                channel,
                position: lost,
            },
        );
        world.settle();
    }
    let replies = world.clients[0].replies();
    let Some(Reply::Refused(refusal)) = replies.last() else {
        panic!("{replies:?}")
    };
    assert_eq!(
        refusal.code,
        ErrorCode::BadRequest,
        "it is no longer part of the stream"
    );
}

#[test]
fn questions_about_subscriptions_are_bounded() {
    let rules = ChannelRules {
        subscribe: Access::Asked,
        ..ChannelRules::default()
    };
    let limits = Limits {
        requests: 100,
        commands_per_second: 1_000_000,
        command_burst: 1_000_000,
        ..Limits::default()
    };
    let mut engine = Engine::new(limits, Arc::new(RuleBook::everything(rules)), now());
    let connection = engine
        .handle_connection_opened(Arrival::new(session(1), identity()), now())
        .unwrap();
    for n in 0..2000 {
        let wish = Subscribe::new(channel("c"), Since::Now);
        engine.handle_command(
            connection,
            CommandId(2 * n),
            Command::Subscribe(wish),
            now(),
        );
        let subscription = channel("c").into();
        engine.handle_command(
            connection,
            CommandId(2 * n + 1),
            Command::Unsubscribe { subscription },
            now(),
        );
        told(&mut engine);
        while let Some(request) = engine.poll_broker_request() {
            if let BrokerRequest::Follow { id, .. } = request {
                let stream = StreamState {
                    head: Position::new(1, 0),
                    first: 1,
                    trimmed: Trimmed::BySize,
                };
                engine.handle_broker(BrokerEvent::Followed { id, stream }, now());
            }
        }
    }
    let asks = std::iter::from_fn(|| engine.poll_ask()).count();
    assert!(asks <= 1, "{asks} questions that nobody waits for any more");
}

/// Twelve sequences apart, as if other channels had published between.
fn filter_with_window(world: &mut World) {
    let filter = Filter::new("kept/+").unwrap();
    let wish = Subscribe::new(filter, Since::Now)
        .numbered(7)
        .acknowledged(10);
    world.command(0, Command::Subscribe(wish));
    world.settle();
}

#[test]
fn a_filter_with_a_window_delivers_again_what_was_not_acknowledged_after_the_brokers_order_went_on()
{
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
    let arrival = Arrival::new(snapshot.session, identity());
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
fn what_an_acknowledged_subscription_waits_for_holds_no_page() {
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
fn what_an_earlier_connection_was_handed_out_is_acknowledged_only_if_it_was_handed_out_again() {
    let mut world = windowed();
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
        let all = told(&mut world.workers[0]);
        assert!(all[0].contains("Refused"), "{all:?}");
    }
}

/// The lists of members that are asked for now.
fn lists_asked(engine: &mut Engine) -> Vec<RequestId> {
    told(engine);
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
                engine.handle_broker(BrokerEvent::Followed { id, stream }, now());
                told(engine);
            }
            _ => {}
        }
    }
    lists
}

#[test]
fn lists_of_members_that_a_connection_is_owed_come_one_by_one_while_it_has_room() {
    let rules = RuleBook::everything(ChannelRules::default());
    let limits = Limits {
        outbox_bytes: 10_000,
        ..Limits::default()
    };
    let mut engine = Engine::new(limits, Arc::new(rules), now());
    let arrival = || Arrival::new(session(1), identity());
    let snapshot = SessionSnapshot {
        session: session(1),
        generation: 1,
        identity: identity(),
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
            })
            .collect(),
        time_ms: NOW,
    };
    let connection = engine
        .handle_connection_resumed(arrival(), snapshot, &[], now())
        .unwrap();
    let member = Arc::new(Member {
        session: session(2),
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
        engine.handle_broker(answer(one), now());
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
        engine.handle_broker(answer(one), now());
        lists += 1;
    }
    engine.handle_writable(connection, 5_000);
    assert_eq!(lists_asked(&mut engine), [], "each is told once");
}

#[test]
fn more_keys_than_are_remembered_are_not_said_to_be_conflated() {
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
