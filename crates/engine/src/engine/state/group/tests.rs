use super::*;
use crate::{channel_name::ChannelName, publication::Key};

fn at(offset: u64) -> Position {
    Position::new(1, offset)
}

fn group() -> Group {
    let name = ShareName {
        target: ChannelName::new("a").unwrap().into(),
        group: Key::new("workers").unwrap(),
    };
    let feed = Slot {
        index: 1,
        generation: 1,
    };
    let mut group = Group::new(name, feed, at(0));
    for offset in [3, 5, 7] {
        group.claimed.insert(offset, (at(offset), 1));
    }
    group.claimed_to = at(7);
    group
}

#[test]
fn of_several_places_to_go_back_to_the_first_one_counts() {
    let mut group = group();
    for (place, back_to) in [(5, 5), (3, 3), (7, 3), (3, 3)] {
        group.goes_back_to(at(place));
        assert_eq!(group.back_to, Some(at(back_to)));
    }
}

#[test]
fn what_was_claimed_of_a_stream_that_was_replaced_is_claimed_no_more() {
    let mut group = group();
    group.diverged(at(5));
    assert_eq!(group.claimed_to, at(5));
    assert!(group.knows(at(5)) && !group.knows(at(6)) && !group.knows(at(7)));
    assert_eq!(group.take_passed(at(5)), [at(3)]);
    assert_eq!(group.take_passed(at(5)), []);
    assert_eq!(group.take_claimed(), [at(5)]);
    assert_eq!(group.take_claimed(), []);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the one instant this test counts from"
)]
fn a_group_is_kept_for_the_member_that_needs_it_longest() {
    let (mut group, start) = (group(), Instant::now());
    let seconds = Duration::from_secs;
    assert_eq!(group.kept_after(start, Duration::ZERO), Duration::ZERO);
    assert_eq!(group.kept_after(start, seconds(60)), seconds(60));
    let later = start + seconds(20);
    assert_eq!(group.kept_after(later, seconds(10)), seconds(40));
    assert_eq!(group.kept_after(later, seconds(50)), seconds(50));
    assert_eq!(
        group.kept_after(start + seconds(90), Duration::ZERO),
        Duration::ZERO
    );
    assert_eq!(group.kept_after(start, Duration::MAX), Duration::MAX);
}

#[test]
fn a_member_finishes_what_it_was_handed_one_by_one_or_all_up_to_one() {
    let share = Share {
        group: Key::new("workers").unwrap(),
        keep: Duration::ZERO,
    };
    let mut shared = Shared::new(share, 4);
    for offset in [5, 6, 2, 7] {
        assert!(shared.room() > 0);
        shared.hand_out(at(offset));
    }
    assert_eq!(shared.room(), 0);
    assert_eq!(shared.finish(at(8), false), None);
    assert_eq!(shared.finish(at(6), false), Some(vec![at(6)]));
    assert_eq!(shared.finish(at(6), false), Some(vec![]));
    assert_eq!(shared.finish(at(2), true), Some(vec![at(5), at(2)]));
    assert_eq!(shared.finish(at(7), true), Some(vec![at(7)]));
    assert_eq!(shared.finish(at(7), true), Some(vec![]));
    assert_eq!(shared.room(), 4);
    shared.hand_out(at(9));
    assert_eq!((shared.take_all(), shared.room()), (vec![at(9)], 4));
}
