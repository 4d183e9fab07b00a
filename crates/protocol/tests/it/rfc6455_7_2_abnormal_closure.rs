//! RFC 6455 §7.2: abnormal closure: the transport is lost, in either role, at any byte.

use std::time::Duration;

use offhook_protocol::{CloseCode, ClosedBy, Config, Error, ReadyState, TimeoutError};
use offhook_testkit::frames::{binary, close, ping, rest, text};
use offhook_testkit::{Heard, Pair, Talk};

/// §7.2.1: "If at any point the underlying transport layer connection is unexpectedly lost, the
/// client MUST _Fail the WebSocket Connection_"; wherever in a frame it is lost, an incomplete
/// message is not returned, and the code is 1006.
#[test]
fn a_transport_lost_at_any_byte_gives_the_complete_messages_and_then_1006() {
    for role in [Talk::with_server, Talk::with_client] {
        let frames = [
            text("one"),
            binary([1]).more(),
            ping("?"),
            rest([2]),
            text("two"),
        ];
        let bytes = role().encode(frames);
        let all = role().hears_bytes(&bytes);
        for cut in 0..bytes.len() {
            let mut talk = role();
            let heard = talk.hears_bytes(&bytes[..cut]);
            assert_eq!(heard, all[..heard.len()], "a prefix");
            talk.says();
            let closed = talk.closed();
            assert_eq!(
                (closed.code, closed.by),
                (CloseCode::ABNORMAL, ClosedBy::Lost)
            );
            assert!(!closed.clean);
            assert_eq!(
                talk.hears_bytes(&bytes[cut..]),
                [],
                "nothing comes after the end"
            );
            assert_eq!(talk.connection.poll_timeout(), None);
            assert_eq!(talk.connection.handle_timeout(talk.clock.now()), Ok(()));
        }
    }
}

/// The transport is lost between a Close and its answer: the end that began the close stays
/// recorded.
#[test]
fn a_transport_lost_while_closing_keeps_the_initiator() {
    for role in [Talk::with_server, Talk::with_client] {
        let mut talk = role();
        talk.hears([close(1001, "leaving")]);
        let closed = talk.closed();
        assert_eq!(
            (closed.code, closed.by),
            (CloseCode::GOING_AWAY, ClosedBy::Remote)
        );
        assert_eq!(&*closed.reason, "leaving");
        let again = talk.closed();
        assert_eq!(again, closed, "telling twice changes nothing");
    }
}

/// A connection that is lost silently is detected by the keepalive, on both sides.
#[test]
fn a_silently_lost_connection_is_detected_within_interval_and_deadline() {
    let mut pair = Pair::new(Config::default(), Config::default());
    pair.lose_link();
    pair.run(Duration::from_secs(49));
    assert_eq!(pair.client.connection.ready_state(), ReadyState::Open);
    pair.run(Duration::from_secs(2));
    for end in [&pair.client, &pair.server] {
        assert_eq!(
            end.heard,
            [Heard::Error(Error::Timeout(TimeoutError::Pong))]
        );
        let closed = end.closed().expect("closed");
        assert_eq!(
            (closed.code, closed.by),
            (CloseCode::ABNORMAL, ClosedBy::Local)
        );
        assert_eq!((closed.clean, closed.sent), (false, None));
    }
}

/// Remaining input and output of an abandoned connection is neither stored nor processed.
#[test]
fn an_abandoned_connection_neither_receives_nor_sends() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        talk.connection.send("never taken").expect("open");
        talk.clock.advance(Duration::from_secs(30));
        assert_eq!(talk.connection.handle_timeout(talk.clock.now()), Ok(()));
        talk.clock.advance(Duration::from_secs(20));
        let given_up = talk.connection.handle_timeout(talk.clock.now());
        assert_eq!(given_up, Err(Error::Timeout(TimeoutError::Pong)));
        assert!(talk.connection.wants_disconnect());
        assert_eq!(talk.hears([text("late"), ping("late"), text(b"\xff")]), []);
        let closed = talk.closed();
        assert_eq!(closed.error, Some(Error::Timeout(TimeoutError::Pong)));
        assert!(!talk.connection.has_output(), "there is nobody to write to");
        assert_eq!(talk.connection.buffered_amount(), 0);
    }
}
