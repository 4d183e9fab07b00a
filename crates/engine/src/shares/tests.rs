//! The places of groups, one broker's worth of them.

use super::*;
use crate::{channel_name::ChannelName, filter::Filter, publication::Key};

const NO_KEEP: Duration = Duration::ZERO;
const HOUR: Duration = Duration::from_secs(3600);
/// A time of day.
const NOW_MS: u64 = 1_000_000_000;

fn name() -> ShareName {
    ShareName {
        target: ChannelName::new("jobs").unwrap().into(),
        group: Key::new("workers").unwrap(),
    }
}

fn at(offset: u64) -> Position {
    Position::new(1, offset)
}

fn places(offsets: impl IntoIterator<Item = u64>) -> Vec<Position> {
    offsets.into_iter().map(at).collect()
}

/// A group of two workers that has processed everything up to 10.
fn two() -> Shares<u8> {
    let mut shares = Shares::default();
    for worker in [1, 2] {
        let next = shares.join(&name(), worker, (at(10), NO_KEEP), None);
        assert_eq!(next, Ok(at(10)));
    }
    shares
}

fn claim(shares: &mut Shares<u8>, worker: u8, after: u64, offsets: &[u64]) -> Vec<(u64, u16)> {
    let places = places(offsets.iter().copied());
    let claimed = shares.claim(&name(), worker, at(after), &places);
    let short = |claim: Claim| (claim.place.offset, claim.deliveries);
    claimed.claims.into_iter().map(short).collect()
}

#[test]
fn a_publication_is_claimed_by_one_worker_only() {
    let mut shares = two();
    assert_eq!(claim(&mut shares, 1, 10, &[11, 12]), [(11, 1), (12, 1)]);
    assert_eq!(claim(&mut shares, 2, 10, &[11, 12, 13]), [(13, 1)]);
    // What precedes the group was processed before it.
    assert_eq!(claim(&mut shares, 2, 8, &[9, 10]), []);
}

#[test]
fn what_is_returned_wakes_every_worker_and_is_counted_when_it_is_claimed_again() {
    let mut shares = two();
    claim(&mut shares, 1, 10, &[11, 12, 13]);
    let woken = shares.give_back(&name(), 1, &places([12]), true);
    assert_eq!(woken, [(1, at(11)), (2, at(11))]);
    assert_eq!(claim(&mut shares, 2, 11, &[12, 13]), [(12, 2)]);
    // It was never delivered: that is no attempt.
    let woken = shares.give_back(&name(), 1, &places([13]), false);
    assert_eq!(woken.len(), 2);
    assert_eq!(claim(&mut shares, 2, 12, &[13]), [(13, 1)]);
}

#[test]
fn only_the_worker_that_claimed_a_publication_can_end_or_return_it() {
    let mut shares = two();
    claim(&mut shares, 1, 10, &[11]);
    assert_eq!(shares.done(&name(), 2, &places([11])), []);
    assert_eq!(shares.give_back(&name(), 2, &places([11]), true), []);
    let woken = shares.give_back(&name(), 1, &places([11]), true);
    assert_eq!(woken.len(), 2);
    assert_eq!(shares.done(&name(), 1, &places([11])), []);
    assert_eq!(claim(&mut shares, 2, 10, &[11]), [(11, 2)]);
    assert_eq!(shares.done(&name(), 2, &places([11])), []);
    assert_eq!(claim(&mut shares, 1, 10, &[11]), []);
}

#[test]
fn a_worker_that_leaves_or_dies_returns_what_it_claimed() {
    let mut shares = two();
    claim(&mut shares, 1, 10, &[11]);
    claim(&mut shares, 2, 11, &[12]);
    let (woken, saved) = shares.leave(&name(), 1, NO_KEEP, 0);
    assert_eq!((woken, saved), (vec![(2, at(10))], None));
    assert_eq!(claim(&mut shares, 2, 10, &[11, 12]), [(11, 2)]);
    let next = shares.join(&name(), 1, (at(12), NO_KEEP), None);
    assert_eq!(next, Ok(at(12)));
    let (woken, saved) = shares.worker_gone(2, 0);
    assert_eq!(woken, [(name(), vec![(1, at(10))])]);
    assert_eq!(saved, []);
    assert_eq!(claim(&mut shares, 1, 10, &[11, 12]), [(11, 3), (12, 2)]);
}

