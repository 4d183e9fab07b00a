//! The search for old publications in channels that are not in use.

use super::*;

#[test]
fn a_sweep_searches_some_channels_at_a_time_and_every_one_in_turn() {
    const COUNT: usize = 2 * SWEEP + 10;
    let alone = alone(keeping(100, None), |store| {
        let sealed = keeping(2, None);
        for n in 0..COUNT {
            fill_by(store, &name(n), n as u32, 3, &sealed);
        }
    });
    let names = |range: std::ops::Range<usize>| range.map(name).collect::<Vec<_>>();
    let ends = [
        (0, SWEEP),
        (SWEEP, 2 * SWEEP),
        (2 * SWEEP, COUNT),
        (COUNT, COUNT),
    ];
    for (from, to) in ends {
        alone.reader.sweep();
        assert_eq!(alone.loads(), names(from..to));
        assert_eq!(alone.jobs(), []);
    }
    // All of them are known to keep what they may.
    for _ in 0..4 {
        alone.reader.sweep();
        assert_eq!(alone.loads(), [""; 0]);
    }
    // Until the rules change, even in the middle of a round.
    alone.reader.sweep();
    let fewer = Arc::new(rules(keeping(2, None)));
    alone.reader.shared.hub.set_rules(&fewer, |_| false);
    for (from, to) in ends {
        alone.reader.sweep();
        assert_eq!(alone.loads(), names(from..to));
        let swept = names(from..to).into_iter().map(|name| (name, true));
        assert_eq!(alone.jobs(), swept.collect::<Vec<_>>());
    }
}

#[test]
fn after_a_round_only_channels_with_something_old_are_loaded() {
    let now_ms = written::now().unix_ms;
    let age = 1_000;
    let alone = alone(keeping(100, Some(age)), |store| {
        // Their times are long ago.
        fill(store, "old", 0, 3);
        write(store, 2, |group| {
            let mut retained = Retained::new(1);
            for offset in 1..=3 {
                let draft = draft("new", "x", now_ms - age);
                group.publish(1, (offset, offset), &draft, true);
                retained.push(offset, 1, (now_ms - age, offset), &keeping(100, None));
            }
            group.remember(&channel("new"), &retained);
        });
        let [.., channels, _] = store.keyspaces();
        channels.insert("bad", b"short".as_slice()).unwrap();
        channels.insert("\u{1}", b"no channel".as_slice()).unwrap();
    });
    alone.reader.sweep();
    assert_eq!(alone.loads(), ["bad", "new", "old"]);
    assert_eq!(alone.jobs(), [("old".to_owned(), true)]);
    // The end of the round.
    alone.reader.sweep();
    assert_eq!(alone.loads(), [""; 0]);
    alone.reader.sweep();
    assert_eq!(alone.loads(), ["bad", "old"]);
    assert_eq!(alone.jobs(), [("old".to_owned(), true)]);
}

#[test]
fn a_channel_has_nothing_old_if_its_entry_and_its_oldest_publication_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    // Their times are 1 to 4.
    fill(&store, "a", 0, 4);
    let has_nothing_old = |name, history: &History, now_ms| {
        has_nothing_old(&store, &channel(name), history, &Ages::at(now_ms))
    };
    let ten = keeping(100, Some(10));
    assert!(has_nothing_old("a", &ten, 5) && has_nothing_old("a", &ten, 11));
    assert!(!has_nothing_old("a", &ten, 12));
    assert!(has_nothing_old("a", &keeping(100, None), u64::MAX));
    assert!(!has_nothing_old("unknown", &ten, 5));
    // Sealed publications that are too many.
    fill_by(&store, "b", 1, 4, &keeping(2, None));
    assert!(has_nothing_old("b", &keeping(4, Some(10)), 5));
    assert!(!has_nothing_old("b", &keeping(3, Some(10)), 5));
    write(&store, 9, |group| group.remove(0, 1..=1));
    assert!(!has_nothing_old("a", &ten, 5));
}

#[test]
fn rules_are_applied_once_a_whole_round_has_searched_by_them() {
    let (one, other) = (Arc::new(RuleBook::new()), Arc::new(RuleBook::new()));
    let mut sweeps = Sweeps::default();
    assert!(!sweeps.is_applied(&one));
    sweeps.begin(&one);
    sweeps.end(Some("a".to_owned()));
    assert!(!sweeps.is_applied(&one));
    sweeps.begin(&one);
    assert_eq!(sweeps.after, "a");
    sweeps.end(None);
    assert_eq!(sweeps.after, "");
    assert!(sweeps.is_applied(&one) && !sweeps.is_applied(&other));
    sweeps.begin(&one);
    sweeps.end(Some("b".to_owned()));
    assert!(sweeps.is_applied(&one));
    sweeps.begin(&other);
    assert_eq!(sweeps.after, "", "it starts anew");
    sweeps.end(Some("c".to_owned()));
    assert!(sweeps.is_applied(&one) && !sweeps.is_applied(&other));
    sweeps.begin(&other);
    sweeps.end(None);
    assert!(sweeps.is_applied(&other) && !sweeps.is_applied(&one));
}
