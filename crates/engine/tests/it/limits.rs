//! Refusals: the reason, and whether to retry.

use std::{sync::Arc, time::Duration};

use offhook_engine::*;

use crate::world::{World, channel, client::Wire, rules, tight_limits};

fn world_with(change: impl Fn(&mut Limits)) -> World {
    let mut limits = tight_limits();
    change(&mut limits);
    let mut world = World::with(1, 1, &limits, rules());
    world.connect(0, 0, false);
    world
}

fn refusals(world: &mut World) -> Vec<Refusal> {
    world.settle();
    let mut refusals = Vec::new();
    for reply in world.clients[0].replies() {
        if let Reply::Refused(refusal) = reply {
            refusals.push(refusal.clone());
        }
    }
    refusals
}

fn only_refusal(world: &mut World) -> ErrorCode {
    let refusals = refusals(world);
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals[0].code
}

#[test]
fn every_code_has_its_own_stable_name() {
    let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ErrorCode::ALL.len());
    assert_eq!(ErrorCode::StorageFull.name(), "storage_full");
    assert_eq!(ErrorCode::StorageFull.retry().name(), "later");
}

#[test]
fn channel_names_are_limited_and_errors_say_what_is_wrong_where() {
    for (name, words) in [
        ("".to_owned(), "empty"),
        ("x".repeat(201), "201 bytes"),
        ("a\nb".to_owned(), "byte 1"),
        ("chat/*".to_owned(), "byte 5"),
    ] {
        let refusal = ChannelName::new(&name).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BadChannelName);
        assert!(refusal.detail.contains(words), "{refusal}");
    }
    assert!(ChannelName::new(&"x".repeat(200)).is_ok());
}

#[test]
fn keys_and_tags_are_limited() {
    assert!(Key::new(&"k".repeat(128)).is_ok());
    assert_eq!(
        Key::new(&"k".repeat(129)).unwrap_err().code,
        ErrorCode::BadKey
    );
    assert_eq!(Key::new("").unwrap_err().code, ErrorCode::BadKey);
    let many = vec![("name", "value"); 17];
    assert_eq!(Tags::new(many).unwrap_err().code, ErrorCode::BadTags);
    let long = "v".repeat(257);
    assert_eq!(
        Tags::new([("name", &*long)]).unwrap_err().code,
        ErrorCode::BadTags
    );
}

#[test]
fn too_much_data_is_refused_with_its_size_and_the_limit() {
    let mut world = world_with(|limits| limits.data_bytes = 10);
    world.publish(0, "kept/a", "0123456789");
    world.publish(0, "kept/a", "0123456789a");
    let refusals = refusals(&mut world);
    assert_eq!(refusals[0].code, ErrorCode::TooLarge);
    assert!(
        refusals[0].detail.contains("11 bytes; the limit is 10"),
        "{}",
        refusals[0]
    );
    assert_eq!(refusals.len(), 1);
}

#[test]
fn a_channel_without_a_rule_does_not_exist() {
    let mut world = world_with(|_| {});
    world.subscribe(0, "nowhere", Since::Now);
    assert_eq!(only_refusal(&mut world), ErrorCode::UnknownChannel);
}

#[test]
fn reading_history_of_a_channel_without_history_is_refused() {
    let mut world = world_with(|_| {});
    let channel = channel("flow/c");
    world.command(
        0,
        Command::History {
            channel,
            since: Since::Start,
            limit: 10,
        },
    );
    assert_eq!(only_refusal(&mut world), ErrorCode::NoHistory);
}

