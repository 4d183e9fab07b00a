use std::time::Duration;

use offhook_engine::{Format, History, State, Tags};

use super::*;

const EPOCH: Epoch = Epoch(5);

fn at(offset: u64) -> Position {
    Position {
        epoch: EPOCH,
        offset,
    }
}

fn rules(count: u64, bytes: u64, age_ms: Option<u64>) -> ChannelRules {
    ChannelRules {
        history: History {
            count,
            bytes,
            age: age_ms.map(Duration::from_millis),
        },
        state: State {
            count: 10,
            bytes: u64::MAX,
            age: None,
        },
        key_window: Duration::from_millis(1_000),
        ..ChannelRules::default()
    }
}

fn all() -> ChannelRules {
    rules(u64::MAX, u64::MAX, None)
}

fn draft(tag: &str, key: Option<&str>, time_ms: u64) -> Draft {
    Draft {
        channel: ChannelName::new("a").unwrap(),
        data: "x".into(),
        format: Format::Text,
        tags: Tags::new([(CONFLATION_TAG, tag)]).unwrap(),
        publisher: None,
        key: key.map(|key| Key::new(key).unwrap()),
        time_ms,
    }
}

/// A stream with so many publications, one each millisecond, whose sequence numbers are ten times their
/// offsets.
fn tick(stream: &mut Stream, rules: &ChannelRules, now_ms: u64) {
    stream.tick(rules, now_ms, &Ages::at(now_ms));
}

fn publish(
    stream: &mut Stream,
    draft: Draft,
    sequence: u64,
    rules: &ChannelRules,
    times: (u64, u64),
) {
    stream.publish(draft, sequence, rules, (times, &Ages::at(times.0)));
}

fn stream(count: u64, rules: &ChannelRules) -> Stream {
    let mut stream = Stream::new(EPOCH);
    for n in 1..=count {
        publish(&mut stream, draft("t", None, n), n * 10, rules, (n, n));
    }
    stream
}

fn weight_of_one() -> u64 {
    stream(1, &all()).bytes
}

fn first(stream: &Stream) -> u64 {
    stream.state().first
}

#[test]
fn a_stream_keeps_what_its_rules_say_and_not_less() {
    let one = weight_of_one();
    for (rules, kept) in [
        (rules(3, u64::MAX, None), 3),
        (rules(u64::MAX, one * 4, None), 4),
        (rules(u64::MAX, one * 5 - 1, None), 4),
        (rules(u64::MAX, u64::MAX, Some(2)), 3),
        (rules(0, 0, None), 0),
    ] {
        let mut stream = stream(10, &rules);
        assert_eq!(first(&stream), 11 - kept, "{rules:?}");
        assert_eq!(stream.bytes, kept * one);
        assert_eq!(stream.dropped_sequence(), (10 - kept) * 10);
        let by_age = rules.history.age.is_some();
        assert_eq!(stream.trimmed == Trimmed::ByAge, by_age);
        tick(&mut stream, &rules, 10);
        assert_eq!(first(&stream), 11 - kept, "nothing has changed");
    }
}

#[test]
fn the_weight_of_a_stream_counts_everything_in_it() {
    let one = weight_of_one() as usize;
    let mut stream = Stream::new(EPOCH);
    assert_eq!(stream.weight(), STREAM);
    publish(&mut stream, draft("t", Some("1"), 1), 1, &all(), (1, 1));
    publish(&mut stream, draft("t", Some("2"), 1), 2, &all(), (1, 1));
    let with_value = STREAM + 2 * (one + RETAINED) + 2 * KEY + one + VALUE;
    assert_eq!(stream.weight(), with_value);
    for consumer in ["one", "two", "one"] {
        let key = Key::new(consumer).unwrap();
        stream.ack("ann", key, Some(at(1)), (1, 1)).unwrap();
    }
    assert_eq!(stream.weight(), with_value + 2 * CURSOR);
    // Keys first, then history, then values.
    stream.shed(1);
    assert_eq!(stream.weight(), with_value + 2 * CURSOR - KEY);
    assert!(stream.published_before(&draft("t", Some("1"), 1)).is_none());
    assert!(stream.published_before(&draft("t", Some("2"), 1)).is_some());
    stream.shed(KEY + 1);
    assert_eq!((first(&stream), stream.values().len()), (2, 1));
    stream.shed(one + RETAINED);
    assert_eq!((first(&stream), stream.values().len()), (3, 1));
    stream.shed(1);
    assert_eq!(stream.weight(), STREAM + 2 * CURSOR);
    stream.shed(1);
    assert_eq!(stream.weight(), STREAM + 2 * CURSOR, "the rest stays");
}

