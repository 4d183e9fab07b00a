use offhook_engine::{Engine, Limits, Now, RuleBook};

use super::*;

/// Connections of an engine, so that they have real ids.
fn places<const N: usize>() -> [Place; N] {
    let now = Now {
        instant: std::time::Instant::now(),
        unix_ms: 0,
    };
    let mut engine = Engine::new(Limits::default(), std::sync::Arc::new(RuleBook::new()), now);
    std::array::from_fn(|n| {
        let session = SessionId::from_bytes([u8::try_from(n).unwrap(); 16]);
        let identity = std::sync::Arc::new(offhook_engine::Identity::stranger());
        let arrival = offhook_engine::Arrival::new(session, identity);
        let connection = engine.handle_connection_opened(arrival, now).unwrap();
        Place {
            worker: u16::try_from(n).unwrap(),
            connection,
        }
    })
}

fn ann() -> SessionId {
    SessionId::from_bytes([1; 16])
}

/// Connects with a token and registers.
fn come(directory: &Directory, token: Option<u32>, place: Place) -> Option<(u32, Option<Place>)> {
    let generation = directory.next_generation(ann(), token, 0)?;
    Some((
        generation,
        directory.enter(ann(), generation, place, 0).unwrap(),
    ))
}

#[test]
fn a_session_resumed_on_any_worker_replaces_its_older_connection() {
    let (directory, [one, two]) = (Directory::default(), places());
    assert_eq!(come(&directory, None, one), Some((1, None)));
    directory.confirm(ann(), one);
    assert_eq!(come(&directory, Some(1), two), Some((2, Some(one))));
    // The older connection ends after the newer one was opened, and changes nothing.
    directory.left(ann(), one);
    assert_eq!(directory.find(ann()), Some(two));
}

#[test]
fn an_older_token_never_displaces_a_confirmed_newer_connection() {
    let (directory, [one, two]) = (Directory::default(), places());
    come(&directory, None, one);
    come(&directory, Some(1), two);
    directory.confirm(ann(), two);
    assert_eq!(come(&directory, Some(1), one), None);
    assert_eq!(directory.find(ann()), Some(two));
}

#[test]
fn a_newer_connection_without_a_confirmed_token_gives_way_to_an_older_token() {
    let (directory, [one, two, three]) = (Directory::default(), places());
    come(&directory, None, one);
    come(&directory, Some(1), two);
    // The welcome of the second connection was lost: its client returns with the token of the
    // first.
    assert_eq!(come(&directory, Some(1), three), Some((3, Some(two))));
}

#[test]
fn an_unconfirmed_connection_does_not_make_older_tokens_valid_again() {
    let (directory, [one, two, three]) = (Directory::default(), places());
    come(&directory, None, one);
    come(&directory, Some(1), two);
    directory.confirm(ann(), two);
    directory.left(ann(), two);
    assert_eq!(come(&directory, Some(1), three), None);
    // A client connects with the newest token and disconnects before reading anything.
    assert_eq!(come(&directory, Some(2), three), Some((3, None)));
    directory.left(ann(), three);
    assert_eq!(come(&directory, Some(1), one), None);
    assert_eq!(come(&directory, Some(2), one), Some((3, None)));
}

#[test]
fn a_confirmed_connection_that_is_replaced_keeps_older_tokens_outdated() {
    let (directory, [one, two, three]) = (Directory::default(), places());
    come(&directory, None, one);
    come(&directory, Some(1), two);
    directory.confirm(ann(), two);
    assert_eq!(come(&directory, Some(2), three), Some((3, Some(two))));
    directory.left(ann(), three);
    assert_eq!(come(&directory, Some(1), one), None);
    assert_eq!(come(&directory, Some(2), one), Some((3, None)));
}

#[test]
fn a_token_cannot_be_used_again_after_a_later_connection() {
    let (directory, [one, two]) = (Directory::default(), places());
    come(&directory, None, one);
    directory.left(ann(), one);
    come(&directory, Some(1), two);
    directory.confirm(ann(), two);
    directory.left(ann(), two);
    assert_eq!(directory.find(ann()), None);
    assert_eq!(come(&directory, Some(1), one), None);
    assert_eq!(come(&directory, Some(2), one), Some((3, None)));
}

#[test]
fn of_two_simultaneous_connections_one_is_accepted() {
    let (directory, [one, two]) = (Directory::default(), places());
    let first = directory.next_generation(ann(), Some(7), 0).unwrap();
    let second = directory.next_generation(ann(), Some(7), 0).unwrap();
    assert_eq!(directory.enter(ann(), second, two, 0), Ok(None));
    assert_eq!(directory.enter(ann(), first, one, 0), Err(Overtaken));
    assert_eq!(directory.find(ann()), Some(two));
}

#[test]
fn the_memory_of_ended_sessions_is_limited() {
    let (directory, [place]) = (Directory::default(), places());
    for n in 0..=REMEMBERED as u128 {
        let session = SessionId::from_bytes(n.to_be_bytes());
        directory.enter(session, 1, place, 0).unwrap();
        directory.confirm(session, place);
        directory.left(session, place);
    }
    let sessions = directory.lock();
    assert_eq!(
        (sessions.away.len(), sessions.went.len()),
        (REMEMBERED, REMEMBERED)
    );
    assert!(sessions.here.is_empty());
}

/// A client that received no answer opens another connection, while the messages that it sent on
/// the first one are delayed, for example because the process is frozen.
#[test]
fn a_delayed_connect_does_not_displace_a_connection_that_was_opened_later() {
    let (directory, [one, two]) = (Directory::default(), places());
    let (earlier, later) = (u32::MAX, 0);
    let second = directory.next_generation(ann(), Some(7), later).unwrap();
    assert_eq!(directory.enter(ann(), second, two, later), Ok(None));
    assert_eq!(directory.next_generation(ann(), Some(7), earlier), None);
    // A token of the newer connection proves that its client received the welcome.
    let third = directory
        .next_generation(ann(), Some(second), earlier)
        .unwrap();
    assert_eq!(directory.enter(ann(), third, one, earlier), Ok(Some(two)));
}