#[test]
fn permissions_combine_rules_and_grants() {
    let granted = ChannelRules {
        publish: Access::Granted,
        ..ChannelRules::default()
    };
    let book = rules().with("board", granted);
    let mut world = World::with(1, 0, &tight_limits(), book);
    let editor = Identity::user("eve").with("bo*", Verbs::PUBLISH);
    for (n, identity, allowed) in [(1, editor, true), (2, Identity::user("ann"), false)] {
        let engine = &mut world.workers[0];
        let session = SessionId::from_bytes([n; 16]);
        let connection = engine
            .handle_connection_opened(Arrival::new(session, Arc::new(identity)), world.now)
            .unwrap();
        let publish = Command::Publish {
            channel: channel("board"),
            data: "1".into(),
            format: Format::Json,
            tags: Tags::default(),
            key: None,
        };
        engine.handle_command(connection, CommandId(1), publish, world.now);
        let sent = engine.poll_broker_request().is_some();
        let refused = engine.poll_delivery().is_some();
        assert_eq!((sent, refused), (allowed, !allowed));
    }
}

#[test]
fn subscriptions_of_a_session_are_limited() {
    let mut world = world_with(|limits| limits.subscriptions = 2);
    for name in ["kept/a", "kept/b", "kept/c"] {
        world.subscribe(0, name, Since::Now);
    }
    assert_eq!(only_refusal(&mut world), ErrorCode::TooManySubscriptions);
}

#[test]
fn subscribing_twice_and_unsubscribing_without_a_subscription_are_refused() {
    let mut world = world_with(|_| {});
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    world.subscribe(0, "kept/a", Since::Now);
    assert_eq!(only_refusal(&mut world), ErrorCode::AlreadySubscribed);
    world.command(
        0,
        Command::Unsubscribe {
            subscription: channel("kept/b").into(),
        },
    );
    assert_eq!(refusals(&mut world)[1].code, ErrorCode::NotSubscribed);
}

#[test]
fn a_client_that_is_too_fast_is_told_when_to_continue() {
    let mut world = world_with(|limits| {
        limits.publish_burst = 3;
        limits.publishes_per_second = 10;
    });
    for _ in 0..4 {
        world.publish(0, "kept/a", "x");
    }
    let refused = world.clients[0].outbox.pop_front().unwrap();
    let Wire::Notice(Notice::Reply {
        reply: Reply::Refused(refusal),
        ..
    }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(refusal.code, ErrorCode::RateLimited);
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(100)));
    world.wait(Duration::from_millis(100));
    world.publish(0, "kept/a", "x");
    assert!(world.clients[0].outbox.is_empty());
}

#[test]
fn a_flood_closes_the_connection() {
    let mut world = world_with(|limits| {
        limits.command_burst = 1;
        limits.commands_per_second = 1;
        limits.flood = 5;
    });
    for _ in 0..20 {
        world.command(0, Command::Ping);
    }
    let outbox = &world.clients[0].outbox;
    let close = outbox.iter().position(|wire| {
        matches!(
            wire,
            Wire::Notice(Notice::Close {
                reason: CloseReason::Flood
            })
        )
    });
    assert!(close.is_some());
    assert!(outbox.len() <= 8, "the flood costs nothing after the close");
}

/// At any rate, some commands are accepted: that ended the count of refusals in a row.
#[test]
fn a_flood_closes_the_connection_although_some_of_its_commands_are_accepted() {
    let mut world = world_with(|limits| {
        limits.command_burst = 1;
        limits.commands_per_second = 10;
        limits.flood = 50;
    });
    let mut sent = 0;
    while world.clients[0].connection.is_some() {
        sent += 1;
        assert!(sent < 200, "twenty times the rate for a second");
        world.command(0, Command::Ping);
        world.wait(Duration::from_millis(5));
        world.read(0, 99);
    }
    let pongs = world.clients[0].replies().into_iter();
    let pongs = pongs.filter(|reply| matches!(reply, Reply::Pong)).count();
    assert!(pongs > 2, "{pongs}");
}

