use std::time::Instant;

use super::*;

fn now(unix_ms: u64) -> Now {
    Now {
        instant: Instant::now(),
        unix_ms,
    }
}

fn epochs(all: &[(u64, u64)]) -> Epochs {
    let mut all = all.iter().map(|(epoch, sequence)| Began {
        epoch: Epoch(*epoch),
        sequence: *sequence,
    });
    let mut epochs = Epochs::new(all.next().unwrap().epoch);
    all.for_each(|began| epochs.begin(began));
    epochs
}

fn lineage(all: &[(u64, u64)]) -> Lineage {
    let mut lineage = Lineage::default();
    for (epoch, offset) in all {
        assert!(lineage.publish(Epoch(*epoch), *offset));
        assert!(!lineage.publish(Epoch(*epoch), *offset + 1));
    }
    lineage
}

#[test]
fn a_new_epoch_is_later_than_the_last_whatever_the_clock_says_and_never_repeats() {
    for (last, unix_ms, least) in [
        (None, 5_000, 5_000_000),
        (Some(7), 5_000, 5_000_000),
        // The clock stepped back.
        (Some(9_000_000), 5_000, 9_000_001),
    ] {
        assert_eq!(least_epoch(last.map(Epoch), now(unix_ms)), least);
        let fresh = || fresh_epoch(last.map(Epoch), now(unix_ms)).0;
        let some: Vec<_> = (0..20).map(|_| fresh()).collect();
        for epoch in &some {
            assert!((least..least + SPREAD).contains(epoch), "{epoch}");
        }
        assert!(some.iter().any(|epoch| *epoch != some[0]), "it is random");
    }
}

#[test]
fn the_first_epoch_and_the_newest_ones_are_remembered() {
    let mut epochs = Epochs::new(Epoch(1));
    for n in 2..MAX_EPOCHS as u64 + 10 {
        let (epoch, sequence) = (Epoch(n), n);
        epochs.begin(Began { epoch, sequence });
    }
    assert!(epochs.knows(Epoch(1)) && !epochs.knows(Epoch(2)));
    assert!(epochs.knows(epochs.current()));
    assert_eq!(epochs.later.len(), MAX_EPOCHS);
    assert_eq!(epochs.current(), Epoch(MAX_EPOCHS as u64 + 9));
    assert_eq!(Epochs::decode(&epochs.encode()), Some(epochs));
    assert_eq!(Epochs::decode(&[]), None);
    assert_eq!(Epochs::decode(&[0; 15]), None);
    let twice = [5_u64, 0, 5, 0].map(u64::to_be_bytes).concat();
    assert_eq!(Epochs::decode(&twice), None);
}

#[test]
fn a_position_in_the_brokers_order_is_good_up_to_where_its_epoch_ended() {
    use Resolution::{AheadOfHead, Continuous, Diverged, UnknownEpoch};
    let epochs = epochs(&[(1, 0), (5, 10), (9, 20)]);
    for (epoch, offset, expected) in [
        (1, 10, (Continuous, 10)),
        (1, 11, (Diverged, 10)),
        (5, 20, (Continuous, 20)),
        (5, 21, (Diverged, 20)),
        (9, 25, (Continuous, 25)),
        (9, 26, (AheadOfHead, 25)),
        (4, 1, (UnknownEpoch, 0)),
    ] {
        let found = epochs.resolve(Position::new(epoch, offset), 25);
        assert_eq!(found, expected, "{epoch}.{offset}");
    }
}

#[test]
fn a_position_in_a_channel_is_good_up_to_where_the_channel_got_another_epoch() {
    use Resolution::{AheadOfHead, Continuous, Diverged, UnknownEpoch};
    let epochs = epochs(&[(1, 0), (5, 0), (7, 0), (9, 0)]);
    // Nothing was published in epoch 7.
    let lineage = lineage(&[(1, 1), (5, 4), (9, 8)]);
    for (epoch, offset, expected) in [
        (1, 3, (Continuous, 3)),
        (1, 4, (Diverged, 3)),
        (5, 7, (Continuous, 7)),
        (5, 8, (Diverged, 7)),
        (7, 7, (Continuous, 7)),
        (7, 8, (Diverged, 7)),
        (9, 12, (Continuous, 12)),
        (9, 13, (AheadOfHead, 12)),
        (6, 1, (UnknownEpoch, 0)),
    ] {
        let found = lineage.resolve(&epochs, Position::new(epoch, offset), 12);
        assert_eq!(found, expected, "{epoch}.{offset}");
    }
    for (offset, epoch) in [(0, 1), (1, 1), (3, 1), (4, 5), (7, 5), (8, 9), (12, 9)] {
        let at = lineage.at(&epochs, offset);
        assert_eq!(at, Position::new(epoch, offset));
    }
    assert_eq!(Lineage::default().at(&epochs, 3), Position::new(9, 3));
}

