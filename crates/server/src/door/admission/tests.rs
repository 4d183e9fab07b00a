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
fn a_connection_above_the_limit_is_refused_and_a_closed_one_frees_its_place() {
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
fn connections_far_above_the_limit_are_dropped_without_an_answer() {
    let admission = Admission::new(&limits(0, Some(1)), Instant::now());
    let told: Vec<_> = (0..TOLD).map(|_| admission.take(HERE).unwrap()).collect();
    assert!(admission.take(HERE).is_none());
    drop(told);
    assert_eq!(admission.open(), 0);
    assert!(lock(&admission.addresses).is_empty());
}

#[test]
fn connections_are_limited_per_address() {
    let admission = Admission::new(&limits(100, Some(1)), Instant::now());
    let first = admission.take(HERE).unwrap();
    assert!(admission.take(HERE).unwrap().is_over());
    assert!(!admission.take(THERE).unwrap().is_over());
    drop(first);
    assert!(!admission.take(HERE).unwrap().is_over());
}

#[test]
fn a_connection_counts_for_its_address_once_and_only_after_the_address_was_validated() {
    let admission = Admission::new(&limits(100, Some(1)), Instant::now());
    let mut forged = admission.take_unvalidated(HERE).unwrap();
    let first = admission.take(HERE).unwrap();
    assert!(!forged.is_over() && !first.is_over());
    forged.count_address();
    assert!(forged.is_over());
    forged.count_address();
    drop((forged, first));
    assert!(lock(&admission.addresses).is_empty());
}

#[test]
fn the_addresses_of_one_ipv6_network_count_as_one() {
    let admission = Admission::new(&limits(100, Some(1)), Instant::now());
    let one: IpAddr = "2001:db8::1".parse().unwrap();
    let neighbour: IpAddr = "2001:db8::ffff:2".parse().unwrap();
    let elsewhere: IpAddr = "2001:db8:0:1::1".parse().unwrap();
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
    let first = admission.take(one).unwrap();
    assert!(admission.take(neighbour).unwrap().is_over());
    assert!(!admission.take(elsewhere).unwrap().is_over());
    let fourth = admission.take(mapped).unwrap();
    assert!(admission.take(THERE).unwrap().is_over());
    drop((first, fourth));
    assert!(lock(&admission.addresses).is_empty());
}

#[test]
fn handshakes_come_in_a_burst_and_then_at_their_rate() {
    let start = Instant::now();
    let admission = Admission::new(&limits(100, None), start);
    let at = |ms| admission.handshake(HERE, start + Duration::from_millis(ms));
    assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
    assert_eq!([at(99), at(100), at(100)], [false, true, false]);
    // Never more than the burst, however long the pause was.
    let after: Vec<_> = (0..4).map(|_| at(60_000)).collect();
    assert_eq!(after, [true, true, true, false]);
}

/// Before this was fixed, an honest client succeeded 4 times in 20.
#[test]
fn an_address_that_uses_up_its_handshakes_does_not_affect_others() {
    let start = Instant::now();
    let limits = Connections {
        handshakes_per_second: 100,
        handshake_burst: 100,
        ..Connections::default()
    };
    let admission = Admission::new(&limits, start);
    let mut flood = 0;
    for ms in 0..20_000 {
        let now = start + Duration::from_millis(ms);
        for _ in 0..10 {
            flood += u32::from(admission.handshake(HERE, now));
        }
        if ms % 1000 == 999 {
            assert!(admission.handshake(THERE, now), "{ms} ms");
        }
    }
    // The burst, 20 s of the rate, and at most one share of the reserve per second.
    assert!((2_000..2_700).contains(&flood), "{flood}");
}

#[test]
fn all_addresses_of_one_ipv6_customer_count_as_one() {
    let start = Instant::now();
    let admission = Admission::new(&limits(100, None), start);
    let of = |n: u16| IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, n));
    let got = (0..100)
        .filter(|n| admission.handshake(of(*n), start))
        .count();
    assert_eq!(got, 3, "the burst, and no newcomer's share for each");
    assert!(admission.handshake(THERE, start));
}

#[test]
fn retry_after_grows_with_the_number_of_refused_clients() {
    let start = Instant::now();
    let admission = Admission::new(&limits(100, None), start);
    assert_eq!(admission.come_back(start), (2, 7));
    for _ in 0..203 {
        admission.handshake(HERE, start);
    }
    // 200 were refused, and ten per second are let in.
    assert_eq!(admission.come_back(start), (2, 40));
    let later = start + Duration::from_secs(5);
    assert_eq!(admission.come_back(later), (2, 7));
}

#[test]
fn a_certificate_is_that_of_its_connection_even_when_numbers_begin_again() {
    let admission = Admission::new(&limits(10, None), Instant::now());
    let user = |place: &Place| {
        place
            .certified(0)
            .map(|known| known.identity.user.to_string())
    };
    let mut old = admission.take(HERE).unwrap();
    old.certify(Identity::user("ann"));
    // As after 2^32 connections.
    admission.next.store(old.number, Ordering::Relaxed);
    let mut new = admission.take(HERE).unwrap();
    assert_eq!(new.number, old.number);
    assert_eq!(user(&new), None);
    new.certify(Identity::user("ben"));
    assert_eq!(user(&old).as_deref(), Some("ann"));
    assert_eq!(user(&new).as_deref(), Some("ben"));
    drop(new);
    assert_eq!(user(&old).as_deref(), Some("ann"));
    drop(old);
    assert!(lock(&admission.certified).is_empty());
}