#[test]
fn an_invalid_command_counts_against_rate_and_flood_limits() {
    let mut world = world_with(|limits| {
        limits.command_burst = 2;
        limits.commands_per_second = 1;
        limits.flood = 3;
    });
    let (worker, connection) = world.clients[0].connection.unwrap();
    for _ in 0..10 {
        let rubbish = Refusal::new(ErrorCode::BadRequest, "line 1 column 1");
        world.workers[worker].handle_refused(connection, None, rubbish, world.now);
        world.pump(worker);
    }
    let mut codes = Vec::new();
    for wire in &world.clients[0].outbox {
        match wire {
            Wire::Notice(Notice::Reply {
                id: None,
                reply: Reply::Refused(refusal),
            }) => codes.push(refusal.code),
            Wire::Notice(Notice::Close { reason }) => assert_eq!(*reason, CloseReason::Flood),
            other => panic!("{other:?}"),
        }
    }
    let bad = ErrorCode::BadRequest;
    let fast = ErrorCode::RateLimited;
    assert_eq!(codes, [bad, bad, fast, fast, fast, fast]);
}

#[test]
fn requests_in_flight_of_a_connection_are_limited() {
    let mut world = world_with(|limits| limits.requests_per_connection = 2);
    for _ in 0..3 {
        world.publish(0, "kept/a", "x");
    }
    let (worker, connection) = world.clients[0].connection.unwrap();
    assert_eq!(world.workers[worker].unanswered(connection), 2);
    assert_eq!(only_refusal(&mut world), ErrorCode::Busy);
    assert_eq!(world.workers[worker].unanswered(connection), 0);
    world.publish(0, "kept/a", "x");
    assert_eq!(refusals(&mut world).len(), 1, "answers make room again");
}

#[test]
fn a_broker_that_does_not_answer_times_out_and_its_late_answer_is_ignored() {
    let mut world = world_with(|limits| limits.answer_within = Duration::from_secs(1));
    world.publish(0, "kept/a", "x");
    world.subscribe(0, "kept/a", Since::Now);
    world.wait(Duration::from_secs(1));
    let refused = refusals(&mut world);
    assert_eq!(refused.len(), 2);
    assert!(
        refused
            .iter()
            .all(|refusal| refusal.code == ErrorCode::TimedOut)
    );
    assert!(world.clients[0].unanswered.is_empty());
    assert_eq!(world.workers[0].poll_timeout(), None);
}

#[test]
fn a_full_disk_refuses_publishers_and_keeps_subscribers() {
    let mut world = world_with(|_| {});
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    world.broker.failure = Some(BrokerFailure::StorageFull);
    world.publish(0, "kept/a", "lost?");
    assert_eq!(only_refusal(&mut world), ErrorCode::StorageFull);
    world.broker.failure = None;
    world.publish(0, "kept/a", "kept");
    world.settle();
    assert_eq!(world.clients[0].texts("kept/a"), ["kept"]);
}

#[test]
fn connections_of_a_worker_are_limited() {
    let mut world = world_with(|limits| limits.connections = 1);
    let session = SessionId::from_bytes([99; 16]);
    let stranger = Arc::new(Identity::stranger());
    let refused = world.workers[0]
        .handle_connection_opened(Arrival::new(session, stranger), world.now)
        .unwrap_err();
    assert_eq!(
        (refused.code, refused.code.retry()),
        (ErrorCode::TooManyConnections, Retry::Later)
    );
}

#[test]
fn the_same_key_is_acknowledged_with_the_same_position() {
    let mut world = world_with(|_| {});
    for _ in 0..2 {
        world.publish_with(0, "kept/a", "x", Some("key"), "");
    }
    world.settle();
    let position = Position::new(1, 1);
    let replies = world.clients[0].replies();
    assert_eq!(
        replies,
        [
            &Reply::Published {
                position,
                duplicate: false
            },
            &Reply::Published {
                position,
                duplicate: true
            },
        ]
    );
}

