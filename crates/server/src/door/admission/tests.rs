use std::time::Duration;

use super::*;

fn limits(max: usize, max_per_address: Option<usize>) -> Connections {
    Connections {
        max,
        max_per_address,
        handshakes_per_second: 10,
        handshake_burst: 3,
        ..Connections::default()
    }
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

#[test]
fn one_too_many_is_told_so_and_a_place_that_is_left_is_free() {
    let admission = Admission::new(&limits(2, None), Instant::now());
    let first = admission.take(HERE).unwrap();
    let second = admission.take(HERE).unwrap();
    assert!(!first.is_over() && !second.is_over());
    assert!(admission.take(HERE).unwrap().is_over());
    drop(first);
    assert!(!admission.take(HERE).unwrap().is_over());
    assert_eq!(admission.open(), 1);
}

#[test]
fn a_flood_is_not_even_heard() {
    let admission = Admission::new(&limits(0, Some(1)), Instant::now());
    let told: Vec<_> = (0..TOLD).map(|_| admission.take(HERE).unwrap()).collect();
    assert!(admission.take(HERE).is_none());
    drop(told);
    assert_eq!(admission.open(), 0);
    assert!(lock(&admission.addresses).is_empty());
}

#[test]
fn one_address_has_so_many_and_others_have_theirs() {
    let admission = Admission::new(&limits(100, Some(1)), Instant::now());
    let first = admission.take(HERE).unwrap();
    assert!(admission.take(HERE).unwrap().is_over());
    assert!(!admission.take(THERE).unwrap().is_over());
    drop(first);
    assert!(!admission.take(HERE).unwrap().is_over());
}

#[test]
fn handshakes_come_in_a_burst_and_then_at_their_rate() {
    let start = Instant::now();
    let admission = Admission::new(&limits(100, None), start);
    let at = |ms| admission.handshake(start + Duration::from_millis(ms));
    assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
    assert_eq!([at(99), at(100), at(100)], [false, true, false]);
    // Never more than the burst, however long it was quiet.
    let after: Vec<_> = (0..4).map(|_| at(60_000)).collect();
    assert_eq!(after, [true, true, true, false]);
}
