//! The cost of an idle connection, counted by the allocator.

use std::{sync::Arc, time::Instant};

use offhook_engine::*;

const CONNECTIONS: u64 = 10_000;

/// Opens connections with one live subscription each, and returns the engine's heap bytes per
/// connection.
fn bytes_a_connection(channel_of: impl Fn(u64) -> String) -> u64 {
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
    let identity = Arc::new(Identity::stranger());
    let names: Vec<_> = (0..CONNECTIONS)
        .map(|n| ChannelName::new(&channel_of(n)).unwrap())
        .collect();
    let subscribe = |engine: &mut Engine, n: u64| {
        let session = SessionId::from_bytes(u128::from(n).to_be_bytes());
        let connection = engine
            .handle_connection_opened(Arrival::new(session, Arc::clone(&identity)), now)
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
