//! The types that requests and answers consist of: their texts, names and measures.

use std::{collections::HashSet, time::Duration};

use offhook_engine::*;

use crate::world::channel;

fn filter(text: &str) -> Filter {
    Filter::new(text).unwrap()
}

fn draft(data: &str, tags: &[(&str, &str)], publisher: Option<Publisher>) -> Draft {
    Draft {
        channel: channel("a"),
        data: data.to_owned().into(),
        format: Format::Json,
        tags: Tags::new(tags.iter().copied()).unwrap(),
        publisher,
        key: None,
        time_ms: 1,
    }
}

#[test]
fn a_pattern_matches_names_by_the_text_between_its_stars() {
    for (pattern, name, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "a", true),
        ("a*", "ba", false),
        ("*", "anything", true),
        ("a*b*", "axbx", true),
        ("a*b*", "axx", false),
        ("*b", "ab", true),
        ("*b", "ba", false),
        // A character belongs to one piece only.
        ("*ab*b", "xab", false),
        ("*ab*b", "xabb", true),
        ("*a*a*", "ba", false),
        ("*a*a*", "baa", true),
    ] {
        let found = Pattern::new(pattern).matches(&channel(name));
        assert_eq!(found, expected, "{pattern} and {name}");
    }
}

#[test]
fn a_filter_covers_another_if_it_matches_all_of_its_names() {
    for (wide, narrow, expected) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a/b", "a", false),
        ("a", "a/b", false),
        ("+", "a", true),
        ("+", "+", true),
        ("a", "+", false),
        ("+/b", "+/b", true),
        ("+/b", "a/b", true),
        ("+/b", "a/c", false),
        ("a/+", "a/#", false),
        ("a/#", "a/#", true),
        ("a/#", "a/+/c", true),
        ("a/#", "b/#", false),
        ("#", "a/#", true),
        ("#", "a", true),
        // Names that start with `$` are matched only literally.
        ("#", "$system/a", false),
        ("+/a", "$system/a", false),
        ("$system/#", "$system/a", true),
        ("a/#", "a/$system", true),
    ] {
        let found = filter(wide).covers(&filter(narrow));
        assert_eq!(found, expected, "{wide} and {narrow}");
    }
}

#[test]
fn names_in_errors_say_what_they_are() {
    let id = Some(SubscriptionId(7));
    let (one, all) = (Target::from(channel("a")), Target::from(filter("a/#")));
    assert_eq!(filter("a/#").to_string(), "a/#");
    assert_eq!(one.to_string(), "channel a");
    assert_eq!(all.to_string(), "filter a/#");
    let name = |target: &Target, id| SubscriptionName {
        target: target.clone(),
        id,
    };
    assert_eq!(name(&all, None).to_string(), "filter a/#");
    assert_eq!(name(&one, id).to_string(), "subscription 7 to channel a");
    assert_eq!(name(&one, id).key().to_string(), "subscription 7");
    assert_eq!(name(&one, None).key().to_string(), "channel a");
    assert_eq!(ErrorCode::Busy.to_string(), "busy");
    let refusal = Refusal::new(ErrorCode::Busy, "try again");
    assert_eq!(refusal.to_string(), "busy: try again");
}

#[test]
fn verbs_are_combined_and_written_by_their_names() {
    let (read, write) = (Verbs::SUBSCRIBE | Verbs::HISTORY, Verbs::PUBLISH);
    assert!(read.contains(Verbs::SUBSCRIBE) && read.contains(Verbs::HISTORY));
    assert!(!read.contains(write) && !read.contains(read | write));
    assert_eq!(read | Verbs::SUBSCRIBE, read, "twice is once");
    assert_eq!(read.to_string(), "subscribe+history");
    assert_eq!(Verbs::NONE.to_string(), "");
    assert!(Verbs::NONE.is_empty() && !write.is_empty());
    let all = [
        "publish",
        "subscribe",
        "history",
        "presence",
        "state",
        "call",
    ];
    let mut joined = Verbs::NONE;
    for name in all {
        let verb = Verbs::named(name).expect(name);
        assert_eq!(verb.to_string(), name);
        joined = joined | verb;
    }
    assert_eq!(joined, Verbs::ALL);
    assert_eq!(Verbs::named("*"), Some(Verbs::ALL));
    assert_eq!(Verbs::named("read"), Some(Verbs::READ));
    assert_eq!(Verbs::named("write"), None);
}

#[test]
fn a_position_is_two_numbers_that_javascript_reads_exactly() {
    let parsed = |text: &str| text.parse::<Position>().ok();
    for (epoch, offset) in [(0, 0), (7, 42), (1, (1 << 53) - 1)] {
        let position = Position::new(epoch, offset);
        assert_eq!(parsed(&position.to_string()), Some(position));
    }
    for wrong in ["1", "1.", ".1", "+1.1", "1.-1", "1.2.3", "1. 2", "a.1"] {
        assert_eq!(parsed(wrong), None, "{wrong}");
    }
    assert_eq!(parsed(&format!("1.{}", 1_u64 << 53)), None);
    assert_eq!(parsed(&format!("{}.1", 1_u64 << 53)), None);
}