#[test]
fn epochs_of_which_nothing_is_retained_are_forgotten_except_a_few() {
    let all: Vec<_> = (1..=40).map(|n| (n, n * 10)).collect();
    let mut trimmed = lineage(&all);
    // 30 epochs began before it; the one that it continues is kept, and some before that.
    trimmed.trim(305);
    assert_eq!(trimmed.len(), 40 - (30 - 1 - SPARE));
    let epochs = epochs(&all);
    assert_eq!(trimmed.at(&epochs, 305), Position::new(30, 305));
    let (resolution, _) = trimmed.resolve(&epochs, Position::new(2, 25), 405);
    assert_eq!(resolution, Resolution::UnknownEpoch);
    trimmed.trim(305);
    assert_eq!(trimmed.len(), 40 - (30 - 1 - SPARE));
    // The epoch that begins with the oldest retained publication.
    let mut at_its_beginning = lineage(&all);
    at_its_beginning.trim(300);
    assert_eq!(at_its_beginning.len(), 40 - (29 - 1 - SPARE));
    assert!(Arc::ptr_eq(&Lineage::empty(), &Lineage::empty()));
    let mut bytes = Vec::new();
    trimmed.encode(&mut bytes);
    let mut from = bytes.as_slice();
    assert_eq!(Lineage::decode(&mut from, trimmed.len()), Some(trimmed));
    assert!(from.is_empty());
}

#[test]
fn a_read_begins_where_it_was_asked_to_or_at_the_oldest_that_is_retained() {
    let epochs = epochs(&[(1, 0)]);
    let lineage = lineage(&[(1, 1)]);
    let at = |offset| Position::new(1, offset);
    let start = |from| {
        let start = lineage.start(&epochs, from, 4, 9);
        (start.agreed.offset, start.after.offset)
    };
    assert_eq!(start(ReadFrom::Start), (0, 3));
    assert_eq!(start(ReadFrom::After(at(2))), (2, 3));
    assert_eq!(start(ReadFrom::After(at(5))), (5, 5));
    assert_eq!(start(ReadFrom::Last(2)), (7, 7));
    assert_eq!(start(ReadFrom::Last(99)), (0, 3));
    assert_eq!(start(ReadFrom::Before(at(7))), (6, 6));
}

#[test]
fn a_position_in_the_first_epoch_is_unknown_once_its_end_was_forgotten() {
    let mut epochs = Epochs::new(Epoch(1));
    let began = |n: u64| Began {
        epoch: Epoch(n),
        sequence: 10 * n,
    };
    epochs.begin(began(2));
    let resolve = |epochs: &Epochs, offset| epochs.resolve(Position::new(1, offset), 1_000_000).0;
    assert_eq!(resolve(&epochs, 20), Resolution::Continuous);
    assert_eq!(resolve(&epochs, 21), Resolution::Diverged);
    for n in 3..=MAX_EPOCHS as u64 + 3 {
        epochs.begin(began(n));
    }
    assert_eq!(resolve(&epochs, 21), Resolution::UnknownEpoch);
    assert_eq!(resolve(&epochs, 0), Resolution::Continuous, "its beginning");
}

#[test]
fn epochs_of_streams_in_memory_do_not_run_ahead_of_the_clock() {
    let now = now(1_700_000_000_000);
    let first = next_epoch(Epoch(1), now);
    let mut last = first;
    for _ in 0..1_000 {
        last = next_epoch(last, now);
    }
    assert_eq!(last.0, first.0 + 1_000);
}
