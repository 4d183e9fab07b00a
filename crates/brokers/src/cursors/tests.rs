use super::*;

fn cursor(epoch: u64, offset: u64, time_ms: u64) -> Cursor {
    Cursor {
        position: Position::new(epoch, offset),
        time_ms,
    }
}

#[test]
fn within_an_epoch_a_consumer_only_moves_forward_and_its_time_is_always_the_newest() {
    let advanced = |before, position| Cursor::advanced(before, position, 9);
    let at = Position::new;
    assert_eq!(advanced(None, at(1, 5)), cursor(1, 5, 9));
    let before = Some(cursor(1, 5, 1));
    assert_eq!(advanced(before, at(1, 4)), cursor(1, 5, 9));
    assert_eq!(advanced(before, at(1, 5)), cursor(1, 5, 9));
    assert_eq!(advanced(before, at(1, 6)), cursor(1, 6, 9));
    // Of another stream.
    assert_eq!(advanced(before, at(2, 3)), cursor(2, 3, 9));
    assert_eq!(advanced(before, at(2, 7)), cursor(2, 7, 9));
}

#[test]
fn a_consumer_is_abandoned_after_thirty_days_and_that_of_a_session_ends_after_seven() {
    let day = 24 * 3600 * 1000;
    let of_session = |now_ms| cursor(1, 1, 5).has_ended(now_ms);
    assert!(!of_session(5 + 7 * day) && of_session(6 + 7 * day));
    let all = [("new", cursor(1, 1, 9)), ("old", cursor(1, 1, 5))];
    let makes_room = |now_ms| abandoned(all.into_iter(), now_ms);
    let full = Err(BrokerFailure::TooManyConsumers);
    assert_eq!(makes_room(5 + 30 * day), full);
    assert_eq!(makes_room(6 + 30 * day), Ok("old"));
    assert_eq!(
        abandoned(std::iter::empty::<((), Cursor)>(), u64::MAX),
        Err(BrokerFailure::TooManyConsumers)
    );
    assert!(is_of_session(b"\0abc") && !is_of_session(b"ann") && !is_of_session(b""));
}
