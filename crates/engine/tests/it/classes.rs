//! Clients of a class have limits of their own.

use std::{sync::Arc, time::Duration};

use offhook_engine::*;

use crate::world::{World, channel, rules, tight_limits};

/// An engine with few commands for everybody, and many for clients of the class `backend`.
fn engine(world: &World) -> Engine {
    let backend = "backend publishes_per_second=1000 publish_burst=100 command_burst=200 \
                   commands_per_second=1000 subscriptions=3";
    let limits = Limits {
        commands_per_second: 10,
        command_burst: 8,
        publishes_per_second: 10,
        publish_burst: 2,
        subscriptions: 1,
        flood: 1_000,
        classes: vec!["idle".parse().unwrap(), backend.parse().unwrap()],
        ..tight_limits()
    };
    Engine::new(limits, Arc::new(rules()), world.now)
}

fn open(engine: &mut Engine, world: &World, class: Option<&str>, session: u8) -> ConnectionId {
    let mut identity = Identity::user("ann");
    identity.class = class.map(Into::into);
    let session = SessionId::from_bytes([session; 16]);
    let arrival = Arrival::new(session, Arc::new(identity));
    engine.handle_connection_opened(arrival, world.now).unwrap()
}

/// The codes of all refusals that the engine has for its connections.
fn refusals(engine: &mut Engine) -> Vec<ErrorCode> {
    let mut codes = Vec::new();
    while let Some(delivery) = engine.poll_delivery() {
        if let Delivery::Connection {
            notice:
                Notice::Reply {
                    reply: Reply::Refused(refusal),
                    ..
                },
            ..
        } = delivery
        {
            codes.push(refusal.code);
        }
    }
    codes
}

fn publish(engine: &mut Engine, connection: ConnectionId, count: u32, now: Now) -> usize {
    for n in 0..count {
        let command = Command::Publish {
            channel: channel("flow/a"),
            data: "x".into(),
            format: Format::Json,
            tags: Tags::default(),
            key: None,
        };
        engine.handle_command(connection, CommandId(n.into()), command, now);
    }
    let codes = refusals(engine);
    assert!(
        codes.iter().all(|code| *code == ErrorCode::RateLimited),
        "{codes:?}"
    );
    codes.len()
}

#[test]
fn a_backend_publishes_more_than_a_browser() {
    let world = World::new(1, 0);
    let mut engine = engine(&world);
    let browser = open(&mut engine, &world, None, 1);
    let backend = open(&mut engine, &world, Some("backend"), 2);
    assert_eq!(publish(&mut engine, browser, 5, world.now), 3);
    assert_eq!(publish(&mut engine, backend, 100, world.now), 0);
    assert_eq!(publish(&mut engine, backend, 1, world.now), 1);
    // One millisecond earns the backend a publication, and the browser a hundredth of one.
    let later = Now {
        instant: world.now.instant + Duration::from_millis(1),
        ..world.now
    };
    assert_eq!(publish(&mut engine, backend, 1, later), 0);
    assert_eq!(publish(&mut engine, browser, 1, later), 1);
}

#[test]
fn a_class_without_limits_of_its_own_or_without_a_definition_has_those_of_all() {
    let world = World::new(1, 0);
    for class in ["idle", "removed"] {
        let mut engine = engine(&world);
        let client = open(&mut engine, &world, Some(class), 1);
        assert_eq!(publish(&mut engine, client, 5, world.now), 3, "{class}");
    }
}

#[test]
fn a_class_has_its_own_number_of_subscriptions() {
    let world = World::new(1, 0);
    for (class, allowed) in [(None, 1), (Some("backend"), 3)] {
        let mut engine = engine(&world);
        let client = open(&mut engine, &world, class, 1);
        for n in 0..4 {
            let target = Target::from(channel(&format!("flow/{n}")));
            let command = Command::Subscribe(Subscribe::new(target, Since::Now));
            engine.handle_command(client, CommandId(n), command, world.now);
        }
        let refused = vec![ErrorCode::TooManySubscriptions; 4 - allowed];
        assert_eq!(refusals(&mut engine), refused, "{class:?}");
    }
}

#[test]
fn limits_handed_in_later_apply_to_open_connections() {
    let world = World::new(1, 0);
    let mut engine = engine(&world);
    let client = open(&mut engine, &world, Some("later"), 1);
    assert_eq!(publish(&mut engine, client, 3, world.now), 1);
    engine.set_limits(Limits {
        classes: vec![
            "later publishes_per_second=1000000 commands_per_second=1000000"
                .parse()
                .unwrap(),
        ],
        ..tight_limits()
    });
    let later = Now {
        instant: world.now.instant + Duration::from_secs(1),
        ..world.now
    };
    assert_eq!(publish(&mut engine, client, 100, later), 0);
}

#[test]
fn a_class_is_a_name_and_limits_by_their_names() {
    let text = "edge.1 commands_per_second=5 command_burst=6 publishes_per_second=7 \
                publish_burst=8 subscriptions=9 requests_per_connection=10";
    let class: ClientClass = text.parse().unwrap();
    assert_eq!(class.to_string(), text);
    assert_eq!("a".parse::<ClientClass>().unwrap(), ClientClass::new("a"));
    for (wrong, words) in [
        ("", "not the name of a class"),
        ("publish_burst=8", "not the name of a class"),
        ("a b", "\"b\" is not a limit"),
        (
            "a data_bytes=1",
            "expected commands_per_second, command_burst",
        ),
        ("a publish_burst", "expected a whole number"),
        ("a publish_burst=0", "at least 1"),
        ("a publish_burst=-1", "at least 1"),
        ("a publish_burst=99999999999", "at least 1"),
        ("a publish_burst=1 publish_burst=2", "given twice"),
        (&"x".repeat(65), "at most 64"),
    ] {
        let error = wrong.parse::<ClientClass>().unwrap_err().to_string();
        assert!(error.contains(words), "{wrong}: {error}");
    }
}
