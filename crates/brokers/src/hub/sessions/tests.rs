use super::*;

fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

fn saved(bytes: usize, ends_ms: u64) -> Saved {
    Saved {
        bytes: vec![0; bytes].into(),
        ends_ms,
    }
}

fn shelf(count: usize, bytes: usize) -> Shelf {
    Shelf::new(Budget { count, bytes })
}

#[test]
fn beyond_the_number_those_that_expire_soonest_are_dropped() {
    let mut shelf = shelf(2, usize::MAX);
    for (n, ends_ms) in [(1, 300), (2, 100)] {
        assert_eq!(shelf.save(session(n), saved(1, ends_ms)), []);
    }
    let pushed_out = shelf.save(session(3), saved(1, 200));
    assert_eq!(pushed_out, [session(2)]);
    assert_eq!((shelf.saved.len(), shelf.by_end.len()), (2, 2));
    // The one that is saved may itself be the one that expires soonest.
    let pushed_out = shelf.save(session(4), saved(1, 50));
    assert_eq!(pushed_out, [session(4)]);
}

#[test]
fn bytes_are_counted_for_each_session_once_and_limited() {
    let each = OVERHEAD + 10;
    let mut shelf = shelf(100, 3 * each);
    for n in 1..=3 {
        assert_eq!(shelf.save(session(n), saved(10, 100 + u64::from(n))), []);
    }
    assert_eq!(shelf.bytes, 3 * each);
    assert_eq!(shelf.save(session(2), saved(10, 500)), []);
    assert_eq!((shelf.bytes, shelf.by_end.len()), (3 * each, 3));
    let pushed_out = shelf.save(session(2), saved(11, 500));
    assert_eq!(pushed_out, [session(1)]);
    assert_eq!(shelf.bytes, 2 * each + 1);
    assert!(shelf.drop(session(2)) && !shelf.drop(session(2)));
    assert!(shelf.drop(session(3)));
    assert_eq!((shelf.bytes, shelf.by_end.len()), (0, 0));
}

#[test]
fn a_session_ends_when_its_time_is_over_and_not_before() {
    let mut sessions = Sessions::default();
    let expiry = Duration::from_millis(50);
    sessions.save(session(1), "state".into(), expiry, 100);
    assert_eq!(sessions.weight(), OVERHEAD + 5);
    assert!(sessions.load(session(1), 149).is_some());
    assert!(sessions.load(session(1), 150).is_none());
    assert!(sessions.load(session(2), 100).is_none());
    sessions.tick(149);
    assert_eq!(sessions.weight(), OVERHEAD + 5);
    sessions.tick(150);
    assert_eq!(sessions.weight(), 0);
    sessions.restore([(session(1), saved(5, 300))]);
    assert!(sessions.load(session(1), 299).is_some());
    sessions.drop(session(1));
    assert!(sessions.load(session(1), 299).is_none());
}

/// What is to be written, as the writer takes it.
fn written(sessions: &mut Sessions) -> Vec<Change> {
    let mut all: Vec<_> = sessions.take_changed();
    all.sort_unstable();
    all.into_iter().map(|id| sessions.next_write(id)).collect()
}

#[test]
fn a_session_that_came_and_went_before_it_was_written_is_not_deleted_on_disk() {
    let mut sessions = Sessions::default();
    sessions.restore([(session(1), saved(5, 300))]);
    assert_eq!(written(&mut sessions), [], "it is as on disk");
    let minute = Duration::from_secs(60);
    sessions.save(session(2), "a".into(), minute, 0);
    sessions.save(session(2), "b".into(), minute, 0);
    sessions.drop(session(2));
    assert_eq!(written(&mut sessions), []);
    // One that is on disk is deleted, by its own end too.
    sessions.tick(300);
    assert_eq!(written(&mut sessions), [(session(1), None)]);
    sessions.deleted(&[session(1)]);
    sessions.save(session(1), "c".into(), minute, 300);
    sessions.drop(session(1));
    assert_eq!(written(&mut sessions), []);
}

#[test]
fn what_could_not_be_written_is_written_again_as_it_is_then() {
    let mut sessions = Sessions::default();
    sessions.restore([]);
    let minute = Duration::from_secs(60);
    for n in [1, 2] {
        sessions.save(session(n), "a".into(), minute, 0);
    }
    assert_eq!(written(&mut sessions).len(), 2);
    sessions.save(session(1), "b".into(), minute, 0);
    sessions.drop(session(2));
    sessions.not_written(&[session(1), session(2)]);
    let again = written(&mut sessions);
    let [(_, Some(one)), (two, None)] = &again[..] else {
        panic!("{again:?}")
    };
    assert_eq!((&*one.bytes, *two), (&b"b"[..], session(2)));
}
