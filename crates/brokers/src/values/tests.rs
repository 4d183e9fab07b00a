use std::time::Duration;

use super::*;

fn rule(count: u64, bytes: u64, age: Option<u64>) -> State {
    State {
        count,
        bytes,
        age: age.map(Duration::from_millis),
    }
}

/// Four values of ten bytes, of which "a" is the oldest.
fn four() -> Values<u8> {
    let mut values = Values::default();
    for (n, key) in (1..).zip(["b", "a", "b", "c", "d"]) {
        values.set(n, key, (10, n * 100), n as u8);
    }
    values
}

fn kept(values: &Values<u8>) -> Vec<u8> {
    values.iter().copied().collect()
}

#[test]
fn the_oldest_values_go_until_every_limit_holds() {
    assert_eq!(kept(&four()), [2, 3, 4, 5]);
    for (rule, expected) in [
        (rule(4, 40, None), &[2, 3, 4, 5][..]),
        (rule(3, 40, None), &[3, 4, 5]),
        (rule(4, 39, None), &[3, 4, 5]),
        (rule(4, 20, None), &[4, 5]),
        (rule(9, 99, Some(700)), &[3, 4, 5]),
        (rule(9, 99, Some(701)), &[3, 4, 5]),
        (rule(9, 99, Some(800)), &[2, 3, 4, 5]),
        (rule(0, 99, None), &[]),
    ] {
        let mut values = four();
        let gone = values.trim(&rule, 1_000);
        assert_eq!(kept(&values), expected, "{rule:?}");
        assert_eq!(gone.len() + expected.len(), 4);
        assert_eq!(values.weight(1), 11 * expected.len());
        assert_eq!(values.is_empty(), expected.is_empty());
    }
}

#[test]
fn a_value_that_is_removed_or_replaced_takes_no_room() {
    let mut values = four();
    assert!(values.remove("a"));
    assert!(!values.remove("a") && !values.remove("x"));
    assert_eq!((kept(&values), values.weight(0)), (vec![3, 4, 5], 30));
    values.set(6, "b", (5, 600), 6);
    assert_eq!((kept(&values), values.weight(2)), (vec![4, 5, 6], 25 + 6));
    for left in [2, 1, 0] {
        assert!(values.drop_oldest());
        assert_eq!(kept(&values).len(), left);
    }
    assert!(!values.drop_oldest());
    assert_eq!(values.weight(9), 0);
    assert!(!values.remove("b"), "its key is gone, too");
}
