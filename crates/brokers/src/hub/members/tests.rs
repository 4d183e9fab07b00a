use super::*;

const LEASE: Duration = Duration::from_secs(30);
const ONE: WorkerId = WorkerId(1);
const TWO: WorkerId = WorkerId(2);

fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn at(ms: u64) -> Instant {
    start() + Duration::from_millis(ms)
}

fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

fn member(n: u8, user: &str, info: &str) -> Arc<Member> {
    Arc::new(Member {
        session: session(n),
        user: user.into(),
        info: info.to_owned().into(),
    })
}

fn channel() -> ChannelName {
    ChannelName::new("a").unwrap()
}

fn join(members: &mut Members, worker: WorkerId, n: u8, user: &str) -> Option<u32> {
    let joined = members.join(worker, &channel(), member(n, user, "{}"), 1);
    joined.map(|change| {
        assert!(change.joined);
        change.user_sessions
    })
}

fn leave(members: &mut Members, n: u8, grace: Duration) -> Option<u32> {
    let left = members.leave(&channel(), session(n), 1, grace);
    left.map(|change| {
        assert!(!change.joined);
        change.user_sessions
    })
}

impl Members {
    /// A tick, with all its slices.
    fn tick(&mut self, told: Instant) -> Vec<PresenceChange> {
        self.pass(told);
        std::iter::from_fn(|| self.tend()).flatten().collect()
    }
}

/// Ticks every second from one time to another; returns how many left.
fn pass(members: &mut Members, seconds: std::ops::RangeInclusive<u64>) -> usize {
    let all = seconds.flat_map(|second| members.tick(at(second * 1_000)));
    all.filter(|change| !change.joined).count()
}

#[test]
fn users_and_members_without_a_name_are_counted() {
    let mut members = Members::new(start());
    assert_eq!(join(&mut members, ONE, 1, "ann"), Some(1));
    assert_eq!(join(&mut members, ONE, 2, "ann"), Some(2));
    assert_eq!(join(&mut members, ONE, 3, ""), Some(1));
    assert_eq!(join(&mut members, ONE, 4, ""), Some(1));
    assert_eq!(join(&mut members, TWO, 2, "ann"), None, "it is there");
    let counts = |members: &Members| (members.count(&channel()), members.users(&channel()));
    assert_eq!(counts(&members), (4, 3));
    let now = Duration::ZERO;
    assert_eq!(leave(&mut members, 1, now), Some(1));
    assert_eq!(counts(&members), (3, 3));
    assert_eq!(leave(&mut members, 2, now), Some(0));
    assert_eq!(counts(&members), (2, 2));
    assert_eq!(leave(&mut members, 3, now), Some(0));
    assert_eq!(counts(&members), (1, 1));
    assert_eq!(leave(&mut members, 4, now), Some(0));
    assert_eq!(counts(&members), (0, 0));
    assert_eq!(leave(&mut members, 4, now), None);
    assert_eq!(members.weight(), 0);
    assert!(members.channels.is_empty());
}

#[test]
fn a_member_that_joins_as_another_user_counts_for_that_one() {
    let mut members = Members::new(start());
    join(&mut members, ONE, 1, "ann");
    join(&mut members, ONE, 2, "ann");
    join(&mut members, ONE, 2, "bob");
    assert_eq!(members.users(&channel()), 2);
    assert_eq!(leave(&mut members, 1, Duration::ZERO), Some(0));
    assert_eq!(members.users(&channel()), 1);
}

#[test]
fn the_weight_of_members_is_that_of_their_info_and_entries() {
    let mut members = Members::new(start());
    let name = channel();
    members.join(ONE, &name, member(1, "ann", "1234567890"), 1);
    members.join(ONE, &name, member(2, "ann", "12345"), 1);
    assert_eq!(members.weight(), 2 * CLAIM + 15);
    members.join(ONE, &name, member(2, "ann", "1234567"), 2);
    assert_eq!(members.weight(), 2 * CLAIM + 17);
    members.leave(&name, session(1), 1, Duration::ZERO);
    assert_eq!(members.weight(), CLAIM + 7);
}

#[test]
fn a_changed_info_is_told_with_the_next_tick_and_once() {
    let mut members = Members::new(start());
    let name = channel();
    members.join(ONE, &name, member(1, "ann", "1"), 1);
    members.join(ONE, &name, member(2, "ann", "1"), 1);
    members.join(ONE, &name, member(3, "", "1"), 1);
    assert_eq!(members.tick(at(1_000)).len(), 0);
    members.join(ONE, &name, member(1, "ann", "2"), 1);
    members.join(ONE, &name, member(1, "ann", "3"), 1);
    members.join(ONE, &name, member(3, "", "2"), 1);
    // Nothing is different.
    members.join(ONE, &name, member(2, "ann", "1"), 2);
    let told = members.tick(at(2_000)).into_iter();
    let told: Vec<_> = told
        .map(|change| (change.member.info.to_vec(), change.user_sessions))
        .collect();
    assert_eq!(told, [(b"3".to_vec(), 2), (b"2".to_vec(), 1)]);
    assert_eq!(members.tick(at(3_000)).len(), 0);
}

