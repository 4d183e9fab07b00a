//! RFC 6455 §7.1: the terms of closing: who closes the transport, what is clean, whose code and
//! reason apply.

use std::time::Duration;

use offhook_protocol::{
    CloseCode, CloseFrame, Closed, ClosedBy, Config, Error, PeerError, ReadyState, TimeoutError,
};
use offhook_testkit::frames::{close, close_body, text};
use offhook_testkit::{End, Heard, Pair, Talk};

fn pair() -> Pair {
    Pair::new(Config::default(), Config::default())
}

fn frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame {
        code: code.into(),
        reason: reason.into(),
    }
}

type Side = fn(&mut Pair) -> &mut End;

fn close_now(pair: &mut Pair, end: Side, code: u16, reason: &str) {
    let now = pair.clock.now();
    let connection = &mut end(pair).connection;
    connection.close(code.into(), reason, now).expect("allowed");
}

fn client(pair: &mut Pair) -> &mut End {
    &mut pair.client
}

fn server(pair: &mut Pair) -> &mut End {
    &mut pair.server
}

/// §7.1.1: "In most normal cases, the TCP connection SHOULD be closed first by the server."
#[test]
fn a_server_disconnects_after_both_closes_and_a_client_waits_for_it() {
    for we_begin in [true, false] {
        for (mut talk, waits) in [(Talk::with_server(), false), (Talk::with_client(), true)] {
            if we_begin {
                let now = talk.clock.now();
                talk.connection
                    .close(1000.into(), "", now)
                    .expect("allowed");
                assert_eq!(talk.says(), [close(1000, "")]);
                assert!(!talk.connection.wants_disconnect(), "the answer is missing");
                talk.hears([close(1000, "")]);
            } else {
                talk.hears([close(1000, "")]);
                assert!(!talk.connection.wants_disconnect(), "the answer is unsent");
                assert_eq!(talk.says(), [close(1000, "")]);
            }
            assert_eq!(talk.connection.wants_disconnect(), !waits);
            assert_eq!(talk.connection.ready_state(), ReadyState::Closing);
            assert!(talk.closed().clean);
            assert_eq!(talk.connection.ready_state(), ReadyState::Closed);
            assert!(talk.connection.wants_disconnect());
        }
    }
}

/// §7.1.1: "In abnormal cases (such as not having received a TCP Close from the server after a
/// reasonable time period) a client MAY initiate the TCP Close."
#[test]
fn a_client_waits_for_the_server_at_most_the_close_timeout() {
    let mut talk = Talk::with_client();
    talk.hears([close(1000, "")]);
    talk.says();
    let deadline = talk.connection.poll_timeout().expect("there is a deadline");
    assert_eq!(deadline, talk.clock.now() + Config::default().close_timeout);
    talk.clock.advance_to(deadline);
    assert!(!talk.connection.wants_disconnect());
    let in_time = talk.connection.handle_timeout(talk.clock.now());
    assert_eq!(in_time, Ok(()), "the handshake is done: nothing went wrong");
    assert!(talk.connection.wants_disconnect());
    assert_eq!(talk.connection.poll_timeout(), None);
    let closed = talk.closed();
    assert_eq!((closed.clean, closed.error), (true, None));
}

/// §7.1.2, §7.1.3: "Upon either sending or receiving a Close control frame, it is said that
/// _The WebSocket Closing Handshake is Started_ and that the connection is in the CLOSING state."
#[test]
fn the_state_is_closing_after_the_first_close_and_closed_at_the_end() {
    for role in [Talk::with_server, Talk::with_client] {
        let mut talk = role();
        assert_eq!(talk.connection.ready_state(), ReadyState::Open);
        talk.hears([close(1000, "")]);
        assert_eq!(talk.connection.ready_state(), ReadyState::Closing);
        assert_eq!(talk.connection.closed(), None);
        talk.says();
        let _closed: Closed = talk.closed();
        assert_eq!(talk.connection.ready_state(), ReadyState::Closed);
    }
}

/// §7.1.4: "If the TCP connection is closed after the WebSocket closing handshake was completed,
/// the WebSocket connection is said to have been closed _cleanly_." §7.1.5, §7.1.6: the code and
/// reason are those of "the first Close control frame received".
#[test]
fn after_a_clean_close_both_ends_know_who_started_it_and_why() {
    let ends: [Side; 2] = [client, server];
    for (first, second) in [(ends[0], ends[1]), (ends[1], ends[0])] {
        let mut pair = pair();
        close_now(&mut pair, first, 4000, "enough");
        pair.settle();
        let expected = |by| Closed {
            code: 4000.into(),
            reason: "enough".into(),
            by,
            clean: true,
            sent: Some(frame(4000, "enough")),
            error: None,
        };
        assert_eq!(first(&mut pair).closed(), Some(expected(ClosedBy::Local)));
        assert_eq!(second(&mut pair).closed(), Some(expected(ClosedBy::Remote)));
    }
}

/// Both ends close at once: each has sent and received a Close, which is sufficient; each receives
/// the other's code.
#[test]
fn a_simultaneous_close_is_clean_and_each_end_gets_the_others_code() {
    let mut pair = pair();
    pair.client.link.delay = Duration::from_millis(50);
    pair.server.link.delay = Duration::from_millis(50);
    close_now(&mut pair, client, 4001, "client");
    close_now(&mut pair, server, 4002, "server");
    pair.run(Duration::from_secs(1));
    let of_client = pair.client.closed().expect("closed");
    assert_eq!((of_client.code.get(), &*of_client.reason), (4002, "server"));
    assert_eq!(of_client.sent, Some(frame(4001, "client")));
    let of_server = pair.server.closed().expect("closed");
    assert_eq!((of_server.code.get(), &*of_server.reason), (4001, "client"));
    for closed in [of_client, of_server] {
        assert!(closed.clean);
        assert_eq!((closed.by, closed.error), (ClosedBy::Local, None));
    }
}

