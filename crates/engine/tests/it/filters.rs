//! Filters: which names they match, and that a filter delivers as completely as a channel
//! subscription.

use std::{collections::BTreeSet, sync::Arc};

use offhook_engine::*;
use proptest::prelude::*;

use crate::world::{World, bare, channel, rules, tight_limits};

fn filter(text: &str) -> Filter {
    Filter::new(text).unwrap()
}

fn subscribe(world: &mut World, client: usize, text: &str, since: Since) {
    world.command(
        client,
        Command::Subscribe(Subscribe::new(filter(text), since)),
    );
}

#[test]
fn wildcards_match_levels() {
    for (text, matched, not_matched) in [
        ("a/+", &["a/b", "a/"][..], &["a", "a/b/c", "b/b"][..]),
        ("a/#", &["a", "a/b", "a/b/c"], &["b", "ab"]),
        ("#", &["a", "a/b"], &["$sys/load"]),
        ("+/b", &["a/b", "/b"], &["$sys/b", "a/b/c"]),
        ("$sys/#", &["$sys/load"], &["sys/load"]),
        ("a/+/c", &["a/b/c"], &["a/b", "a/c", "a/b/c/d"]),
        ("a", &["a"], &["a/b"]),
    ] {
        for name in matched {
            assert!(
                filter(text).matches(&channel(name)),
                "{text} matches {name}"
            );
        }
        for name in not_matched {
            assert!(
                !filter(text).matches(&channel(name)),
                "{text} does not match {name}"
            );
        }
    }
}

#[test]
fn the_error_for_an_invalid_filter_says_what_is_wrong() {
    let deep = "a/".repeat(40);
    for (text, words) in [
        ("", "0 bytes"),
        ("a/#/b", "last level"),
        ("a/b+", "b+"),
        ("a/*", "byte 2"),
        ("a\nb", "byte 1"),
        (&*deep, "41 levels"),
    ] {
        let refusal = Filter::new(text).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BadFilter);
        assert!(refusal.detail.contains(words), "{refusal}");
    }
}

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just(""), Just("$c")]
}

fn some_filter() -> impl Strategy<Value = Filter> {
    let levels = prop::collection::vec(prop_oneof![2 => level(), 1 => Just("+")], 0..4);
    (levels, any::<bool>()).prop_filter_map("one level at least", |(mut levels, rest)| {
        if rest {
            levels.push("#");
        }
        Filter::new(&levels.join("/")).ok()
    })
}

proptest! {
    #[test]
    fn the_trie_finds_exactly_the_matching_filters(
        filters in prop::collection::btree_set(some_filter(), 0..12),
        removed in prop::collection::btree_set(some_filter(), 0..6),
        names in prop::collection::vec(prop::collection::vec(level(), 1..5), 1..6),
    ) {
        let mut trie = FilterTrie::new();
        for filter in filters.iter().chain(&removed) {
            trie.insert(filter, filter.clone());
        }
        for filter in removed.difference(&filters) {
            prop_assert_eq!(trie.remove(filter), Some(filter.clone()));
            prop_assert_eq!(trie.remove(filter), None);
        }
        prop_assert_eq!(trie.len(), filters.len());
        for name in names {
            let Ok(name) = ChannelName::new(&name.join("/")) else { continue };
            let mut found = BTreeSet::new();
            trie.find(&name, &mut |filter| { found.insert(filter.clone()); });
            let expected: BTreeSet<_> = filters.iter().filter(|f| f.matches(&name)).cloned().collect();
            prop_assert_eq!(found, expected, "{}", name);
        }
    }

    #[test]
    fn a_filter_covers_another_only_if_it_matches_all_that_the_other_matches(
        wide in some_filter(),
        narrow in some_filter(),
        names in prop::collection::vec(prop::collection::vec(level(), 1..5), 1..9),
    ) {
        if !wide.covers(&narrow) {
            return Ok(());
        }
        for name in names {
            let Ok(name) = ChannelName::new(&name.join("/")) else { continue };
            prop_assert!(!narrow.matches(&name) || wide.matches(&name), "{} {} {}", wide, narrow, name);
        }
    }
}

#[test]
fn a_filter_covers_every_matching_channel_including_new_ones() {
    let mut world = World::new(2, 2);
    for client in 0..2 {
        world.connect(client, client, false);
    }
    subscribe(&mut world, 0, "kept/#", Since::Now);
    world.settle();
    for name in ["kept/a", "kept/b", "kept/new"] {
        world.publish(1, name, name);
    }
    world.publish(1, "flow/c", "another");
    world.settle();
    let data = |p: &Arc<Publication>| String::from_utf8(p.data.to_vec()).unwrap();
    let came: Vec<_> = world.clients[0].publications().iter().map(data).collect();
    assert_eq!(came, ["kept/a", "kept/b", "kept/new"]);
}