#[test]
fn a_group_that_is_kept_continues_where_it_was() {
    let mut shares = two();
    claim(&mut shares, 1, 10, &[11, 12, 13]);
    assert_eq!(shares.done(&name(), 1, &places([11, 13])), []);
    let (_, saved) = shares.leave(&name(), 1, HOUR, 0);
    assert_eq!(saved, None, "the other worker has members");
    let (_, saved) = shares.leave(&name(), 2, NO_KEEP, 1_000);
    let SavedShare { id, state } = saved.unwrap();
    let (bytes, left) = state.expect("an hour is not over");
    assert_eq!(id, name().saved_as());
    assert_eq!(left, HOUR - Duration::from_secs(1));

    let mut later = Shares::default();
    let next = later.join(&name(), 7, (at(99), NO_KEEP), Some(&bytes));
    assert_eq!(next, Ok(at(11)));
    assert_eq!(claim(&mut later, 7, 11, &[12, 13, 14]), [(12, 2), (14, 1)]);
    // The hour of the first member still counts.
    let (_, saved) = later.leave(&name(), 7, NO_KEEP, 2_000);
    assert!(saved.unwrap().state.is_some());
}

#[test]
fn a_group_that_is_not_kept_ends_with_its_last_member() {
    let mut shares = two();
    let (_, saved) = shares.leave(&name(), 1, NO_KEEP, 0);
    assert_eq!(saved, None);
    let (_, saved) = shares.leave(&name(), 2, NO_KEEP, 0);
    assert_eq!(saved.unwrap().state, None);
    assert!(!shares.knows(&name()));
}

#[test]
fn the_state_of_another_group_is_not_used() {
    let mut shares = two();
    shares.join(&name(), 1, (at(0), HOUR), None).unwrap();
    let (bytes, _) = shares.unsaved(NOW_MS).remove(0).state.unwrap();
    assert_eq!(shares.unsaved(NOW_MS), [], "nothing changed");
    let other = ShareName {
        target: Filter::new("jobs").unwrap().into(),
        ..name()
    };
    assert_ne!(other.saved_as(), name().saved_as());
    let next = Shares::default().join(&other, 1, (at(3), NO_KEEP), Some(&bytes));
    assert_eq!(next, Ok(at(3)));
    for cut in 0..bytes.len() {
        let part = bytes.slice(..cut);
        let next = Shares::default().join(&name(), 1, (at(3), NO_KEEP), Some(&part));
        assert_eq!(next, Ok(at(3)), "{cut} bytes");
    }
}

#[test]
fn a_stream_that_goes_on_elsewhere_is_claimed_again_from_there() {
    let mut shares = two();
    claim(&mut shares, 1, 10, &[11, 12, 13]);
    assert_eq!(
        shares.give_back(&name(), 1, &places([11, 13]), true).len(),
        2
    );
    // An older copy of the log, with everything up to 11, was restored.
    let other: Vec<_> = [12, 13].map(|offset| Position::new(2, offset)).into();
    let Claimed { claims, next, .. } = shares.claim(&name(), 2, at(11), &other);
    assert_eq!(
        next,
        at(10),
        "what was returned before is still to be claimed"
    );
    let expected = other.iter().map(|place| Claim {
        place: *place,
        deliveries: 1,
    });
    assert!(claims.iter().copied().eq(expected), "{claims:?}");
    assert_eq!(shares.done(&name(), 1, &places([12])), []);
    assert_eq!(claim(&mut shares, 2, 10, &[11]), [(11, 2)]);
    // A worker that still reads the old stream gets nothing.
    assert_eq!(claim(&mut shares, 1, 13, &[14]), []);
}

#[test]
fn a_group_that_begins_with_older_epochs_gets_their_publications() {
    let mut shares = Shares::default();
    // "From the start" is named in the newest epoch.
    let start = (Position::new(7, 0), NO_KEEP);
    shares.join(&name(), 1, start, None).unwrap();
    let places = [(3, 1), (3, 2), (7, 3)].map(|(epoch, offset)| Position::new(epoch, offset));
    let claims = shares.claim(&name(), 1, start.0, &places).claims;
    assert_eq!(claims.len(), 3);
}