#[test]
fn requests_in_flight_of_a_worker_are_limited_and_others_are_refused_temporarily() {
    let mut world = world_with(|limits| limits.requests = 2);
    world.subscribe(0, "kept/a", Since::Now);
    world.publish(0, "kept/a", "x");
    world.publish(0, "kept/a", "x");
    world.subscribe(0, "kept/b", Since::Now);
    let refused = refusals(&mut world);
    assert_eq!(refused.len(), 2);
    assert!(
        refused
            .iter()
            .all(|refusal| refusal.code == ErrorCode::Busy)
    );
    world.subscribe(0, "kept/b", Since::Now);
    assert_eq!(refusals(&mut world).len(), 2, "answers make room again");
}

#[test]
fn publications_that_wait_for_a_stalled_disk_leave_room_for_subscribing_and_reading() {
    let mut world = world_with(|limits| limits.requests = 8);
    // None is answered.
    for _ in 0..8 {
        world.publish(0, "kept/a", "x");
    }
    let member = channel("kept/a");
    world.command(0, Command::Presence { channel: member });
    world.subscribe(0, "kept/b", Since::Now);
    let refused = refusals(&mut world);
    assert_eq!(refused.len(), 2, "six of eight publications may wait");
    assert!(
        refused
            .iter()
            .all(|refusal| refusal.code == ErrorCode::Busy)
    );
    let replies = world.clients[0].replies();
    let (mut members, mut subscribed) = (false, false);
    for reply in replies {
        members |= matches!(reply, Reply::Members { .. });
        subscribed |= matches!(reply, Reply::Subscribed { .. });
    }
    assert!(members && subscribed);
}

#[test]
fn occasional_refusals_do_not_count_as_a_flood() {
    let mut world = world_with(|limits| {
        limits.command_burst = 1;
        limits.commands_per_second = 10;
        limits.flood = 3;
    });
    for _ in 0..20 {
        for _ in 0..3 {
            world.command(0, Command::Ping);
        }
        world.wait(Duration::from_millis(200));
        world.read(0, 99);
    }
    assert!(world.clients[0].connection.is_some());
}

#[test]
fn channels_of_a_worker_are_limited() {
    let mut world = world_with(|limits| limits.channels = 2);
    for name in ["kept/a", "kept/b", "kept/c"] {
        world.subscribe(0, name, Since::Now);
    }
    assert_eq!(only_refusal(&mut world), ErrorCode::TooManyChannels);
    let subscription = channel("kept/a").into();
    world.command(0, Command::Unsubscribe { subscription });
    world.settle();
    world.subscribe(0, "kept/c", Since::Now);
    assert_eq!(
        refusals(&mut world).len(),
        1,
        "a channel that is left makes room"
    );
}

#[test]
fn presence_in_a_channel_without_presence_is_refused() {
    let quiet = ChannelRules {
        presence: false,
        ..ChannelRules::default()
    };
    let mut world = World::with(1, 1, &tight_limits(), RuleBook::everything(quiet));
    world.connect(0, 0, false);
    world.subscribe(0, "quiet", Since::Now);
    assert_eq!(only_refusal(&mut world), ErrorCode::NoPresence);
}

#[test]
fn the_first_matching_rule_applies_regardless_of_the_lookup() {
    let rule = |count| ChannelRules {
        history: History {
            count,
            ..History::default()
        },
        ..ChannelRules::default()
    };
    let patterns = ["a/*/x", "a/b", "a*", "*z", "a/b/*", "q", "*"];
    let mut book = RuleBook::new();
    for (n, pattern) in (0..).zip(patterns) {
        book = book.with(pattern, rule(n));
    }
    for name in [
        "a/b", "a/b/x", "a/c", "z", "az", "q", "b", "a", "a/b/c/x", "€z",
    ] {
        let first = patterns
            .iter()
            .position(|p| Pattern::new(p).matches(&channel(name)));
        let found = book
            .rules(&channel(name))
            .map(|rules| rules.history.count as usize);
        assert_eq!(found, first, "{name}");
    }
}