#[test]
fn a_filter_recovers_after_a_disconnect_over_all_its_channels() {
    for by_snapshot in [false, true] {
        let mut world = World::new(2, 2);
        for client in 0..2 {
            world.connect(client, 0, false);
        }
        subscribe(&mut world, 0, "kept/+", Since::Now);
        world.settle();
        world.publish(1, "kept/a", "1");
        world.settle();
        world.issue_token(0);
        world.settle();
        world.cut(0);
        for (name, text) in [("kept/b", "2"), ("kept/new", "3"), ("kept/a", "4")] {
            world.publish(1, name, text);
        }
        world.settle();
        world.connect(0, 1, by_snapshot);
        world.settle();
        world.publish(1, "kept/new", "5");
        world.settle();
        let data = |p: &Arc<Publication>| String::from_utf8(p.data.to_vec()).unwrap();
        let came: Vec<_> = world.clients[0].publications().iter().map(data).collect();
        assert_eq!(
            came,
            ["1", "2", "3", "4", "5"],
            "by snapshot: {by_snapshot}"
        );
    }
}

#[test]
fn trimmed_publications_are_a_gap_in_their_channel() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    subscribe(&mut world, 0, "kept/+", Since::Now);
    world.settle();
    world.cut(0);
    for text in ["1", "2", "3"] {
        world.publish(1, "kept/a", text);
        world.publish(1, "kept/b", text);
    }
    world.settle();
    world.broker.trim(&channel("kept/a"), 1);
    world.connect(0, 0, false);
    world.settle();
    let notices = world.clients[0].notices();
    let gaps: Vec<_> = notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::ChannelGap {
                channel, from, to, ..
            } => Some((channel.as_str(), from.offset, to.offset)),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [("kept/a", 0, 2)]);
    assert_eq!(world.clients[0].texts("kept/a"), ["3"]);
    assert_eq!(world.clients[0].texts("kept/b"), ["1", "2", "3"]);
}

#[test]
fn a_filter_delivers_only_channels_that_its_subscriber_may_read() {
    let private = ChannelRules {
        subscribe: Access::Granted,
        ..ChannelRules::default()
    };
    let book = RuleBook::new()
        .with("kept/secret", private)
        .with("kept/*", ChannelRules::default());
    let mut world = World::with(1, 2, &tight_limits(), book);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    subscribe(&mut world, 0, "kept/+", Since::Now);
    world.settle();
    for name in ["kept/secret", "kept/a", "kept/secret"] {
        world.publish(1, name, "live");
    }
    world.settle();
    world.cut(0);
    world.publish(1, "kept/secret", "missed");
    world.publish(1, "kept/a", "missed");
    world.settle();
    world.connect(0, 0, false);
    world.settle();
    assert!(world.clients[0].texts("kept/secret").is_empty());
    assert_eq!(world.clients[0].texts("kept/a"), ["live", "missed"]);
}

#[test]
fn a_filter_has_no_members() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    let wish = Subscribe::new(filter("kept/+"), Since::Now).with_presence();
    world.command(0, Command::Subscribe(wish));
    world.settle();
    let replies = world.clients[0].replies();
    assert!(
        matches!(replies[..], [Reply::Refused(no)] if no.code == ErrorCode::NoPresence),
        "{replies:?}"
    );
}

#[test]
fn filters_may_be_for_users_only() {
    let book = rules().with_filters(Access::Users);
    for (identity, allowed) in [(Identity::stranger(), false), (Identity::user("ann"), true)] {
        let mut world = World::with(1, 1, &tight_limits(), book.clone());
        world.clients[0].identity = Arc::new(identity);
        world.connect(0, 0, false);
        subscribe(&mut world, 0, "kept/+", Since::Now);
        world.settle();
        assert_eq!(world.workers[0].subscriptions(), usize::from(allowed));
    }
}

#[test]
fn permission_to_subscribe_to_filters_is_a_rule() {
    let granted = rules().with_filters(Access::Granted);
    let mut world = World::with(1, 0, &tight_limits(), granted);
    let ann = Identity::user("ann").with("kept/*", Verbs::SUBSCRIBE);
    for (n, identity, text, allowed) in [
        (1, ann.clone(), "kept/+", true),
        (2, ann.clone(), "kept/#", true),
        (3, ann, "#", false),
        (4, Identity::stranger(), "kept/+", false),
    ] {
        let arrival = Arrival::new(SessionId::from_bytes([n; 16]), Arc::new(identity));
        let engine = &mut world.workers[0];
        let connection = engine.handle_connection_opened(arrival, world.now).unwrap();
        let wish = Command::Subscribe(Subscribe::new(filter(text), Since::Now));
        engine.handle_command(connection, CommandId(1), wish, world.now);
        let refused = engine.poll_delivery().is_some();
        assert_eq!(refused, !allowed, "{n}");
        while engine.poll_broker_request().is_some() {}
    }
}

