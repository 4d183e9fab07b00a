use std::time::Duration;

use super::*;

/// A channel with so many publications of so many bytes, one each second.
fn published(count: u64, bytes: u64, history: &History) -> Retained {
    let mut retained = Retained::new(1);
    Arc::make_mut(&mut retained.lineage).publish(Epoch(1), 1);
    for offset in 1..=count {
        if retained.push(offset, bytes, (offset * 1_000, offset), history) {
            retained.trim(history, offset * 1_000);
        }
    }
    retained
}

fn kept(retained: &Retained) -> u64 {
    retained.head + 1 - retained.first
}

fn limits(count: u64, bytes: u64, age: Option<u64>) -> History {
    let age = age.map(Duration::from_secs);
    History { count, bytes, age }
}

#[test]
fn the_limit_on_bytes_is_kept_to_the_precision_of_a_bucket_whatever_the_sizes() {
    // Sizes that do not divide the limit.
    for bytes in [7, 100, 333, 1_021] {
        let history = limits(u64::MAX, 160 * 1_000, None);
        let retained = published(20_000, bytes, &history);
        let held = kept(&retained) * bytes;
        let precision = history.bytes / BUCKETS + bytes;
        assert!(held <= history.bytes + precision, "{held} bytes of {bytes}");
        assert!(
            held + 2 * precision >= history.bytes,
            "{held} bytes of {bytes}"
        );
        assert_eq!(retained.trimmed(), Trimmed::BySize);
        assert_eq!(retained.trimmed_sequence, retained.first - 1);
    }
}

#[test]
fn the_limit_on_the_number_is_kept_to_the_precision_of_a_bucket_on_disk_and_exactly_for_readers() {
    let history = limits(170, u64::MAX, None);
    let retained = published(1_003, 10, &history);
    assert!(
        (170..=180).contains(&kept(&retained)),
        "{}",
        kept(&retained)
    );
    let epochs = Epochs::new(Epoch(1));
    let state = retained.state(&epochs, &history);
    assert_eq!((state.head.offset, state.first), (1_003, 834));
    assert_eq!(state.trimmed, Trimmed::BySize);
}

#[test]
fn the_limit_on_age_holds_without_new_publications_and_over_a_restart() {
    let history = limits(u64::MAX, u64::MAX, Some(100));
    let mut retained = published(1_000, 10, &history);
    assert!(
        (100..=108).contains(&kept(&retained)),
        "{}",
        kept(&retained)
    );
    assert_eq!(retained.trimmed(), Trimmed::ByAge);
    // What is in no bucket yet is read again.
    let mut again = Retained::decode(&retained.encode(), Epoch(1)).unwrap();
    for offset in again.unsealed_from()..=1_000 {
        again.push(offset, 10, (offset * 1_000, offset), &history);
    }
    assert_eq!(again, retained);
    let first = retained.first();
    assert_eq!(retained.trim(&history, 1_000_000), None);
    let gone = retained.trim(&history, 1_050_000).unwrap();
    assert_eq!(*gone.start(), first);
    assert!((50..=58).contains(&kept(&retained)), "{}", kept(&retained));
    // The newest goes when it is older than the limit, and not at that moment.
    retained.trim(&history, 1_100_000);
    assert_ne!(kept(&retained), 0);
    retained.trim(&history, 1_100_001);
    assert_eq!((kept(&retained), retained.first), (0, 1_001));
    assert_eq!(retained.trim(&history, 9_000_000), None);
}

#[test]
fn a_channel_without_history_passes_everything() {
    let mut retained = Retained::new(1);
    retained.pass(1, 7);
    retained.pass(2, 9);
    assert_eq!((retained.head, retained.first()), (2, 3));
    assert_eq!((kept(&retained), retained.trimmed_sequence), (0, 9));
    assert_eq!(retained.sealed_bytes(), 0);
}