#[test]
fn each_state_and_reason_has_a_name_of_its_own() {
    let activities = [
        Activity::Asked,
        Activity::Opening,
        Activity::Live,
        Activity::Reading,
        Activity::AwaitsRoom,
        Activity::AwaitsAcknowledgement,
        Activity::AwaitsTurn,
    ];
    let closes = [
        CloseReason::TooSlow,
        CloseReason::Flood,
        CloseReason::Replaced,
        CloseReason::Disconnected,
        CloseReason::Expired,
    ];
    let gaps = [
        GapReason::EpochChanged,
        GapReason::Diverged,
        GapReason::EvictedBySize,
        GapReason::EvictedByAge,
        GapReason::Damaged,
        GapReason::UnknownPosition,
        GapReason::Dropped,
        GapReason::Conflated,
        GapReason::State,
        GapReason::Restarted,
        GapReason::Permissions,
    ];
    let names = activities.map(Activity::name);
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), 7);
    assert_eq!(Activity::AwaitsTurn.name(), "awaits_turn");
    let names = closes.map(CloseReason::name);
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), 5);
    assert_eq!(CloseReason::Replaced.name(), "replaced");
    let names = gaps.map(GapReason::name);
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), 11);
    assert_eq!(GapReason::Dropped.name(), "dropped");
    let trimmed = [Trimmed::BySize, Trimmed::ByAge, Trimmed::Damaged].map(GapReason::from);
    assert_eq!(
        trimmed,
        [
            GapReason::EvictedBySize,
            GapReason::EvictedByAge,
            GapReason::Damaged
        ]
    );
}

#[test]
fn the_weight_of_a_publication_counts_its_data_and_its_tags() {
    let bare = draft("", &[], None).weight();
    let tags = [("colour", "red"), ("size", "xl")];
    let full = draft("12345", &tags, None);
    assert_eq!(full.weight(), bare + 5 + 6 + 3 + 4 + 2);
    let weight = full.weight();
    let place = Place::after(Position::new(1, 0), 1);
    assert_eq!(full.at(place).weight(), weight);
    assert!(Tags::default().is_empty());
    assert!(!Tags::new(tags).unwrap().is_empty());
}

#[test]
fn keys_are_scoped_to_the_user_and_without_one_to_the_session() {
    let by = |session, user: &str| {
        Some(Publisher {
            session: SessionId::from_bytes([session; 16]),
            user: user.into(),
        })
    };
    let scope = |publisher| draft("", &[], publisher).key_scope().into_owned();
    assert_eq!(scope(None), "");
    assert_eq!(scope(by(1, "ann")), "ann");
    assert_eq!(scope(by(1, "ann")), scope(by(2, "ann")));
    assert_eq!(scope(by(1, "")), format!("\0{}", "01".repeat(16)));
    assert_ne!(scope(by(1, "")), scope(by(2, "")));
}

#[test]
fn history_and_state_are_kept_if_both_their_count_and_their_bytes_allow_any() {
    for (count, bytes, expected) in [(0, 0, false), (1, 0, false), (0, 1, false), (1, 1, true)] {
        let age = None;
        let history = History { count, bytes, age };
        assert_eq!(history.is_kept(), expected, "{count} and {bytes}");
        let state = State { count, bytes, age };
        assert_eq!(state.is_kept(), expected, "{count} and {bytes}");
    }
}

#[test]
fn a_session_id_is_its_sixteen_bytes_in_order() {
    let bytes: [u8; 16] = std::array::from_fn(|n| (n as u8 + 1) * 15);
    let session = SessionId::from_bytes(bytes);
    assert_eq!(session.to_bytes(), bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(session.to_string(), hex);
    // Both halves count.
    let mut other = bytes;
    other[15] ^= 1;
    assert_ne!(SessionId::from_bytes(other), session);
    let mut other = bytes;
    other[0] ^= 1;
    assert_ne!(SessionId::from_bytes(other), session);
}

#[test]
fn a_filter_trie_knows_what_it_holds_and_frees_what_was_removed() {
    let mut trie = FilterTrie::new();
    assert!(trie.is_empty());
    let filters = ["a/+/c", "a/+", "a/#", "a", "+", "#"].map(filter);
    let kept = allocation_counter::measure(|| {
        for (n, filter) in filters.iter().enumerate() {
            assert_eq!(trie.insert(filter, n), None);
            assert!(!trie.is_empty());
        }
        assert_eq!(trie.insert(&filters[0], 9), Some(0));
        assert_eq!(trie.len(), 6);
        // Many other names, each of which has nodes of its own.
        for n in 0..1000 {
            trie.insert(&filter(&format!("a/{n}/x/y/z")), n);
        }
        for n in 0..1000 {
            trie.remove(&filter(&format!("a/{n}/x/y/z")));
        }
        for filter in &filters {
            assert!(trie.remove(filter).is_some());
            assert_eq!(trie.remove(filter), None);
        }
        assert!(trie.is_empty());
    });
    // A table that grew for a thousand names may remain, but not their nodes.
    assert!(kept.bytes_current < 1024, "{} bytes", kept.bytes_current);
}

#[test]
fn a_class_is_written_as_it_is_parsed() {
    let class: ClientClass = "backend publish_burst=5".parse().unwrap();
    assert_eq!(class.to_string(), "backend publish_burst=5");
    assert_eq!(ClientClass::new("web").to_string(), "web");
    for wrong in ["", "a b", "a publish_burst", "a publish_burst=0", "a x=1"] {
        assert!(wrong.parse::<ClientClass>().is_err(), "{wrong}");
    }
    let twice = "a publish_burst=1 publish_burst=2".parse::<ClientClass>();
    assert!(twice.unwrap_err().to_string().contains("given twice"));
}

#[test]
fn the_longest_key_window_is_that_of_any_rule() {
    let longest = RuleBook::new()
        .with(
            "a",
            ChannelRules {
                key_window: Duration::from_secs(5),
                ..ChannelRules::default()
            },
        )
        .with(
            "b",
            ChannelRules {
                key_window: Duration::from_secs(9),
                ..ChannelRules::default()
            },
        );
    assert_eq!(longest.longest_key_window(), Duration::from_secs(9));
    assert_eq!(RuleBook::new().longest_key_window(), Duration::ZERO);
}
