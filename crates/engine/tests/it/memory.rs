//! The cost of an idle connection, counted by the allocator.

use std::{sync::Arc, time::Instant};

use offhook_engine::*;

use crate::world::bare;

const CONNECTIONS: u64 = 10_000;

/// Opens connections with one live subscription each, and returns the engine's heap bytes per
/// connection.
fn bytes_a_connection(channel_of: impl Fn(u64) -> String) -> u64 {
    let stranger = Arc::new(Identity::stranger());
    bytes_a_client(channel_of, |_| Arc::clone(&stranger))
}

/// As [`bytes_a_connection`], including the memory of the clients' identities.
fn bytes_a_client(
    channel_of: impl Fn(u64) -> String,
    identity_of: impl Fn(u64) -> Arc<Identity>,
) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one instant this test counts from"
    )]
    let now = Now {
        instant: Instant::now(),
        unix_ms: 1,
    };
    let rules = ChannelRules {
        presence: true,
        ..ChannelRules::default()
    };
    let mut engine = Engine::new(
        Limits::default(),
        Arc::new(RuleBook::everything(rules)),
        now,
    );
    let names: Vec<_> = (0..CONNECTIONS)
        .map(|n| ChannelName::new(&channel_of(n)).unwrap())
        .collect();
    let subscribe = |engine: &mut Engine, n: u64| {
        let session = SessionId::from_bytes(u128::from(n).to_be_bytes());
        let connection = engine
            .handle_connection_opened(Arrival::new(session, identity_of(n)), now)
            .unwrap();
        let since = Since::Now;
        let channel = names[n as usize].clone();
        let subscribe = Command::Subscribe(Subscribe::new(channel, since));
        engine.handle_command(connection, CommandId(n), subscribe, now);
    };
    let opened = allocation_counter::measure(|| {
        for n in 0..CONNECTIONS {
            subscribe(&mut engine, n);
            come_to_rest(&mut engine, now);
        }
    });
    u64::try_from(opened.bytes_current).unwrap() / CONNECTIONS
}

fn come_to_rest(engine: &mut Engine, now: Now) {
    loop {
        while engine.poll_delivery().is_some() {}
        let Some(request) = engine.poll_broker_request() else {
            break;
        };
        if let BrokerRequest::Follow { id, .. } = request {
            let (head, trimmed) = (Position::new(1, 0), Trimmed::BySize);
            let stream = StreamState {
                head,
                first: 1,
                trimmed,
            };
            engine.handle_broker(BrokerEvent::Followed { id, stream }, now);
        }
    }
}

#[test]
fn an_idle_connection_with_one_subscription_to_a_shared_channel_costs_at_most_300_bytes() {
    let bytes = bytes_a_connection(|_| "chat".to_owned());
    println!("{bytes} bytes a connection in one shared channel");
    assert!(bytes <= 300, "{bytes} bytes");
}

#[test]
fn an_idle_connection_with_a_channel_of_its_own_costs_at_most_600_bytes() {
    let bytes = bytes_a_connection(|n| format!("user/{n}"));
    println!("{bytes} bytes a connection with a channel of its own");
    assert!(bytes <= 600, "{bytes} bytes");
}

/// An identity as it is decoded from a token, which shares nothing with any other.
fn with_four_grants(user: &str, own: &str) -> Arc<Identity> {
    let identity = Identity::user(user)
        .with("chat/*", Verbs::ALL)
        .with("news/*", Verbs::READ)
        .with("games/7", Verbs::ALL)
        .with(own, Verbs::ALL);
    Arc::new(Identity {
        ends_ms: Some(1_700_000_000_000),
        ..identity
    })
}

#[test]
fn connections_of_one_user_share_their_identity_and_users_with_equal_grants_the_grants() {
    let chat = |_| "chat".to_owned();
    let anonymous = bytes_a_connection(chat);
    let more = |identity_of: &dyn Fn(u64) -> Arc<Identity>| {
        bytes_a_client(chat, identity_of).saturating_sub(anonymous)
    };
    let one_user = more(&|_| with_four_grants("ann", "private/ann/*"));
    let own_name = more(&|n| with_four_grants(&format!("user {n}"), "private/*"));
    let own_grant =
        more(&|n| with_four_grants(&format!("user {n}"), &format!("private/user {n}/*")));
    println!(
        "bytes more than an anonymous client: {one_user} for connections of one user, \
         {own_name} for users with the same grants, {own_grant} for users with a grant of their own"
    );
    assert!(one_user <= 50, "{one_user} bytes");
    assert!(own_name <= 250, "{own_name} bytes");
    assert!(own_grant <= 500, "{own_grant} bytes");
}

