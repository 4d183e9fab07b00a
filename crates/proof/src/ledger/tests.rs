use super::*;

fn findings(numbers: &[(usize, u64)], published: &[u64]) -> Findings {
    let mut ledger = Ledger::default();
    for ((publisher, number), offset) in numbers.iter().zip(1..) {
        ledger.receive(offset, *publisher, *number, "one");
    }
    ledger.findings(&expected(published))
}

fn expected(published: &[u64]) -> Expected {
    Expected {
        published: published.to_vec(),
        ..Expected::default()
    }
}

#[test]
fn everything_once_in_order_is_clean_for_any_interleaving_of_publishers() {
    let found = findings(&[(1, 0), (0, 0), (1, 1), (0, 1)], &[2, 2]);
    assert!(found.is_clean());
    assert_eq!(found.received, 4);
}

#[test]
fn a_hole_and_a_missing_tail_count_as_lost() {
    assert_eq!(findings(&[(0, 0), (0, 2)], &[3]).lost, 1);
    assert_eq!(findings(&[(0, 0)], &[3]).lost, 2);
    assert_eq!(findings(&[], &[3, 1]).lost, 4);
}

#[test]
fn repeated_messages_count_as_duplicated_and_late_ones_as_reordered() {
    let found = findings(&[(0, 0), (0, 0), (0, 1), (0, 0)], &[2]);
    assert_eq!((found.duplicated, found.lost, found.reordered), (2, 0, 0));
    let found = findings(&[(0, 1), (0, 0), (0, 2)], &[3]);
    assert_eq!((found.duplicated, found.lost, found.reordered), (0, 0, 1));
}

#[test]
fn messages_announced_by_a_gap_are_neither_lost_nor_clean() {
    let mut ledger = Ledger::default();
    ledger.receive(1, 0, 0, "one");
    ledger.gap(3);
    ledger.receive(4, 0, 3, "one");
    let found = ledger.findings(&expected(&[4]));
    assert_eq!((found.lost, found.announced), (0, 2));
    assert!(!found.is_clean());
}

#[test]
fn a_gap_without_missing_publications_is_clean() {
    let mut ledger = Ledger::default();
    ledger.receive(1, 0, 0, "one");
    ledger.gap(1);
    ledger.receive(2, 0, 1, "one");
    assert!(ledger.findings(&expected(&[2])).is_clean());
}

#[test]
fn a_gap_withdraws_messages_missing_in_a_restored_backup() {
    let mut ledger = Ledger::default();
    for number in 0..4 {
        ledger.receive(number + 1, 0, number, "one");
    }
    ledger.gap(2);
    ledger.receive(3, 0, 4, "one");
    let mut expected = expected(&[5]);
    assert_eq!(
        ledger.findings(&expected).lost,
        2,
        "nobody restored anything"
    );
    expected.discarded.push((0, [2, 3].into()));
    let found = ledger.findings(&expected);
    assert!(found.is_clean(), "{found:?}");
    assert_eq!((found.discarded, found.received), (2, 3));
}

#[test]
fn another_publication_at_an_offset_that_was_received_is_unannounced_without_a_gap() {
    let mut ledger = Ledger::default();
    ledger.receive(1, 0, 0, "one");
    ledger.receive(2, 0, 1, "one");
    ledger.receive(2, 0, 2, "one");
    let found = ledger.findings(&expected(&[3]));
    assert_eq!(found.unannounced, 1);
    assert!(!found.is_clean());
}

#[test]
fn a_skipped_offset_is_unannounced_without_a_gap() {
    let mut ledger = Ledger::default();
    ledger.receive(1, 0, 0, "one");
    ledger.receive(3, 0, 1, "one");
    assert_eq!(ledger.findings(&expected(&[2])).unannounced, 1);
}

#[test]
fn a_different_order_has_a_different_sum() {
    let (mut one, mut other) = (Ledger::default(), Ledger::default());
    for ((a, b), offset) in [(0, 1), (1, 0)].into_iter().zip(1..) {
        one.receive(offset, a, 0, "one");
        other.receive(offset, b, 0, "one");
    }
    assert_ne!(one.order(), other.order());
    let expected = expected(&[1, 1]);
    assert!(one.findings(&expected).is_clean() && other.findings(&expected).is_clean());
}

#[test]
fn duplicates_by_another_session_are_counted_separately_up_to_the_number_of_lost_sessions() {
    let mut ledger = Ledger::default();
    let sessions = ["one", "two", "two", "three"];
    for (session, offset) in sessions.into_iter().zip(1..) {
        ledger.receive(offset, 0, 0, session);
    }
    let mut expected = expected(&[1]);
    let found = ledger.findings(&expected);
    assert_eq!(
        (found.duplicated, found.anew),
        (3, 0),
        "no session was lost"
    );
    expected.sessions_lost = 1;
    let found = ledger.findings(&expected);
    assert_eq!((found.duplicated, found.anew), (2, 1));
    expected.sessions_lost = 2;
    let found = ledger.findings(&expected);
    assert_eq!(
        (found.duplicated, found.anew),
        (1, 2),
        "twice by one session"
    );
    assert!(!found.is_clean());
}