#[test]
fn a_grace_period_begins_with_the_next_tick_and_a_later_leave_begins_it_again() {
    let mut members = Members::new(start());
    let grace = Duration::from_secs(3);
    members.renew(ONE, LEASE);
    join(&mut members, ONE, 1, "ann");
    assert_eq!(leave(&mut members, 1, grace), None);
    assert_eq!(pass(&mut members, 1..=3), 0);
    assert_eq!(members.awaited.len(), 1);
    leave(&mut members, 1, grace);
    assert_eq!(pass(&mut members, 4..=6), 0);
    assert_eq!(members.awaited.len(), 1);
    assert_eq!(pass(&mut members, 7..=7), 1);
    assert_eq!((members.awaited.len(), members.count(&channel())), (0, 0));
}

#[test]
fn a_member_that_returns_is_awaited_no_more() {
    let mut members = Members::new(start());
    let grace = Duration::from_secs(3);
    members.renew(ONE, LEASE);
    // Before its grace period has begun, and after.
    for from in [1, 10] {
        join(&mut members, ONE, 1, "ann");
        leave(&mut members, 1, grace);
        if from == 10 {
            pass(&mut members, 10..=10);
        }
        assert_eq!(join(&mut members, ONE, 1, "ann"), None);
        assert_eq!(pass(&mut members, from + 1..=from + 8), 0);
        assert_eq!(members.awaited.len(), 0);
    }
    assert_eq!(members.count(&channel()), 1);
}

#[test]
fn a_leave_without_grace_ends_the_wait_of_an_earlier_one() {
    let mut members = Members::new(start());
    join(&mut members, ONE, 1, "ann");
    leave(&mut members, 1, LEASE);
    members.tick(at(1_000));
    assert_eq!(leave(&mut members, 1, Duration::ZERO), Some(0));
    assert_eq!(members.awaited.len(), 0);
    assert_eq!(pass(&mut members, 2..=40), 0);
}

#[test]
fn an_older_connection_neither_joins_nor_leaves_for_a_newer_one() {
    let mut members = Members::new(start());
    let name = channel();
    let joins = |members: &mut Members, generation| {
        members.join(ONE, &name, member(1, "ann", "{}"), generation)
    };
    assert!(joins(&mut members, 5).is_some());
    assert!(joins(&mut members, 4).is_none());
    let now = Duration::ZERO;
    assert!(members.leave(&name, session(1), 4, now).is_none());
    assert_eq!(members.count(&name), 1);
    assert!(joins(&mut members, 5).is_none());
    assert!(members.leave(&name, session(1), 5, now).is_some());
}

#[test]
fn a_lease_ends_after_its_time_and_after_enough_ticks_without_a_renewal() {
    let mut members = Members::new(start());
    // A short lease: only missed ticks count.
    assert!(members.renew(ONE, Duration::from_millis(1)));
    // A long one: only its time counts.
    assert!(members.renew(TWO, Duration::from_secs(8)));
    join(&mut members, ONE, 1, "ann");
    join(&mut members, TWO, 2, "bob");
    assert_eq!(pass(&mut members, 1..=u64::from(MISSED_TICKS)), 0);
    assert_eq!(pass(&mut members, 4..=4), 1);
    assert_eq!(pass(&mut members, 5..=7), 0);
    assert_eq!(pass(&mut members, 8..=8), 1);
    assert!(!members.renew(ONE, LEASE), "its members have left");
    assert!(members.renew(ONE, LEASE));
    assert!(!members.renew(TWO, LEASE));
}

#[test]
fn a_renewed_lease_begins_anew() {
    let mut members = Members::new(start());
    members.renew(ONE, Duration::from_secs(1));
    join(&mut members, ONE, 1, "ann");
    for second in [3, 6, 9] {
        assert_eq!(pass(&mut members, second - 2..=second), 0);
        assert!(members.renew(ONE, Duration::from_secs(1)));
    }
    assert_eq!(pass(&mut members, 10..=12), 0);
    assert_eq!(pass(&mut members, 13..=13), 1);
}

#[test]
fn members_of_a_worker_that_stopped_leave_with_the_next_tick_unless_another_claims_them() {
    let mut members = Members::new(start());
    members.renew(ONE, LEASE);
    for n in 1..=3 {
        join(&mut members, ONE, n, "ann");
    }
    // It is awaited already, for longer.
    leave(&mut members, 3, LEASE);
    members.tick(at(1_000));
    members.lease_ended(ONE);
    join(&mut members, TWO, 2, "ann");
    assert_eq!(pass(&mut members, 2..=2), 1);
    assert_eq!(members.count(&channel()), 2);
    assert!(!members.renew(ONE, LEASE));
    members.lease_ended(ONE);
    assert!(members.renew(ONE, LEASE), "nobody needs to be told");
}

