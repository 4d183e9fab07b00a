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

/// The sessions that a change deletes.
fn deleted(changes: &[Change]) -> Vec<SessionId> {
    let all = changes.iter().filter(|(_, saved)| saved.is_none());
    all.map(|(session, _)| *session).collect()
}

#[test]
fn beyond_the_number_those_that_expire_soonest_are_dropped() {
    let mut shelf = shelf(2, usize::MAX);
    for (n, ends_ms) in [(1, 300), (2, 100)] {
        assert_eq!(shelf.save(session(n), saved(1, ends_ms)).len(), 1);
    }
    let changes = shelf.save(session(3), saved(1, 200));
    assert_eq!(deleted(&changes), [session(2)]);
    assert_eq!((shelf.saved.len(), shelf.by_end.len()), (2, 2));
    // The one that is saved may itself be the one that expires soonest.
    let changes = shelf.save(session(4), saved(1, 50));
    assert_eq!(deleted(&changes), [session(4)]);
}

#[test]
fn bytes_are_counted_for_each_session_once_and_limited() {
    let each = OVERHEAD + 10;
    let mut shelf = shelf(100, 3 * each);
    for n in 1..=3 {
        assert_eq!(
            shelf.save(session(n), saved(10, 100 + u64::from(n))).len(),
            1
        );
    }
    assert_eq!(shelf.bytes, 3 * each);
    assert_eq!(shelf.save(session(2), saved(10, 500)).len(), 1);
    assert_eq!((shelf.bytes, shelf.by_end.len()), (3 * each, 3));
    let changes = shelf.save(session(2), saved(11, 500));
    assert_eq!(deleted(&changes), [session(1)]);
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
    assert_eq!(sessions.tick(149), []);
    assert_eq!(sessions.tick(150), [(session(1), None)]);
    assert_eq!((sessions.tick(150), sessions.weight()), (vec![], 0));
    sessions.restore(session(1), saved(5, 300));
    assert!(sessions.load(session(1), 299).is_some());
    assert!(sessions.drop(session(1)) && !sessions.drop(session(1)));
}