#[test]
fn the_order_of_a_filter_keeps_its_places_in_a_new_epoch() {
    let name = ShareName {
        target: Filter::new("jobs/#").unwrap().into(),
        ..name()
    };
    let mut shares = Shares::default();
    shares.join(&name, 1, (at(10), HOUR), None).unwrap();
    let claims = shares.claim(&name, 1, at(10), &places([12, 15])).claims;
    assert_eq!(claims.len(), 2);
    assert_eq!(shares.done(&name, 1, &places([12])), []);
    let (bytes, _) = shares.unsaved(NOW_MS).remove(0).state.unwrap();
    let mut later = Shares::default();
    later.join(&name, 1, (at(0), HOUR), Some(&bytes)).unwrap();
    let now: Vec<_> = [12, 15, 17].map(|offset| Position::new(2, offset)).into();
    let claims = later.claim(&name, 1, Position::new(2, 10), &now).claims;
    let offsets: Vec<_> = claims.iter().map(|claim| claim.place.offset).collect();
    assert_eq!(offsets, [15, 17]);
    assert_eq!(later.done(&name, 1, &now), []);
    assert_eq!(later.claim(&name, 1, Position::new(2, 10), &now).claims, []);
}

#[test]
fn a_stream_that_differs_only_in_its_newest_publication_is_claimed_again_from_there() {
    let mut shares = two();
    claim(&mut shares, 1, 10, &[11, 12]);
    assert_eq!(shares.give_back(&name(), 1, &places([12]), true).len(), 2);
    let other = Position::new(2, 12);
    let claimed = shares.claim(&name(), 2, at(11), &[other]);
    let deliveries = 1;
    let place = other;
    assert_eq!(claimed.claims, [Claim { place, deliveries }]);
    assert_eq!(claimed.next, other, "nothing of the old stream is left");
}

#[test]
fn a_group_is_saved_if_something_was_claimed_since() {
    let mut shares = two();
    shares.join(&name(), 1, (at(10), HOUR), None).unwrap();
    assert_eq!(shares.unsaved(NOW_MS).len(), 1);
    // A worker asks whether there is anything: nothing changes.
    assert_eq!(claim(&mut shares, 1, 10, &[]), []);
    assert_eq!(shares.unsaved(NOW_MS), []);
    assert_eq!(claim(&mut shares, 1, 10, &[11]), [(11, 1)]);
    assert_eq!(shares.unsaved(NOW_MS).len(), 1);
    // A place that is not after the worker's own is no error.
    assert_eq!(claim(&mut shares, 1, 11, &[11]), []);
}

#[test]
fn open_publications_and_groups_have_a_weight() {
    assert_eq!(Shares::<u8>::default().weight(), 0);
    let mut shares = two();
    assert_eq!(shares.weight(), 512);
    claim(&mut shares, 1, 10, &[11, 12, 13]);
    assert_eq!(shares.weight(), 512 + 3 * 64);
}

#[test]
fn what_was_returned_and_is_not_retained_any_more_is_forgotten() {
    let mut shares = two();
    claim(&mut shares, 1, 10, &[11, 12, 13, 14]);
    let woken = shares.give_back(&name(), 1, &places([11, 12, 13]), true);
    assert_eq!(woken[0].1, at(10));
    let claimed = shares.claim(&name(), 2, at(10), &places([13, 14]));
    assert_eq!(claimed.claims.len(), 1);
    assert_eq!(
        claimed.next,
        at(14),
        "nothing is left to claim before the cursor"
    );
    // Nothing lies between these.
    let claimed = shares.claim(&name(), 2, at(14), &places([14]));
    assert_eq!((claimed.claims.len(), claimed.next), (0, at(14)));
}

#[test]
fn beyond_the_limit_nothing_new_is_claimed_until_something_is_processed() {
    let mut shares = two();
    let open = OPEN as u64;
    let all = places(11..=10 + open + 1);
    let claimed = shares.claim(&name(), 1, at(10), &all);
    assert_eq!((claimed.claims.len(), claimed.full), (OPEN, true));
    assert_eq!(claimed.next, at(10 + open));
    assert_eq!(claim(&mut shares, 2, 10 + open, &[11 + open]), []);
    let woken = shares.done(&name(), 1, &places([11]));
    assert_eq!(woken, [(1, at(10 + open)), (2, at(10 + open))]);
    assert_eq!(claim(&mut shares, 2, 10 + open, &[11 + open]).len(), 1);
}