#[test]
fn acknowledgements_of_delivered_messages_are_not_rate_limited_and_others_are() {
    let limits = Limits {
        commands_per_second: 1,
        command_burst: 1,
        publishes_per_second: 100,
        publish_burst: 100,
        ..tight_limits()
    };
    let mut world = World::with(1, 2, &limits, rules());
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    let wish = Subscribe::new(channel("kept/a"), Since::Now).acknowledged(10);
    world.command(0, Command::Subscribe(wish));
    world.settle();
    for n in 0..3 {
        world.wait(Duration::from_secs(1));
        world.publish(1, "kept/a", &n.to_string());
        world.settle();
    }
    let done = |offset| Command::Done {
        subscription: channel("kept/a").into(),
        position: Position::new(1, offset),
        cumulative: false,
    };
    for offset in 1..=3 {
        world.command(0, done(offset));
    }
    // Not delivered: the first is refused for what it is, and the next for the rate.
    world.command(0, done(9));
    world.command(0, done(9));
    world.settle();
    let replies = world.clients[0].replies();
    let accepted = |reply: &&&Reply| matches!(reply, Reply::Done { .. });
    assert_eq!(replies.iter().filter(accepted).count(), 3);
}

#[test]
fn a_request_without_an_answer_has_a_deadline() {
    let mut world = world_with(|limits| limits.answer_within = Duration::from_secs(7));
    world.publish(0, "kept/a", "x");
    let due = world.workers[0].poll_timeout();
    assert_eq!(due, Some(world.now.instant + Duration::from_secs(7)));
}

#[test]
fn what_the_caller_does_for_a_connection_counts_as_a_command() {
    let mut world = world_with(|limits| {
        (limits.commands_per_second, limits.command_burst) = (1, 2);
    });
    let (_, connection) = world.clients[0].connection.unwrap();
    let now = world.now;
    let mut admit = || world.workers[0].admit_command(connection, now);
    assert_eq!((admit(), admit()), (Ok(()), Ok(())));
    assert_eq!(admit().unwrap_err().code, ErrorCode::RateLimited);
}

#[test]
fn whether_something_is_permitted_can_be_asked_without_doing_it() {
    let of_users = |presence| ChannelRules {
        subscribe: Access::Users,
        presence,
        ..ChannelRules::default()
    };
    let book = RuleBook::new()
        .with("users/silent", of_users(false))
        .with("users/*", of_users(true))
        .with("kept/*", ChannelRules::default());
    let limits = Limits {
        data_bytes: 3,
        ..tight_limits()
    };
    let mut world = World::with(1, 2, &limits, book);
    world.clients[1].identity = Identity::user("ann").into();
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    let engine = &world.workers[0];
    for (name, client, subscribe) in [
        ("kept/a", 0, true),
        ("users/a", 0, false),
        ("users/a", 1, true),
        ("nowhere", 1, false),
    ] {
        let (_, connection) = world.clients[client].connection.unwrap();
        let channel = channel(name);
        assert_eq!(
            engine.may_subscribe_to(connection, &channel),
            subscribe,
            "{name}"
        );
        assert_eq!(
            engine.may_see_members(connection, &channel),
            subscribe,
            "{name}"
        );
    }
    let check = |name: &str, data: &'static str| {
        let checked = engine.check_publish(&channel(name), &data.into());
        checked.map_err(|refusal| refusal.code)
    };
    assert_eq!(check("kept/a", "123"), Ok(()));
    assert_eq!(check("kept/a", "1234"), Err(ErrorCode::TooLarge));
    assert_eq!(check("nowhere", "123"), Err(ErrorCode::UnknownChannel));
}

#[test]
fn some_grants_of_an_identity_can_be_taken_away() {
    let grant = |pattern: &str| Grant::new(pattern, Verbs::SUBSCRIBE);
    let mut identity = Identity::user("ann");
    for pattern in ["a/*", "b/*", "c/*"] {
        identity.add(grant(pattern));
    }
    identity.retain(|_| true);
    assert_eq!(identity.grants.len(), 3);
    identity.retain(|one| *one != grant("b/*"));
    assert_eq!(identity.grants[..], [grant("a/*"), grant("c/*")]);
}
