//! Questions to the application: verdicts that arrive, arrive late, or never arrive; and callers
//! that are not connections.

use std::{sync::Arc, time::Duration};

use offhook_engine::*;

use crate::world::{World, bare, channel, rules, tight_limits};

const WITHIN: Duration = Duration::from_secs(2);

fn asking(no_answer: NoAnswer) -> RuleBook {
    let asked = ChannelRules {
        publish: Access::Asked,
        subscribe: Access::Asked,
        ask: AskRule {
            within: WITHIN,
            no_answer,
        },
        ..ChannelRules::default()
    };
    let open = ChannelRules::default();
    RuleBook::new()
        .with("kept/asked/*", asked)
        .with("kept/*", open)
}

fn world(no_answer: NoAnswer) -> World {
    let mut world = World::with(1, 2, &tight_limits(), asking(no_answer));
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    world
}

fn asks(world: &mut World) -> Vec<Ask> {
    std::iter::from_fn(|| world.workers[0].poll_ask()).collect()
}

fn decide(world: &mut World, ask: &Ask, verdict: Verdict) {
    world.workers[0].handle_verdict(ask.id, verdict, world.now);
    world.pump(0);
    world.settle_at_once();
}

fn no() -> Verdict {
    Verdict::Refused(Refusal::new(ErrorCode::Forbidden, "the backend says no"))
}