#[test]
fn grants_that_nobody_has_any_more_do_not_accumulate() {
    let mut engine = Engine::new(
        Limits::default(),
        Arc::new(RuleBook::everything(ChannelRules::default())),
        bare::now(),
    );
    let mut open_and_close = |n: u64| {
        let identity = with_four_grants(&format!("user {n}"), &format!("private/user {n}/*"));
        let arrival = Arrival::new(SessionId::from_bytes([1; 16]), identity);
        let connection = engine.handle_connection_opened(arrival, bare::now());
        engine.handle_connection_closed(connection.unwrap());
        while engine.poll_delivery().is_some() {}
    };
    open_and_close(0);
    let kept = allocation_counter::measure(|| (1..=10_000).for_each(&mut open_and_close));
    let bytes = kept.bytes_current;
    // 256 lists of 4 grants may remain, without their patterns.
    assert!(bytes < 64 * 1024, "{bytes} bytes");
}

#[test]
fn ten_thousand_users_that_have_gone_leave_nothing_behind() {
    let mut engine = Engine::new(
        Limits::default(),
        Arc::new(RuleBook::everything(ChannelRules::default())),
        bare::now(),
    );
    let kept = allocation_counter::measure(|| {
        let mut open = Vec::new();
        for n in 0..CONNECTIONS {
            let session = SessionId::from_bytes(u128::from(n).to_be_bytes());
            let identity = Arc::new(Identity::user(&format!("user {n}")));
            let arrival = Arrival::new(session, identity);
            open.push(
                engine
                    .handle_connection_opened(arrival, bare::now())
                    .unwrap(),
            );
        }
        for connection in open {
            engine.handle_connection_closed(connection);
        }
        while engine.poll_delivery().is_some() {}
    });
    let bytes = kept.bytes_current;
    assert!(bytes < 64 * 1024, "{bytes} bytes");
}

#[test]
fn queues_that_were_long_once_are_freed() {
    let mut engine = Engine::new(
        Limits::default(),
        Arc::new(RuleBook::everything(ChannelRules::default())),
        bare::now(),
    );
    for n in 0..CONNECTIONS {
        let session = SessionId::from_bytes(u128::from(n).to_be_bytes());
        let arrival = Arrival::new(session, bare::identity());
        engine
            .handle_connection_opened(arrival, bare::now())
            .unwrap();
    }
    let notices = allocation_counter::measure(|| {
        engine.handle_drain(std::time::Duration::ZERO, || 0);
        while engine.poll_delivery().is_some() {}
    });
    let bytes = notices.bytes_current;
    assert!(bytes < 64 * 1024, "{bytes} bytes for notices");
    for n in 0..CONNECTIONS {
        let publish = Command::Publish {
            channel: ChannelName::new("a").unwrap(),
            data: "x".into(),
            format: Format::Text,
            tags: Tags::default(),
            key: None,
        };
        engine.handle_caller(CallerId(n), None, publish, bare::now());
    }
    let requests = allocation_counter::measure(|| while engine.poll_broker_request().is_some() {});
    let bytes = requests.bytes_current;
    let each = size_of::<BrokerRequest>() as i64;
    let freed = -bytes / CONNECTIONS as i64;
    assert!(
        freed >= each,
        "{freed} bytes freed for each request of {each}"
    );
}