#[test]
fn a_late_tick_counts_for_two_seconds() {
    let mut members = Members::new(start());
    members.renew(ONE, LEASE);
    join(&mut members, ONE, 1, "ann");
    leave(&mut members, 1, Duration::from_secs(5));
    members.tick(at(1_000));
    for (second, left) in [(100, 0), (200, 0), (201, 1)] {
        let changes = members.tick(at(second * 1_000));
        assert_eq!(changes.len(), left, "{second}");
    }
    // Time does not run backward.
    members.tick(at(150_000));
    assert_eq!(members.now, at(6_000));
}

#[test]
fn the_table_of_users_is_freed_after_a_peak() {
    let mut there = Present::default();
    let user = |n: u32| Arc::from(n.to_string());
    for n in 0..1_000 {
        there.count_in(&user(n));
    }
    assert_eq!(there.of_user(&user(1)), 1);
    for n in 10..1_000 {
        assert_eq!(there.count_out(&user(n)), 0);
    }
    assert!(there.users.capacity() <= 64, "{}", there.users.capacity());
    assert!(
        there.users.capacity() >= 28,
        "not more often than necessary"
    );
    assert_eq!(there.users.len(), 10);
}

#[test]
fn a_crowd_that_leaves_is_handled_in_slices_between_which_others_get_the_lock() {
    let start = start();
    let mut members = Members::new(start);
    let worker = ONE;
    let channel = channel();
    members.renew(worker, Duration::from_secs(3600));
    let session = |n: usize| SessionId::from_bytes((n as u128).to_be_bytes());
    for n in 0..3 * SLICE {
        let member = Arc::new(Member {
            session: session(n),
            user: "ann".into(),
            info: Default::default(),
        });
        members.join(worker, &channel, member, 1);
        members.leave(&channel, session(n), 1, Duration::from_secs(1));
    }
    let slices = |members: &mut Members| {
        let mut slices = Vec::new();
        while let Some(changes) = members.tend() {
            slices.push(changes.len());
        }
        slices
    };
    members.pass(start + Duration::from_secs(1));
    assert_eq!(slices(&mut members), [0, 0, 0], "their grace begins");
    members.pass(start + Duration::from_secs(2));
    assert_eq!(members.tend().unwrap().len(), SLICE);
    assert_eq!(members.list(&channel, 1).1, 2 * SLICE as u64);
    assert_eq!(slices(&mut members), [SLICE, SLICE], "each leaves once");
    assert_eq!(members.weight(), 0);
}

#[test]
fn the_members_of_a_worker_that_ended_are_searched_for_in_slices() {
    let start = start();
    let mut members = Members::new(start);
    members.renew(ONE, LEASE);
    members.renew(TWO, LEASE);
    let session = |n: usize| SessionId::from_bytes((n as u128).to_be_bytes());
    let name = |n: usize| ChannelName::new(&format!("a/{}", n % 3)).unwrap();
    let join = |members: &mut Members, worker, n| {
        let member = Arc::new(Member {
            session: session(n),
            user: "ann".into(),
            info: Default::default(),
        });
        members.join(worker, &name(n), member, 1)
    };
    // Most are of another worker, so that there is little to tell.
    let all = 3 * SLICE;
    for n in 0..all {
        join(&mut members, if n % 10 == 0 { ONE } else { TWO }, n);
    }
    members.lease_ended(ONE);
    members.pass(start + Duration::from_secs(1));
    assert_eq!(members.awaited.len(), 0, "the search has not begun");
    let (mut slices, mut left) = (0, 0);
    loop {
        let before = members.awaited.len();
        let Some(changes) = members.tend() else {
            break;
        };
        slices += 1;
        left += changes.len();
        assert!(members.awaited.len() <= before + SLICE / 10 + 2);
    }
    assert_eq!((left, members.claims), (all.div_ceil(10), all - left));
    assert!((3..=5).contains(&slices), "{slices}");
    members.pass(start + Duration::from_secs(2));
    assert!(members.tend().is_none(), "the search is over");
}

#[test]
fn a_worker_that_renews_its_lease_during_the_search_keeps_the_members_that_it_claims_again() {
    let start = start();
    let mut members = Members::new(start);
    members.renew(ONE, LEASE);
    let session = |n: usize| SessionId::from_bytes((n as u128).to_be_bytes());
    let join_all = |members: &mut Members, generation| {
        for n in 0..2 * SLICE {
            let member = Arc::new(Member {
                session: session(n),
                user: "ann".into(),
                info: Default::default(),
            });
            members.join(ONE, &channel(), member, generation);
        }
    };
    join_all(&mut members, 1);
    members.lease_ended(ONE);
    members.pass(start + Duration::from_secs(1));
    assert!(members.tend().is_some(), "a part was looked at");
    assert!(members.awaited.len() < 2 * SLICE);
    assert!(!members.renew(ONE, LEASE), "it is told");
    join_all(&mut members, 2);
    while members.tend().is_some() {}
    members.pass(start + Duration::from_secs(2));
    while members.tend().is_some() {}
    assert_eq!(members.count(&channel()), 2 * SLICE as u64);
}