#[test]
fn a_stream_is_bare_only_without_history_state_keys_and_consumers() {
    let nothing = ChannelRules {
        history: History::NONE,
        state: State::NONE,
        ..all()
    };
    let mut stream = stream(1, &nothing);
    assert!(stream.is_bare() && !stream.is_empty());
    publish(&mut stream, draft("t", Some("1"), 1), 2, &nothing, (1, 1));
    assert!(!stream.is_bare(), "a key");
    tick(&mut stream, &nothing, 5_000);
    assert!(stream.is_bare());
    stream
        .ack("ann", Key::new("one").unwrap(), Some(at(1)), (1, 1))
        .unwrap();
    assert!(!stream.is_bare(), "a consumer");
    let mut stream = self::stream(1, &rules(0, 0, None));
    assert!(!stream.is_bare(), "a value");
    stream.shed(usize::MAX);
    assert!(stream.is_bare());
    assert!(
        !self::stream(1, &rules(1, u64::MAX, None)).is_bare(),
        "history"
    );
}

#[test]
fn a_key_is_known_for_its_window_and_the_newest_of_many() {
    let rules = rules(0, 0, None);
    let mut stream = Stream::new(EPOCH);
    publish(&mut stream, draft("t", Some("1"), 0), 1, &rules, (0, 0));
    let known = |stream: &Stream, key: &str| stream.published_before(&draft("t", Some(key), 0));
    tick(&mut stream, &rules, 1_000);
    assert_eq!(known(&stream, "1"), Some(at(1)));
    assert_eq!(known(&stream, "2"), None);
    tick(&mut stream, &rules, 1_001);
    assert_eq!(known(&stream, "1"), None);
    for n in 0..=MAX_KEYS {
        publish(
            &mut stream,
            draft("t", Some(&n.to_string()), 0),
            1,
            &rules,
            (2_000, 2_000),
        );
    }
    assert_eq!(
        (stream.keys.len(), stream.key_times.len()),
        (MAX_KEYS, MAX_KEYS)
    );
    assert_eq!(known(&stream, "0"), None);
    assert!(known(&stream, "1").is_some());
    let peak = (stream.keys.capacity(), stream.key_times.capacity());
    tick(&mut stream, &rules, 9_000);
    assert!(stream.keys.capacity() < peak.0 / 4 && stream.key_times.capacity() < peak.1 / 4);
}

#[test]
fn history_is_freed_after_a_peak() {
    let mut stream = stream(1_000, &all());
    let peak = stream.retained.capacity();
    tick(&mut stream, &rules(peak as u64 / 4, u64::MAX, None), 1_000);
    assert_eq!(stream.retained.capacity(), peak, "a quarter is used");
    tick(&mut stream, &rules(20, u64::MAX, None), 1_000);
    assert!(stream.retained.capacity() < 64);
}

#[test]
fn a_read_begins_where_it_should_and_says_how_its_position_was_understood() {
    // 4 to 10 are kept.
    let stream = stream(10, &rules(7, u64::MAX, None));
    let other = Position::new(4, 8);
    let read = |from| {
        let start = stream.start(from);
        (start.resolution, start.agreed.offset, start.after.offset)
    };
    let fine = Resolution::Continuous;
    for (from, expected) in [
        (ReadFrom::Start, (fine, 0, 3)),
        (ReadFrom::Last(3), (fine, 7, 7)),
        (ReadFrom::Last(9), (fine, 1, 3)),
        (ReadFrom::Last(99), (fine, 0, 3)),
        (ReadFrom::After(at(2)), (fine, 2, 3)),
        (ReadFrom::After(at(5)), (fine, 5, 5)),
        (ReadFrom::After(at(10)), (fine, 10, 10)),
        (ReadFrom::After(at(11)), (Resolution::AheadOfHead, 10, 10)),
        (ReadFrom::After(other), (Resolution::UnknownEpoch, 0, 3)),
        (ReadFrom::Before(at(8)), (fine, 7, 7)),
    ] {
        assert_eq!(read(from), expected, "{from:?}");
    }
    assert!(stream.has(at(10)) && !stream.has(at(11)) && !stream.has(other));
}

#[test]
fn a_page_is_limited_in_number_and_bytes_in_both_directions() {
    let stream = stream(10, &rules(7, u64::MAX, None));
    let one = weight_of_one() as usize;
    let page = |from, count, bytes| {
        let (start, page) = stream.read(from, ReadLimit { count, bytes });
        let offsets: Vec<u64> = page.iter().map(|p| p.position.offset).collect();
        (start.after.offset, offsets)
    };
    let many = one * 100;
    assert_eq!(page(ReadFrom::Start, 2, many), (3, vec![4, 5]));
    assert_eq!(page(ReadFrom::Start, 9, one * 2), (3, vec![4, 5]));
    assert_eq!(page(ReadFrom::Start, 9, one * 3 - 1), (3, vec![4, 5]));
    assert_eq!(page(ReadFrom::Start, 9, 1), (3, vec![4]));
    assert_eq!(page(ReadFrom::After(at(9)), 9, many), (9, vec![10]));
    assert_eq!(page(ReadFrom::After(at(10)), 9, many), (10, vec![]));
    let before = |offset| ReadFrom::Before(at(offset));
    assert_eq!(page(before(8), 2, many), (5, vec![6, 7]));
    assert_eq!(page(before(8), 9, one * 2), (5, vec![6, 7]));
    assert_eq!(page(before(8), 9, one * 3 - 1), (5, vec![6, 7]));
    assert_eq!(page(before(8), 9, 1), (6, vec![7]));
    assert_eq!(page(before(6), 9, many), (3, vec![4, 5]));
    assert_eq!(page(before(3), 9, many), (2, vec![]));
}

