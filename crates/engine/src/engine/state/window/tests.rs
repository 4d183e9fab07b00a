use super::*;

fn at(offset: u64) -> Position {
    Position::new(1, offset)
}

fn hand_out(window: &mut Window, offsets: impl IntoIterator<Item = u64>) -> Vec<Next> {
    let mut all = Vec::new();
    for offset in offsets {
        let next = window.next(at(offset));
        window.handed_out(at(offset), next);
        all.push(next);
    }
    all
}

/// A window whose earlier connection had been handed out everything up to 8, and had acknowledged
/// all but 3, 5 and 7.
fn resumed() -> Window {
    let earlier = |offset| Earlier {
        position: at(offset),
        deliveries: 1,
    };
    let earlier = Unacknowledged {
        until: at(8),
        publications: [3, 5, 7].map(earlier).into(),
    };
    Window::resumed(10, at(2), earlier)
}

#[test]
fn four_times_the_window_is_remembered_before_it_waits_for_the_oldest() {
    let mut window = Window::new(100, at(0));
    let mut next = 1;
    while window.has_room() {
        window.handed_out(at(next), Next::Deliver(1));
        assert!(next == 1 || window.done(at(next), false));
        next += 1;
    }
    assert_eq!((next, window.low()), (401, at(0)));
    assert!(window.done(at(1), false));
    assert_eq!((window.low(), window.room()), (at(400), 100));
}

#[test]
fn a_gap_that_leads_back_cuts_off_what_was_handed_out_of_the_old_stream() {
    let mut window = Window::new(10, at(0));
    hand_out(&mut window, 1..=5);
    assert!(window.done(at(4), false));
    window.skip_to(at(2));
    assert_eq!(window.room(), 8, "3 and 5 are awaited no more");
    // Its client may acknowledge them before it learns that.
    for offset in 3..=5 {
        assert!(window.done(at(offset), false), "{offset}");
    }
    assert!(!window.done(at(6), false), "it was never handed out");
    assert!(!window.done(Position::new(2, 3), false));
    assert_eq!((window.low(), window.room()), (at(0), 8));
    assert!(window.done(at(2), true));
    assert_eq!((window.low(), window.room()), (at(2), 10));
    window.skip_to(at(9));
    assert_eq!(window.low(), at(9));
}

#[test]
fn after_a_divergence_an_earlier_connection_counts_as_far_as_both_streams_agree() {
    let (again, done, new) = (Next::Deliver(2), Next::Done, Next::Deliver(1));
    let mut window = resumed();
    assert_eq!(
        hand_out(&mut window, 3..=9),
        [again, done, again, done, again, done, new]
    );
    let mut window = resumed();
    window.diverged(Some(at(5)));
    assert_eq!(
        hand_out(&mut window, 3..=9),
        [again, done, again, new, new, new, new]
    );
    let mut window = resumed();
    window.diverged(Some(at(9)));
    assert_eq!(hand_out(&mut window, 8..=9), [done, new]);
    let mut window = resumed();
    window.diverged(None);
    assert_eq!(hand_out(&mut window, 3..=4), [new, new]);
    let mut window = Window::new(10, at(2));
    window.diverged(Some(at(5)));
    assert_eq!(hand_out(&mut window, 3..=4), [new, new]);
}

#[test]
fn a_later_connection_redelivers_what_neither_of_two_earlier_ones_had_acknowledged() {
    let mut window = resumed();
    hand_out(&mut window, 3..=5);
    let left = |window: &Window, cursor| {
        let left = window.unacknowledged(at(cursor));
        let each = left.publications.iter();
        let each: Vec<_> = each.map(|e| (e.position.offset, e.deliveries)).collect();
        (left.until.offset, each)
    };
    assert_eq!(left(&window, 5), (8, vec![(3, 2), (5, 2), (7, 1)]));
    hand_out(&mut window, 6..=9);
    assert!(window.done(at(5), true));
    assert_eq!(left(&window, 9), (9, vec![(7, 2), (9, 1)]));
    assert_eq!(window.low(), at(6));
}