#[test]
fn a_subscription_waits_for_its_verdict_and_then_starts_or_is_refused() {
    for allowed in [true, false] {
        let mut world = world(NoAnswer::Refuse);
        world.subscribe(0, "kept/asked/a", Since::Now);
        world.settle_at_once();
        assert!(world.clients[0].replies().is_empty());
        let all = asks(&mut world);
        let target = channel("kept/asked/a").into();
        assert_eq!(all[0].wish, Wish::Subscribe { target });
        let verdict = if allowed { Verdict::Allowed } else { no() };
        decide(&mut world, &all[0], verdict);
        match world.clients[0].replies()[0] {
            Reply::Subscribed { .. } => assert!(allowed),
            Reply::Refused(refusal) => {
                assert!(!allowed);
                assert_eq!(refusal.detail, "the backend says no");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(world.workers[0].subscriptions(), usize::from(allowed));
    }
}

#[test]
fn an_allowed_subscription_causes_no_question_when_it_is_resumed() {
    let mut world = world(NoAnswer::Refuse);
    world.subscribe(0, "kept/asked/a", Since::Now);
    world.settle_at_once();
    let all = asks(&mut world);
    decide(&mut world, &all[0], Verdict::Allowed);
    world.issue_token(0);
    world.settle_at_once();
    world.cut(0);
    world.connect(0, 0, true);
    world.settle_at_once();
    assert!(asks(&mut world).is_empty());
    assert_eq!(world.workers[0].subscriptions(), 1);
}

#[test]
fn publishes_keep_their_order_in_a_channel_regardless_of_the_order_of_verdicts() {
    let mut world = world(NoAnswer::Refuse);
    for text in ["1", "2", "3"] {
        world.publish(0, "kept/asked/a", text);
    }
    world.publish(0, "kept/b", "another channel waits for nobody");
    world.settle_at_once();
    assert_eq!(world.broker.streams[&channel("kept/b")].head().offset, 1);
    let all = asks(&mut world);
    assert_eq!(all.len(), 3, "they are asked about at the same time");
    decide(&mut world, &all[2], Verdict::Allowed);
    assert!(!world.broker.streams.contains_key(&channel("kept/asked/a")));
    decide(&mut world, &all[0], Verdict::Allowed);
    decide(&mut world, &all[1], no());
    let stream = &world.broker.streams[&channel("kept/asked/a")];
    let data = |offset| stream.all[&(1, offset)].data.clone();
    assert_eq!(
        (stream.head().offset, data(1), data(2)),
        (2, "1".into(), "3".into())
    );
    assert!(world.clients[0].unanswered.is_empty());
    let (worker, connection) = world.clients[0].connection.unwrap();
    assert_eq!(world.workers[worker].unanswered(connection), 0);
}

#[test]
fn a_verdict_may_change_the_publication() {
    let mut world = world(NoAnswer::Refuse);
    world.publish(0, "kept/asked/a", "rude");
    world.settle_at_once();
    let all = asks(&mut world);
    let changed = Verdict::Changed {
        data: "polite".into(),
        format: Format::Text,
        tags: Tags::new([("by", "the backend")]).unwrap(),
    };
    decide(&mut world, &all[0], changed);
    let stream = &world.broker.streams[&channel("kept/asked/a")];
    assert_eq!(stream.all[&(1, 1)].data, "polite");
    assert_eq!(stream.all[&(1, 1)].tags.get("by"), Some("the backend"));
}

#[test]
fn without_an_answer_in_time_the_rule_decides_and_a_late_verdict_is_ignored() {
    for (no_answer, published) in [(NoAnswer::Refuse, 0), (NoAnswer::Allow, 1)] {
        let mut world = world(no_answer);
        world.publish(0, "kept/asked/a", "x");
        world.subscribe(1, "kept/asked/a", Since::Now);
        let all = asks(&mut world);
        let due = world.workers[0].poll_timeout().unwrap();
        assert!(due <= world.now.instant + WITHIN);
        world.wait(WITHIN - Duration::from_millis(1));
        assert_eq!(world.clients[0].unanswered.len(), 1);
        world.wait(Duration::from_millis(1));
        world.settle_at_once();
        assert!(world.clients[0].unanswered.is_empty() && world.clients[1].unanswered.is_empty());
        for ask in &all {
            decide(&mut world, ask, Verdict::Allowed);
        }
        let stream = world.broker.streams.get(&channel("kept/asked/a"));
        assert_eq!(stream.map_or(0, |stream| stream.head().offset), published);
        assert_eq!(world.workers[0].subscriptions() as u64, published);
        if published == 0 {
            let Reply::Refused(refusal) = world.clients[0].replies()[0] else {
                panic!()
            };
            assert_eq!(refusal.code, ErrorCode::TimedOut);
        }
    }
}

#[test]
fn a_verdict_for_a_closed_connection_is_ignored() {
    let mut world = world(NoAnswer::Refuse);
    world.publish(0, "kept/asked/a", "x");
    world.subscribe(0, "kept/asked/a", Since::Now);
    let all = asks(&mut world);
    world.cut(0);
    for ask in &all {
        decide(&mut world, ask, Verdict::Allowed);
    }
    assert!(
        world
            .broker
            .streams
            .get(&channel("kept/asked/a"))
            .is_none_or(|s| s.head().offset == 0)
    );
    world.wait(WITHIN);
    assert_eq!(world.workers[0].poll_timeout(), None);
}

#[test]
fn a_call_is_answered_by_the_backend_or_times_out() {
    let mut world = world(NoAnswer::Allow);
    let call = |within| Command::Call {
        method: "sum".into(),
        data: "[1,2]".into(),
        format: Format::Json,
        within,
        key: None,
    };
    world.command(0, call(None));
    world.command(0, call(Some(Duration::from_secs(1))));
    let all = asks(&mut world);
    assert_eq!(all[1].within, Duration::from_secs(1));
    let answer = Verdict::Answered {
        data: "3".into(),
        format: Format::Json,
    };
    decide(&mut world, &all[0], answer);
    let called = Reply::Called {
        data: "3".into(),
        format: Format::Json,
    };
    assert_eq!(world.clients[0].replies(), [&called]);
    world.wait(Duration::from_secs(1));
    world.settle_at_once();
    let Reply::Refused(refusal) = world.clients[0].replies()[1] else {
        panic!()
    };
    assert_eq!(
        refusal.code,
        ErrorCode::TimedOut,
        "an open question is never an answer"
    );
}

#[test]
fn the_backend_decides_about_a_connect_before_the_connection_exists() {
    let mut world = world(NoAnswer::Refuse);
    for caller in 1..=3 {
        let facts = format!("token {caller}").into();
        let known = Arc::new(Identity::stranger());
        let rule = AskRule::default();
        world.workers[0].handle_connect(CallerId(caller), known, facts, rule, world.now);
    }
    let all = asks(&mut world);
    assert_eq!(
        all[0].wish,
        Wish::Connect {
            facts: "token 1".into()
        }
    );
    let ann = Arc::new(Identity::user("ann"));
    decide(&mut world, &all[0], Verdict::Admitted(Arc::clone(&ann)));
    decide(&mut world, &all[1], no());
    world.wait(AskRule::default().within);
    let replies: Vec<_> = std::iter::from_fn(|| world.workers[0].poll_caller_reply()).collect();
    assert_eq!(replies[0], (CallerId(1), CallerReply::Admitted(ann)));
    let code = |reply: &CallerReply| match reply {
        CallerReply::Reply(Reply::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (replies[1].0, code(&replies[1].1)),
        (CallerId(2), ErrorCode::Forbidden)
    );
    assert_eq!(
        (replies[2].0, code(&replies[2].1)),
        (CallerId(3), ErrorCode::TimedOut)
    );
}

#[test]
fn a_caller_without_a_connection_publishes_reads_and_gets_its_own_replies() {
    let mut world = World::with(1, 1, &tight_limits(), rules());
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle_at_once();
    let publish = Command::Publish {
        channel: channel("kept/a"),
        data: "from the backend".into(),
        format: Format::Text,
        tags: Tags::default(),
        key: None,
    };
    let history = Command::History {
        channel: channel("kept/a"),
        since: Since::Start,
        limit: 10,
    };
    let subscribe = Command::Subscribe(Subscribe::new(channel("kept/a"), Since::Now));
    for (n, command) in [(1, publish), (2, history), (3, subscribe)] {
        world.workers[0].handle_caller(CallerId(n), None, command, world.now);
        world.pump(0);
        world.settle_at_once();
    }
    let replies: Vec<_> = std::iter::from_fn(|| world.workers[0].poll_caller_reply()).collect();
    assert!(matches!(
        &replies[0],
        (CallerId(1), CallerReply::Reply(Reply::Published { .. }))
    ));
    assert!(
        matches!(&replies[1], (CallerId(2), CallerReply::Reply(Reply::History { publications, .. }))
        if publications.len() == 1 && publications[0].publisher.is_none())
    );
    assert!(matches!(
        &replies[2],
        (CallerId(3), CallerReply::Reply(Reply::Refused(_)))
    ));
    assert_eq!(world.clients[0].texts("kept/a"), ["from the backend"]);
}

#[test]
fn a_caller_has_the_permissions_of_its_identity() {
    let private = ChannelRules {
        publish: Access::Users,
        subscribe: Access::Nobody,
        ..ChannelRules::default()
    };
    let mut world = World::with(1, 0, &tight_limits(), RuleBook::everything(private));
    let publish = || Command::Publish {
        channel: channel("a"),
        data: "x".into(),
        format: Format::Text,
        tags: Tags::default(),
        key: None,
    };
    let presence = || Command::Presence {
        channel: channel("a"),
    };
    let (ann, nobody) = (
        Arc::new(Identity::user("ann")),
        Arc::new(Identity::stranger()),
    );
    for (identity, command, allowed) in [
        (Some(&ann), publish(), true),
        (Some(&nobody), publish(), false),
        (None, publish(), true),
        (Some(&ann), presence(), false),
        (None, presence(), true),
    ] {
        world.workers[0].handle_caller(CallerId(1), identity, command, world.now);
        assert_eq!(world.workers[0].poll_broker_request().is_some(), allowed);
        assert_eq!(world.workers[0].poll_caller_reply().is_some(), !allowed);
    }
}

#[test]
fn questions_about_subscriptions_are_limited() {
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
    let mut engine = Engine::new(limits, Arc::new(RuleBook::everything(rules)), bare::now());
    let connection = engine
        .handle_connection_opened(
            Arrival::new(bare::session(1), bare::identity()),
            bare::now(),
        )
        .unwrap();
    for n in 0..2000 {
        let wish = Subscribe::new(channel("c"), Since::Now);
        engine.handle_command(
            connection,
            CommandId(2 * n),
            Command::Subscribe(wish),
            bare::now(),
        );
        let subscription = channel("c").into();
        engine.handle_command(
            connection,
            CommandId(2 * n + 1),
            Command::Unsubscribe { subscription },
            bare::now(),
        );
        bare::told(&mut engine);
        while let Some(request) = engine.poll_broker_request() {
            if let BrokerRequest::Follow { id, .. } = request {
                let stream = StreamState {
                    head: Position::new(1, 0),
                    first: 1,
                    trimmed: Trimmed::BySize,
                };
                engine.handle_broker(BrokerEvent::Followed { id, stream }, bare::now());
            }
        }
    }
    let asks = std::iter::from_fn(|| engine.poll_ask()).count();
    assert!(asks <= 1, "{asks} questions that nobody waits for any more");
}

#[test]
fn calls_are_permitted_by_user_and_by_grants_for_methods() {
    let granted = Identity::user("ann").with("orders.*", Verbs::CALL);
    let bob = Identity::user("bob");
    for (access, identity, method, may) in [
        (Access::Everyone, &Identity::stranger(), "sum", true),
        (Access::Users, &Identity::stranger(), "sum", false),
        (Access::Users, &bob, "sum", true),
        (Access::Granted, &bob, "orders.cancel", false),
        (Access::Granted, &granted, "orders.cancel", true),
        (Access::Granted, &granted, "users.delete", false),
        (Access::Nobody, &granted, "orders.cancel", false),
    ] {
        let book = rules().with_calls(access);
        let mut world = World::with(1, 1, &tight_limits(), book);
        world.connect(0, 0, false);
        let whom = Whom::Session(world.clients[0].session);
        let identity = Arc::new(identity.clone());
        world.workers[0].replace_identity(&whom, &identity, "", world.now);
        let call = Command::Call {
            method: method.into(),
            data: "1".into(),
            format: Format::Json,
            within: None,
            key: None,
        };
        world.command(0, call);
        let asked = asks(&mut world);
        assert_eq!(asked.len(), usize::from(may), "{access:?} {method}");
        if may {
            assert_eq!(asked[0].identity.user, identity.user);
            continue;
        }
        world.settle_at_once();
        let Reply::Refused(refusal) = world.clients[0].replies()[0] else {
            panic!()
        };
        assert_eq!(refusal.code, ErrorCode::Forbidden);
    }
}

#[test]
fn a_verdict_with_more_data_than_may_be_published_is_refused() {
    let mut world = world(NoAnswer::Refuse);
    world.publish(0, "kept/asked/a", "x");
    world.settle_at_once();
    let all = asks(&mut world);
    let limit = tight_limits().data_bytes;
    let changed = Verdict::Changed {
        data: vec![b'1'; limit + 1].into(),
        format: Format::Binary,
        tags: Tags::default(),
    };
    decide(&mut world, &all[0], changed);
    let stream = world.broker.streams.get(&channel("kept/asked/a"));
    assert!(stream.is_none_or(|stream| stream.head().offset == 0));
}

/// Subscriptions that were made before stayed without anybody being asked.
#[test]
fn a_channel_that_becomes_asked_asks_about_the_subscriptions_that_there_are() {
    let mut world = World::with(1, 3, &tight_limits(), rules());
    for client in 0..3 {
        world.connect(client, 0, false);
    }
    for client in 0..2 {
        world.subscribe(client, "kept/asked/a", Since::Now);
    }
    world.subscribe(2, "kept/b", Since::Now);
    world.settle();
    let book = Arc::new(asking(NoAnswer::Refuse));
    world.workers[0].set_rules(Arc::clone(&book), world.now);
    world.pump(0);
    let asked = asks(&mut world);
    let wishes: Vec<_> = asked.iter().map(|ask| &ask.wish).collect();
    let wish = Wish::Subscribe {
        target: channel("kept/asked/a").into(),
    };
    assert_eq!(wishes, [&wish, &wish]);
    let of = |client: usize| {
        let (_, connection) = world.clients[client].connection.unwrap();
        let ask = asked.iter().find(|ask| ask.connection == Some(connection));
        ask.unwrap().clone()
    };
    let (first, second) = (of(0), of(1));
    decide(&mut world, &first, Verdict::Allowed);
    decide(&mut world, &second, no());
    let ended = |client: usize| {
        let mut notices = world.clients[client].notices().into_iter();
        notices.any(|notice| matches!(notice, Notice::Unsubscribed { .. }))
    };
    assert_eq!([ended(0), ended(1), ended(2)], [false, true, false]);
    // It is asked once about each.
    world.workers[0].set_rules(book, world.now);
    assert!(asks(&mut world).is_empty());
    assert_eq!(world.workers[0].subscriptions(), 2);
}

#[test]
fn a_reload_does_not_ask_again_about_what_is_being_asked() {
    let mut world = World::with(1, 1, &tight_limits(), rules());
    world.connect(0, 0, false);
    world.subscribe(0, "kept/asked/a", Since::Now);
    world.settle();
    let book = Arc::new(asking(NoAnswer::Refuse));
    for asked in [1, 0, 0] {
        world.workers[0].set_rules(Arc::clone(&book), world.now);
        world.pump(0);
        assert_eq!(asks(&mut world).len(), asked);
    }
}

#[test]
fn each_question_waits_until_its_own_deadline() {
    let mut world = world(NoAnswer::Refuse);
    let call = |within| Command::Call {
        method: "sum".into(),
        data: "1".into(),
        format: Format::Json,
        within: Some(Duration::from_secs(within)),
        key: None,
    };
    world.command(0, call(3));
    world.command(0, call(1));
    assert_eq!(asks(&mut world).len(), 2);
    let mut refused = Vec::new();
    for _ in 0..4 {
        refused.push(world.clients[0].replies().len());
        world.wait(Duration::from_secs(1));
        world.settle_at_once();
    }
    assert_eq!(refused, [0, 1, 1, 2]);
}

#[test]
fn a_call_of_a_connection_that_has_ended_is_asked_no_more() {
    let mut world = world(NoAnswer::Refuse);
    let call = || Command::Call {
        method: "sum".into(),
        data: "1".into(),
        format: Format::Json,
        within: None,
        key: None,
    };
    world.command(0, call());
    world.command(1, call());
    world.cut(0);
    let all = asks(&mut world);
    let by: Vec<_> = all.iter().filter_map(|ask| ask.connection).collect();
    assert_eq!(by, [world.clients[1].connection.unwrap().1]);
}

#[test]
fn a_session_that_the_backend_let_in_may_read_the_channel_and_others_may_not() {
    let mut world = world(NoAnswer::Refuse);
    let read = || Command::History {
        channel: channel("kept/asked/a"),
        since: Since::Start,
        limit: 10,
    };
    world.subscribe(0, "kept/asked/a", Since::Now);
    // Other subscriptions say nothing about this channel, even if the backend allowed them.
    world.subscribe(1, "kept/b", Since::Now);
    world.subscribe(1, "kept/asked/b", Since::Now);
    let all = asks(&mut world);
    for ask in &all {
        decide(&mut world, ask, Verdict::Allowed);
    }
    for client in 0..2 {
        world.command(client, read());
    }
    world.settle_at_once();
    let last = |client: usize| world.clients[client].replies().pop().unwrap();
    assert!(matches!(last(0), Reply::History { .. }), "{:?}", last(0));
    let Reply::Refused(refusal) = last(1) else {
        panic!("{:?}", last(1))
    };
    assert_eq!(
        refusal.to_string(),
        "forbidden: a client without a user name may not read channel kept/asked/a"
    );
}

#[test]
fn questions_are_limited_whatever_they_are_about() {
    let limits = Limits {
        requests: 2,
        ..tight_limits()
    };
    let mut world = World::with(1, 1, &limits, asking(NoAnswer::Refuse));
    world.connect(0, 0, false);
    let rule = AskRule::default();
    for caller in 0..2 {
        let known = Arc::new(Identity::stranger());
        let engine = &mut world.workers[0];
        engine.handle_connect(CallerId(caller), known, "{}".into(), rule, world.now);
    }
    let caller = CallerId(2);
    let known = Arc::new(Identity::stranger());
    world.workers[0].handle_connect(caller, known, "{}".into(), rule, world.now);
    let reply = world.workers[0].poll_caller_reply();
    let busy = |reply: &Reply| matches!(reply, Reply::Refused(no) if no.code == ErrorCode::Busy);
    let Some((CallerId(2), CallerReply::Reply(reply))) = reply else {
        panic!("{reply:?}")
    };
    assert!(busy(&reply), "{reply:?}");
    world.publish(0, "kept/asked/a", "x");
    world.command(
        0,
        Command::Call {
            method: "sum".into(),
            data: "1".into(),
            format: Format::Json,
            within: None,
            key: None,
        },
    );
    world.settle_at_once();
    let replies = world.clients[0].replies();
    assert_eq!(replies.len(), 2);
    assert!(replies.iter().copied().all(busy), "{replies:?}");
}