#[test]
fn what_was_dropped_after_a_sequence_number_is_a_gap() {
    // The publications 1 to 3, with the numbers 10 to 30, were dropped.
    let stream = stream(10, &rules(7, u64::MAX, None));
    let name = ChannelName::new("a").unwrap();
    let after = |sequence| {
        let (gap, later) = stream.after_sequence(&name, sequence);
        let gap = gap.map(|gap| (gap.from.offset, gap.to.offset));
        (gap, later.map(|p| p.position.offset).next())
    };
    assert_eq!(after(29), (Some((0, 3)), Some(4)));
    assert_eq!(after(30), (None, Some(4)));
    assert_eq!(after(39), (None, Some(4)));
    assert_eq!(after(40), (None, Some(5)));
    assert_eq!(after(100), (None, None));
    assert_eq!(
        (stream.newest_sequence(), stream.dropped_sequence()),
        (100, 30)
    );
}

#[test]
fn consumers_are_positions_in_the_stream_and_limited_for_each_user() {
    let mut stream = stream(10, &all());
    let key = |n: usize| Key::new(&n.to_string()).unwrap();
    let mut ack = |user: &str, n: usize, position: Option<Position>, now_ms: u64| {
        let acked = stream.ack(user, key(n), position, (now_ms, now_ms));
        (acked.map(|at| at.map(|at| at.offset)), stream.consumers)
    };
    let unknown = Err(BrokerFailure::UnknownPosition);
    assert_eq!(ack("ann", 0, Some(at(11)), 1), (unknown, 0));
    assert_eq!(ack("ann", 0, Some(Position::new(4, 1)), 1), (unknown, 0));
    assert_eq!(ack("ann", 0, None, 1), (Ok(None), 0));
    assert_eq!(ack("ann", 0, Some(at(10)), 1), (Ok(Some(10)), 1));
    assert_eq!(ack("ann", 0, Some(at(3)), 2), (Ok(Some(10)), 1), "late");
    assert_eq!(ack("ann", 0, None, 3), (Ok(Some(10)), 1));
    assert_eq!(ack("bob", 0, None, 3), (Ok(None), 1));
    for n in 1..MAX_CONSUMERS {
        assert_eq!(ack("ann", n, Some(at(1)), 5).1, n + 1);
    }
    let month = 30 * 24 * 3600 * 1000;
    let full = Err(BrokerFailure::TooManyConsumers);
    assert_eq!(
        ack("ann", 99, Some(at(1)), 2 + month),
        (full, MAX_CONSUMERS)
    );
    assert_eq!(
        ack("ann", 5, Some(at(2)), 6),
        (Ok(Some(2)), MAX_CONSUMERS),
        "it is known"
    );
    assert_eq!(
        ack("bob", 0, Some(at(1)), 6),
        (Ok(Some(1)), MAX_CONSUMERS + 1)
    );
    // The oldest makes room.
    assert_eq!(
        ack("ann", 99, Some(at(1)), 3 + month),
        (Ok(Some(1)), MAX_CONSUMERS + 1)
    );
    assert_eq!(ack("ann", 0, None, 3 + month).0, Ok(None));
}

#[test]
fn consumers_of_sessions_end_and_are_looked_for_once_an_hour() {
    let mut stream = stream(1, &all());
    let hour = LOOK_AT_CONSUMERS_MS;
    let week = 7 * 24 * hour;
    let key = || Key::new("one").unwrap();
    for scope in ["\0session", "\0another", "ann"] {
        stream
            .ack(scope, key(), Some(at(1)), (1_000, 1_000))
            .unwrap();
    }
    tick(&mut stream, &all(), 1_000 + week);
    assert_eq!(stream.consumers, 3);
    stream
        .ack("\0another", key(), Some(at(1)), (week, week))
        .unwrap();
    tick(&mut stream, &all(), 999 + week + hour);
    assert_eq!(stream.consumers, 3, "not looked for yet");
    tick(&mut stream, &all(), 1_000 + week + hour);
    assert_eq!((stream.consumers, stream.cursors.len()), (2, 2));
}
