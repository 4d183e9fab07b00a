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

/// How many publications of so many bytes, one each second, a bucket takes before it is sealed.
fn until_sealed(bytes: u64, history: &History) -> u64 {
    let mut retained = Retained::new(1);
    let mut offsets = 1..;
    let mut push = |offset| retained.push(offset, bytes, (offset * 1_000, offset), history);
    offsets.find(|offset| push(*offset)).unwrap()
}

#[test]
fn a_bucket_has_a_sixteenth_of_each_limit() {
    for (bytes, history, expected) in [
        (10, limits(160, u64::MAX, None), 10),
        (10, limits(15, u64::MAX, None), 1),
        (25, limits(u64::MAX, 1_600, None), 4),
        (26, limits(u64::MAX, 1_600, None), 4),
        (24, limits(u64::MAX, 1_600, None), 5),
        (10, limits(u64::MAX, u64::MAX, Some(160)), 11),
    ] {
        assert_eq!(until_sealed(bytes, &history), expected, "{history:?}");
    }
}

#[test]
fn an_entry_has_everything_but_the_newest_bucket() {
    let history = limits(160, u64::MAX, Some(1_000));
    let mut retained = published(45, 7, &history);
    assert_eq!(
        (retained.sealed_bytes(), retained.unsealed_from()),
        (40 * 7, 41)
    );
    let again = Retained::decode(&retained.encode(), Epoch(1)).unwrap();
    assert_eq!((again.head, again.first(), again.id), (45, 1, 1));
    assert_eq!((again.sealed_bytes(), again.unsealed_from()), (40 * 7, 41));
    assert_eq!(
        (again.trimmed(), again.trimmed_sequence),
        (Trimmed::BySize, 0)
    );
    // Two buckets are too old.
    assert_eq!(retained.trim(&history, 1_020_001), Some(1..=20));
    let again = Retained::decode(&retained.encode(), Epoch(1)).unwrap();
    assert_eq!(
        (again.trimmed(), again.trimmed_sequence),
        (Trimmed::ByAge, 20)
    );
    assert_eq!((again.first(), again.sealed_bytes()), (21, 20 * 7));
    let bytes = retained.encode();
    for missing in 1..40 {
        let cut = Retained::decode(&bytes[..bytes.len() - missing], Epoch(1));
        assert!(cut.is_none(), "{missing}");
    }
}

#[test]
fn an_entry_of_an_older_version_has_one_epoch_and_no_sequence_numbers() {
    let mut bytes = Vec::new();
    bytes.put_u32(7);
    bytes.put_u64(20);
    bytes.put_u64(11);
    bytes.put_u8(BY_AGE);
    for number in [15, 50, 1_000, 2_000] {
        bytes.put_u64(number);
    }
    let retained = Retained::decode(&bytes, Epoch(3)).unwrap();
    assert_eq!((retained.id, retained.head, retained.first()), (7, 20, 11));
    assert_eq!(
        (retained.trimmed(), retained.trimmed_sequence),
        (Trimmed::ByAge, 0)
    );
    assert_eq!(
        (retained.sealed_bytes(), retained.unsealed_from()),
        (50, 16)
    );
    assert_eq!(
        retained.at(&Epochs::new(Epoch(3)), 20),
        Position::new(3, 20)
    );
}

#[test]
fn readers_see_the_number_that_the_rules_say_and_why_the_rest_is_gone() {
    let epochs = Epochs::new(Epoch(1));
    let history = limits(100, u64::MAX, Some(1_000));
    let mut retained = published(95, 7, &history);
    let seen = |retained: &Retained, count: u64| {
        let state = retained.state(&epochs, &limits(count, u64::MAX, None));
        (state.first, state.trimmed)
    };
    assert_eq!(seen(&retained, 95), (1, Trimmed::BySize));
    retained.trim(&history, 1_012_001).unwrap();
    let first = retained.first();
    assert_eq!((first, retained.trimmed()), (13, Trimmed::ByAge));
    assert_eq!(seen(&retained, 83), (13, Trimmed::ByAge));
    assert_eq!(seen(&retained, 82), (14, Trimmed::BySize));
    assert_eq!(seen(&retained, 0), (96, Trimmed::BySize));
    // A time that is not in order counts as late as the latest of its bucket.
    let mut mixed = Retained::new(1);
    let by_age = limits(u64::MAX, u64::MAX, Some(160));
    mixed.push(1, 7, (5_000, 1), &by_age);
    mixed.push(2, 7, (1_000, 2), &by_age);
    assert_eq!(mixed.open.newest_ms, 5_000);
    assert_eq!(mixed.trim(&by_age, 165_000), None);
    assert_eq!(mixed.trim(&by_age, 165_001), Some(1..=2));
}