/// §7.1.5: "If this Close control frame contains no status code, _The WebSocket Connection Close
/// Code_ is considered to be 1005."
#[test]
fn a_close_without_a_code_is_reported_as_1005() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        talk.hears([close_body("")]);
        talk.says();
        let closed = talk.closed();
        assert_eq!((closed.code, &*closed.reason), (CloseCode::NO_STATUS, ""));
        assert!(closed.clean);
    }
}

/// §7.1.5: "If _The WebSocket Connection is Closed_ and no Close control frame was received by
/// the endpoint, _The WebSocket Connection Close Code_ is considered to be 1006."
#[test]
fn a_transport_that_ends_without_a_close_is_reported_as_1006() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        talk.hears([text("Hel").more()]);
        let expected = Closed {
            code: CloseCode::ABNORMAL,
            reason: "".into(),
            by: ClosedBy::Lost,
            clean: false,
            sent: None,
            error: None,
        };
        assert_eq!(talk.closed(), expected);
    }
}

#[test]
fn an_unanswered_close_is_not_clean() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        let now = talk.clock.now();
        talk.connection
            .close(1000.into(), "", now)
            .expect("allowed");
        talk.says();
        let closed = talk.closed();
        assert_eq!(
            (closed.code, closed.by),
            (CloseCode::ABNORMAL, ClosedBy::Local)
        );
        assert_eq!(closed.sent, Some(frame(1000, "")));
        assert!(!closed.clean);
    }
}

/// Output that was not written when the transport ended was not sent.
#[test]
fn an_unwritten_close_does_not_count_as_sent() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        talk.hears([close(1000, "")]);
        let closed = talk.closed();
        assert_eq!(
            (closed.code, closed.by),
            (CloseCode::NORMAL, ClosedBy::Remote)
        );
        assert!(!closed.clean);
        assert_eq!(closed.sent, None);
    }
}

/// §7.1.7: "Certain algorithms and specifications require an endpoint to _Fail the WebSocket
/// Connection_": a Close "with an appropriate status code", no waiting, nothing processed after.
/// §5.1: the other end is told what it did.
#[test]
fn a_failed_connection_sends_the_reason_and_both_ends_disconnect() {
    let mut pair = pair();
    let now = pair.clock.now();
    pair.client.link.write(&[0x83, 0x80, 0, 0, 0, 0], now);
    pair.settle();
    let error = Error::Peer(PeerError::ReservedOpcode(3));
    let reason = error.to_string();
    assert_eq!(pair.server.heard, [Heard::Error(error.clone())]);
    assert_eq!(pair.client.heard, [Heard::close(1002, &reason)]);

    let of_server = pair.server.closed().expect("closed");
    assert_eq!(
        (of_server.code, of_server.by),
        (CloseCode::ABNORMAL, ClosedBy::Local)
    );
    assert_eq!(of_server.sent, Some(frame(1002, &reason)));
    assert_eq!((of_server.clean, of_server.error), (false, Some(error)));

    let of_client = pair.client.closed().expect("closed");
    assert_eq!((of_client.code.get(), &*of_client.reason), (1002, &*reason));
    assert_eq!((of_client.by, of_client.error), (ClosedBy::Remote, None));
}

/// The Close of a failure is sent once, even if our own Close waits behind messages, or was sent.
#[test]
fn a_failure_while_closing_sends_at_most_one_close() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        let now = talk.clock.now();
        talk.connection
            .close(1000.into(), "", now)
            .expect("allowed");
        assert_eq!(talk.says(), [close(1000, "")]);
        let error = Error::Peer(PeerError::InvalidUtf8);
        assert_eq!(talk.hears([text(b"\xff")]), [Heard::Error(error.clone())]);
        assert_eq!(talk.says(), []);
        assert!(talk.connection.wants_disconnect());
        let closed = talk.closed();
        assert_eq!(closed.sent, Some(frame(1000, "")));
        assert_eq!(closed.error, Some(error));
    }
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        let now = talk.clock.now();
        for _ in 0..10 {
            talk.connection.send(vec![0; 100_000]).expect("open");
        }
        talk.connection
            .close(1000.into(), "", now)
            .expect("allowed");
        let error = Error::Peer(PeerError::InvalidUtf8);
        talk.hears([text(b"\xff")]);
        let said = talk.says();
        let closes: Vec<_> = said.iter().filter(|frame| frame.opcode() == 8).collect();
        assert_eq!(closes, [&close(1007, error.to_string())]);
        assert_eq!(said.last(), Some(closes[0]));
    }
}

/// A peer that never answers our Close is abandoned.
#[test]
fn a_close_that_is_not_answered_in_time_ends_with_a_timeout() {
    let mut pair = pair();
    pair.lose_link();
    close_now(&mut pair, server, 1001, "");
    pair.run(Duration::from_secs(60));
    let error = Error::Timeout(TimeoutError::Close);
    assert_eq!(pair.server.heard, [Heard::Error(error.clone())]);
    let closed = pair.server.closed().expect("closed");
    assert_eq!(
        (closed.code, closed.by),
        (CloseCode::ABNORMAL, ClosedBy::Local)
    );
    assert_eq!((closed.clean, closed.error), (false, Some(error)));
}