#[test]
fn a_filter_without_new_publications_becomes_live_on_a_worker_that_already_follows_it() {
    let mut world = World::new(2, 3);
    for client in 0..3 {
        world.connect(client, client % 2, false);
    }
    subscribe(&mut world, 1, "kept/+", Since::Now);
    world.settle();
    // The order of all channels continues with publications in other channels.
    for _ in 0..3 {
        world.publish(2, "flow/c", "x");
    }
    world.settle();
    subscribe(&mut world, 0, "kept/+", Since::Now);
    world.settle();
    world.cut(0);
    world.connect(0, 1, false);
    world.settle();
    let seen = &world.clients[0].subscriptions[&SubscriptionKey::Target(filter("kept/+").into())];
    assert!(seen.live, "{seen:?}");
}

/// What a client was told of gaps: the channel, if it is about one, the two positions, and why.
fn gaps(world: &World, client: usize) -> Vec<(Option<String>, Position, Position, GapReason)> {
    let notices = world.clients[client].notices().into_iter();
    notices
        .filter_map(|notice| match notice {
            Notice::Gap {
                from, to, reason, ..
            } => Some((None, *from, *to, *reason)),
            Notice::ChannelGap {
                channel,
                from,
                to,
                reason,
                ..
            } => Some((Some(channel.to_string()), *from, *to, *reason)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_filter_that_was_away_over_a_restart_is_told_that_channels_without_history_lost_something() {
    for by_snapshot in [false, true] {
        let mut world = World::new(1, 2);
        for client in 0..2 {
            world.connect(client, 0, false);
        }
        subscribe(&mut world, 0, "#", Since::Now);
        world.settle();
        world.publish(1, "flow/a", "1");
        world.settle();
        world.issue_token(0);
        world.settle();
        world.cut(0);
        world.publish(1, "flow/a", "lost");
        world.publish(1, "kept/a", "2");
        world.settle();
        world.restart();
        world.connect(1, 0, false);
        world.publish(1, "flow/a", "missed");
        world.settle();
        world.connect(0, 0, by_snapshot);
        world.settle();
        world.publish(1, "flow/a", "3");
        world.settle();
        // The whole subscription first, from where it was to the same place in the new epoch.
        let whole = (
            None,
            Position::new(1, 1),
            Position::new(2, 1),
            GapReason::Restarted,
        );
        let one = (
            Some("flow/a".to_owned()),
            Position::new(2, 0),
            Position::new(2, 1),
            GapReason::EvictedBySize,
        );
        assert_eq!(gaps(&world, 0), [whole, one], "by snapshot: {by_snapshot}");
        assert_eq!(world.clients[0].texts("flow/a"), ["1", "3"]);
        assert_eq!(world.clients[0].texts("kept/a"), ["2"]);
        // Once: from then on its position is of the new epoch.
        world.cut(0);
        world.connect(0, 0, false);
        world.settle();
        assert_eq!(gaps(&world, 0).len(), 2);
    }
}

#[test]
fn a_restart_costs_a_filter_over_channels_with_history_no_gap() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    subscribe(&mut world, 0, "kept/+", Since::Now);
    world.settle();
    world.publish(1, "kept/a", "1");
    world.settle();
    world.cut(0);
    world.publish(1, "kept/b", "2");
    world.settle();
    world.restart();
    world.connect(1, 0, false);
    world.publish(1, "kept/a", "3");
    world.settle();
    world.connect(0, 0, false);
    world.settle();
    assert!(gaps(&world, 0).is_empty());
    assert_eq!(world.clients[0].texts("kept/a"), ["1", "3"]);
    assert_eq!(world.clients[0].texts("kept/b"), ["2"]);
}

/// The gap must not make the server forget what the client has not acknowledged.
#[test]
fn a_restart_keeps_the_window_of_an_acknowledged_filter() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    let wish = Subscribe::new(filter("#"), Since::Now);
    let wish = wish.numbered(7).acknowledged(10);
    world.command(0, Command::Subscribe(wish));
    world.settle();
    for text in ["1", "2", "3"] {
        world.publish(1, "kept/a", text);
    }
    world.settle();
    world.command(
        0,
        Command::Done {
            subscription: SubscriptionKey::Id(SubscriptionId(7)),
            position: Position::new(1, 2),
            cumulative: false,
        },
    );
    world.settle();
    world.issue_token(0);
    world.settle();
    let snapshot = world.clients[0].snapshot.clone().unwrap();
    world.restart();
    let engine = &mut world.workers[0];
    let arrival = Arrival::new(snapshot.session, Arc::clone(&snapshot.identity));
    engine
        .handle_connection_resumed(arrival, snapshot, &[], world.now)
        .unwrap();
    let told = answered(&mut world);
    assert_eq!(
        told,
        [
            "gap 1.0 2.0 restarted",
            "1 for the 2. time",
            "3 for the 2. time"
        ]
    );
}

/// Plays the broker for a single connection, and returns the gaps and publications that it is sent.
fn answered(world: &mut World) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..10 {
        while let Some(delivery) = world.workers[0].poll_delivery() {
            match delivery {
                Delivery::Connection {
                    notice:
                        Notice::Gap {
                            from, to, reason, ..
                        },
                    ..
                } => told.push(format!("gap {from} {to} {}", reason.name())),
                Delivery::Publication {
                    publication,
                    deliveries,
                    ..
                } => {
                    let data = String::from_utf8(publication.data.to_vec()).unwrap();
                    told.push(format!("{data} for the {deliveries}. time"));
                }
                _ => {}
            }
        }
        while let Some(request) = world.workers[0].poll_broker_request() {
            world.broker.requests[0].push_back(request);
        }
        world.broker.work(0);
        while let Some(event) = world.broker.next_event(0) {
            world.workers[0].handle_broker(event, world.now);
        }
    }
    told
}

/// A page that did not fit is read again, and contains its gaps again.
#[test]
fn a_gap_of_a_channel_is_told_once_however_often_its_page_is_read() {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    subscribe(&mut world, 0, "#", Since::Now);
    world.settle();
    world.cut(0);
    for n in 0..12 {
        world.publish(1, "kept/a", &n.to_string());
    }
    world.publish(1, "flow/a", "lost");
    world.settle();
    world.connect(0, 0, false);
    world.settle();
    let lost = (
        Some("flow/a".to_owned()),
        Position::new(1, 0),
        Position::new(1, 1),
        GapReason::EvictedBySize,
    );
    assert_eq!(gaps(&world, 0), [lost]);
    assert_eq!(world.clients[0].texts("kept/a").len(), 12);
}

fn publication(name: &str, offset: u64, previous: u64, sequence: u64) -> Arc<Publication> {
    let draft = Draft {
        channel: channel(name),
        data: offset.to_string().into(),
        format: Format::Json,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 1_000_000,
    };
    let (position, previous) = (Position::new(1, offset), Position::new(1, previous));
    Arc::new(draft.at(Place {
        position,
        previous,
        sequence,
    }))
}

#[test]
fn a_lag_is_not_cancelled_by_earlier_updates() {
    let mut engine = Engine::new(
        Limits::default(),
        Arc::new(RuleBook::everything(ChannelRules::default())),
        bare::now(),
    );
    let connection = engine
        .handle_connection_opened(
            Arrival::new(bare::session(1), bare::identity()),
            bare::now(),
        )
        .unwrap();
    let wish = Subscribe::new(Filter::new("a/#").unwrap(), Since::Now).numbered(7);
    engine.handle_command(
        connection,
        CommandId(1),
        Command::Subscribe(wish),
        bare::now(),
    );
    bare::told(&mut engine);
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
        bare::now(),
    );
    bare::told(&mut engine);
    // One after the other, with nothing taken between, as `poll_delivery_within` allows.
    engine.handle_broker(
        BrokerEvent::Publication(publication("a/x", 1, 0, 5)),
        bare::now(),
    );
    engine.handle_broker(BrokerEvent::Lagged, bare::now());
    // 6, 7 and 8 were left out.
    engine.handle_broker(
        BrokerEvent::Publication(publication("a/x", 5, 4, 9)),
        bare::now(),
    );
    let mut all = bare::told(&mut engine);
    let mut reads = 0;
    while let Some(request) = engine.poll_broker_request() {
        match request {
            BrokerRequest::FollowFilter { id, .. } => {
                engine.handle_broker(
                    BrokerEvent::Followed {
                        id,
                        stream: stream(9),
                    },
                    bare::now(),
                );
                all.extend(bare::told(&mut engine));
            }
            BrokerRequest::FilterHistory { .. } => reads += 1,
            _ => {}
        }
    }
    // 9 may only be delivered after a read has returned what is in between.
    assert!(
        reads > 0 && !all.contains(&"message 9".to_owned()),
        "{all:#?} reads {reads}"
    );
}
