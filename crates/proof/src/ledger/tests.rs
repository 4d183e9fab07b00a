use super::*;

fn findings(numbers: &[(usize, u64)], published: &[u64]) -> Findings {
    let mut ledger = Ledger::default();
    for ((publisher, number), offset) in numbers.iter().zip(1..) {
        ledger.receive(offset, *publisher, *number);
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
fn everything_once_in_order_is_clean_however_publishers_mix() {
    let found = findings(&[(1, 0), (0, 0), (1, 1), (0, 1)], &[2, 2]);
    assert!(found.is_clean());
    assert_eq!(found.received, 4);
}

#[test]
fn a_hole_and_a_tail_that_never_came_are_lost() {
    assert_eq!(findings(&[(0, 0), (0, 2)], &[3]).lost, 1);
    assert_eq!(findings(&[(0, 0)], &[3]).lost, 2);
    assert_eq!(findings(&[], &[3, 1]).lost, 4);
}

#[test]
fn what_comes_again_is_duplicated_and_what_comes_late_is_reordered() {
    let found = findings(&[(0, 0), (0, 0), (0, 1), (0, 0)], &[2]);
    assert_eq!((found.duplicated, found.lost, found.reordered), (2, 0, 0));
    let found = findings(&[(0, 1), (0, 0), (0, 2)], &[3]);
    assert_eq!((found.duplicated, found.lost, found.reordered), (0, 0, 1));
}

#[test]
fn what_a_gap_announced_is_not_lost_but_not_clean_either() {
    let mut ledger = Ledger::default();
    ledger.receive(1, 0, 0);
    ledger.gap(3);
    ledger.receive(4, 0, 3);
    let found = ledger.findings(&expected(&[4]));
    assert_eq!((found.lost, found.announced), (0, 2));
    assert!(!found.is_clean());
}

#[test]
fn a_gap_without_missing_publications_is_clean() {
    let mut ledger = Ledger::default();
    ledger.receive(1, 0, 0);
    ledger.gap(1);
    ledger.receive(2, 0, 1);
    assert!(ledger.findings(&expected(&[2])).is_clean());
}

#[test]
fn what_a_restored_backup_does_not_have_is_taken_back_by_a_gap() {
    let mut ledger = Ledger::default();
    for number in 0..4 {
        ledger.receive(number + 1, 0, number);
    }
    ledger.gap(2);
    ledger.receive(3, 0, 4);
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
    ledger.receive(1, 0, 0);
    ledger.receive(2, 0, 1);
    ledger.receive(2, 0, 2);
    let found = ledger.findings(&expected(&[3]));
    assert_eq!(found.unannounced, 1);
    assert!(!found.is_clean());
}

#[test]
fn a_skipped_offset_is_unannounced_without_a_gap() {
    let mut ledger = Ledger::default();
    ledger.receive(1, 0, 0);
    ledger.receive(3, 0, 1);
    assert_eq!(ledger.findings(&expected(&[2])).unannounced, 1);
}

#[test]
fn another_order_is_another_sum() {
    let (mut one, mut other) = (Ledger::default(), Ledger::default());
    for ((a, b), offset) in [(0, 1), (1, 0)].into_iter().zip(1..) {
        one.receive(offset, a, 0);
        other.receive(offset, b, 0);
    }
    assert_ne!(one.order(), other.order());
    let expected = expected(&[1, 1]);
    assert!(one.findings(&expected).is_clean() && other.findings(&expected).is_clean());
}
