use super::*;

fn findings(numbers: &[(usize, u64)], published: &[u64]) -> Findings {
    let mut ledger = Ledger::default();
    for (publisher, number) in numbers {
        ledger.receive(*publisher, *number);
    }
    ledger.findings(published)
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
fn what_a_gap_told_of_is_not_lost_but_not_clean_either() {
    let mut ledger = Ledger::default();
    ledger.receive(0, 0);
    ledger.gap(Some(2));
    ledger.receive(0, 3);
    let found = ledger.findings(&[4]);
    assert_eq!((found.lost, found.told), (0, 2));
    assert!(!found.is_clean());
}

#[test]
fn another_order_is_another_sum() {
    let (mut one, mut other) = (Ledger::default(), Ledger::default());
    for (a, b) in [(0, 1), (1, 0)] {
        one.receive(a, 0);
        other.receive(b, 0);
    }
    assert_ne!(one.order(), other.order());
    assert!(one.findings(&[1, 1]).is_clean() && other.findings(&[1, 1]).is_clean());
}