#[test]
fn a_broadcast_to_a_thousand_connections_allocates_nothing_for_any_of_them() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one instant this test counts from"
    )]
    let now = Now {
        instant: Instant::now(),
        unix_ms: 1,
    };
    let book = Arc::new(RuleBook::everything(ChannelRules::default()));
    let mut engine = Engine::new(Limits::default(), book, now);
    let channel = ChannelName::new("chat").unwrap();
    for n in 0..1_000_u128 {
        let session = SessionId::from_bytes(n.to_be_bytes());
        let stranger = Arc::new(Identity::stranger());
        let connection = engine
            .handle_connection_opened(Arrival::new(session, stranger), now)
            .unwrap();
        let since = Since::Now;
        let subscribe = Command::Subscribe(Subscribe::new(channel.clone(), since));
        engine.handle_command(connection, CommandId(1), subscribe, now);
        come_to_rest(&mut engine, now);
    }
    let publication = Arc::new(Publication {
        channel,
        position: Position::new(1, 1),
        previous: Position::new(1, 0),
        sequence: 1,
        data: "\"hello\"".into(),
        format: Format::Json,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 1,
    });
    let mut reached = 0;
    let fan_out = allocation_counter::measure(|| {
        engine.handle_broker(BrokerEvent::Publication(publication), now);
        while let Some(delivery) = engine.poll_delivery() {
            let Delivery::Broadcast { recipients, .. } = delivery else {
                continue;
            };
            reached += recipients.len();
        }
    });
    assert_eq!(reached, 1_000);
    assert_eq!(fan_out.count_total, 0);
}

/// An engine with a subscriber of channel `a` that stays, and the connection of another.
fn with_a_subscriber_that_stays() -> (Engine, ConnectionId, Now) {
    let limits = Limits {
        commands_per_second: 1_000_000,
        command_burst: 1_000_000,
        ..Limits::default()
    };
    let rules = Arc::new(RuleBook::everything(ChannelRules::default()));
    let now = bare::now();
    let mut engine = Engine::new(limits, rules, now);
    let mut open = |n| {
        let arrival = Arrival::new(bare::session(n), bare::identity());
        engine.handle_connection_opened(arrival, now).unwrap()
    };
    let (stays, other) = (open(1), open(2));
    subscribe_to_a(&mut engine, stays, Since::Now, now);
    (engine, other, now)
}

fn subscribe_to_a(engine: &mut Engine, connection: ConnectionId, since: Since, now: Now) {
    let wish = Subscribe::new(ChannelName::new("a").unwrap(), since);
    engine.handle_command(connection, CommandId(1), Command::Subscribe(wish), now);
}

/// The bytes that an engine has more after a client subscribed and unsubscribed often.
fn after_many_came_and_went(
    engine: &mut Engine,
    connection: ConnectionId,
    since: Since,
    now: Now,
) -> i64 {
    let mut come_and_go = |times: u32| {
        for _ in 0..times {
            subscribe_to_a(engine, connection, since, now);
            while engine.poll_delivery().is_some() {}
            let subscription = ChannelName::new("a").unwrap().into();
            let unsubscribe = Command::Unsubscribe { subscription };
            engine.handle_command(connection, CommandId(2), unsubscribe, now);
            while engine.poll_delivery().is_some() {}
            while engine.poll_broker_request().is_some() {}
        }
        assert_eq!(engine.subscriptions(), 1);
    };
    come_and_go(100);
    allocation_counter::measure(|| come_and_go(20_000)).bytes_current
}

#[test]
fn clients_that_come_and_go_while_a_channel_is_not_open_leave_nothing() {
    let (mut engine, other, now) = with_a_subscriber_that_stays();
    let grown = after_many_came_and_went(&mut engine, other, Since::Now, now);
    assert!(grown < 2_048, "{grown} bytes");
}

#[test]
fn clients_that_come_and_go_while_history_is_not_read_leave_nothing() {
    let (mut engine, other, now) = with_a_subscriber_that_stays();
    while engine.poll_delivery().is_some() {}
    while let Some(request) = engine.poll_broker_request() {
        if let BrokerRequest::Follow { id, .. } = request {
            let stream = StreamState {
                head: Position::new(1, 5),
                first: 1,
                trimmed: Trimmed::BySize,
            };
            engine.handle_broker(BrokerEvent::Followed { id, stream }, now);
        }
    }
    while engine.poll_delivery().is_some() {}
    let grown = after_many_came_and_went(&mut engine, other, Since::Start, now);
    assert!(grown < 2_048, "{grown} bytes");
}