#[test]
fn groups_are_limited() {
    let mut shares = Shares::default();
    let numbered = |n: usize| ShareName {
        group: Key::new(&n.to_string()).unwrap(),
        ..name()
    };
    for n in 0..GROUPS {
        assert!(shares.join(&numbered(n), 1, (at(0), NO_KEEP), None).is_ok());
    }
    let more = shares.join(&numbered(GROUPS), 1, (at(0), NO_KEEP), None);
    assert_eq!(more, Err(TooManyShares));
    let (_, saved) = shares.leave(&numbered(0), 1, NO_KEEP, 0);
    assert_eq!(saved.unwrap().state, None);
    let more = shares.join(&numbered(GROUPS), 1, (at(0), NO_KEEP), None);
    assert!(more.is_ok());
}

#[test]
fn of_many_large_groups_some_are_saved_at_a_time_and_none_is_forgotten() {
    let mut shares = Shares::default();
    let numbered = |n: u64| ShareName {
        group: Key::new(&n.to_string()).unwrap(),
        ..name()
    };
    let all = places(1..=20_000);
    for n in 0..6 {
        shares.join(&numbered(n), 1, (at(0), HOUR), None).unwrap();
        assert_eq!(
            shares.claim(&numbered(n), 1, at(0), &all).claims.len(),
            20_000
        );
    }
    let mut saved = BTreeSet::new();
    for _ in 0..2 {
        let round = shares.unsaved(NOW_MS);
        let bytes: usize = round
            .iter()
            .map(|one| one.state.as_ref().unwrap().0.len())
            .sum();
        assert!(bytes < 2 * SAVED_AT_ONCE, "{bytes} bytes");
        saved.extend(round.into_iter().map(|one| one.id));
        // All groups change all the time.
        for n in 0..6 {
            let _nobody_waits = shares.done(&numbered(n), 1, &places([1]));
        }
    }
    assert_eq!(saved, (0..6).map(|n| numbered(n).saved_as()).collect());
}

#[test]
fn a_saved_group_is_told_from_the_state_of_a_session() {
    let mut shares = two();
    shares.join(&name(), 1, (at(0), HOUR), None).unwrap();
    let SavedShare { id, state } = shares.unsaved(NOW_MS).remove(0);
    let (bytes, _) = state.unwrap();
    assert!(is_saved_share(id, &bytes));
    assert!(!is_saved_share(SessionId::from_bytes([1; 16]), &bytes));
    assert!(!is_saved_share(id, &bytes[..8]));
    assert!(!is_saved_share(id, b"anything else"));
}

#[test]
fn a_group_with_members_is_saved_again_before_its_stored_state_expires() {
    let mut shares = two();
    shares.join(&name(), 1, (at(0), HOUR), None).unwrap();
    let kept = |saved: &[SavedShare]| saved[0].state.as_ref().unwrap().1;
    let saved = shares.unsaved(NOW_MS);
    assert_eq!(kept(&saved), HOUR + WHILE_SERVED);
    let half = u64::try_from(WHILE_SERVED.as_millis() / 2).unwrap();
    assert_eq!(shares.unsaved(NOW_MS + half - 1), [], "it is not due yet");
    assert_eq!(
        shares.unsaved(NOW_MS + half).len(),
        1,
        "nothing has changed"
    );
    assert_eq!(shares.unsaved(NOW_MS + half), []);
    // The clock was set back.
    assert_eq!(shares.unsaved(NOW_MS - half).len(), 1);
}

#[test]
fn a_group_that_is_kept_for_an_absent_member_is_saved_while_others_serve_it() {
    let mut shares = two();
    shares.join(&name(), 1, (at(0), HOUR), None).unwrap();
    let (_, saved) = shares.leave(&name(), 1, HOUR, NOW_MS);
    // `two` has another worker with a member.
    assert_eq!(saved, None);
    let (_, saved) = shares.leave(&name(), 2, NO_KEEP, NOW_MS);
    let (bytes, _) = saved.unwrap().state.unwrap();
    let mut later = Shares::default();
    later
        .join(&name(), 1, (at(0), NO_KEEP), Some(&bytes))
        .unwrap();
    let minute = 60_000;
    let saved = later.unsaved(NOW_MS + minute);
    let kept = saved[0].state.as_ref().unwrap().1;
    assert_eq!(kept, HOUR - Duration::from_millis(minute) + WHILE_SERVED);
}
