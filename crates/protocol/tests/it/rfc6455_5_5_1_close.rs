//! RFC 6455 §5.5.1: the Close frame.

use offhook_protocol::{CloseCode, PeerError, ReadyState, SendError};
use offhook_testkit::frames::{binary, close, close_body, ping, pong, text};
use offhook_testkit::{Heard, Talk, fails_whatever_the_cut, whatever_the_cut};

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

/// "If an endpoint receives a Close frame and did not previously send a Close frame, the
/// endpoint MUST send a Close frame in response. (When sending a Close frame in response, the
/// endpoint typically echos the status code it received.)"
#[test]
fn a_close_is_answered_with_its_code_and_reason() {
    for role in ROLES {
        for reason in ["", "bye", "tschüß, 再见", &"x".repeat(123)] {
            let frames = [close(4321, reason)];
            let heard = [Heard::close(4321, reason)];
            whatever_the_cut(role, &frames, &heard, &frames);
        }
    }
}

#[test]
fn an_empty_close_is_answered_with_an_empty_close_and_reported_as_1005() {
    for role in ROLES {
        let heard = [Heard::close(1005, "")];
        whatever_the_cut(role, &[close_body("")], &heard, &[close_body("")]);
    }
}

/// "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer."
#[test]
fn a_close_with_half_a_code_fails_the_connection() {
    for role in ROLES {
        for byte in [0, 3, 0xff] {
            let frames = [close_body([byte])];
            fails_whatever_the_cut(role, &frames, &[], PeerError::CloseTooShort);
        }
    }
}

/// "Following the 2-byte integer, the body MAY contain UTF-8-encoded data with value /reason/."
#[test]
fn a_reason_that_is_not_utf_8_fails_the_connection() {
    let bad: [&[u8]; 5] = [
        b"\xff",
        b"ok\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xe2\x82",
        b"\x80",
    ];
    for role in ROLES {
        for reason in bad {
            fails_whatever_the_cut(role, &[close(1000, reason)], &[], PeerError::InvalidUtf8);
        }
    }
}

/// "The application MUST NOT send any more data frames after sending a Close frame."
#[test]
fn nothing_can_be_sent_after_our_close() {
    for role in ROLES {
        let mut talk = role();
        let now = talk.clock.now();
        talk.connection.send("before").expect("open");
        talk.connection
            .close(1000.into(), "done", now)
            .expect("allowed");
        assert_eq!(talk.connection.ready_state(), ReadyState::Closing);

        let connection = &mut talk.connection;
        assert_eq!(connection.send("after"), Err(SendError::NotOpen));
        assert_eq!(connection.send_urgent("after"), Err(SendError::NotOpen));
        assert_eq!(
            connection.send_piece("after", true),
            Err(SendError::NotOpen)
        );
        let prepared = offhook_protocol::Prepared::new("after");
        assert_eq!(connection.send(&prepared), Err(SendError::NotOpen));
        assert_eq!(connection.ping(now), Err(SendError::NotOpen));
        assert_eq!(connection.ping_with(b""), Err(SendError::NotOpen));
        assert_eq!(connection.pong(b""), Err(SendError::NotOpen));
        assert_eq!(talk.says(), [text("before"), close(1000, "done")]);
        assert_eq!(talk.says(), []);
    }
}

/// Between our Close and the peer's, its messages still arrive: it may not have received ours yet.
#[test]
fn messages_of_the_peer_before_its_own_close_still_arrive() {
    for role in ROLES {
        let closing = || {
            let mut talk = role();
            let now = talk.clock.now();
            talk.connection
                .close(1000.into(), "", now)
                .expect("allowed");
            assert_eq!(talk.says(), [close(1000, "")]);
            talk
        };
        let frames = [text("a"), binary("b"), pong("!"), close(1000, "")];
        let heard = [
            Heard::text("a"),
            Heard::binary("b"),
            Heard::Pong(b"!".into(), false),
            Heard::close(1000, ""),
        ];
        whatever_the_cut(closing, &frames, &heard, &[]);
    }
}

/// §5.5.1: "If an endpoint receives a Close frame": what follows it is ignored, however invalid it
/// is.
#[test]
fn everything_after_the_peers_close_is_ignored() {
    let frames = [
        close(1000, ""),
        text("late"),
        ping("late"),
        close(1002, "again"),
        text(b"\xff").rsv(7),
    ];
    for role in ROLES {
        whatever_the_cut(role, &frames, &[Heard::close(1000, "")], &[close(1000, "")]);
    }
}

#[test]
fn our_close_has_a_permitted_code_and_at_most_123_bytes_of_reason() {
    for role in ROLES {
        let mut talk = role();
        let now = talk.clock.now();
        let connection = &mut talk.connection;
        let too_long = connection.close(1000.into(), &"x".repeat(124), now);
        assert_eq!(too_long, Err(SendError::ReasonTooLong { len: 124 }));
        let abnormal = connection.close(CloseCode::ABNORMAL, "", now);
        assert_eq!(abnormal, Err(SendError::CloseCode(CloseCode::ABNORMAL)));
        assert_eq!(
            connection.ready_state(),
            ReadyState::Open,
            "nothing was done"
        );
        connection
            .close(1000.into(), &"x".repeat(123), now)
            .expect("allowed");
        assert_eq!(talk.says(), [close(1000, "x".repeat(123))]);
    }
}

#[test]
fn a_close_without_a_code_is_an_empty_frame() {
    for role in ROLES {
        let mut talk = role();
        let now = talk.clock.now();
        talk.connection
            .close(CloseCode::NO_STATUS, "", now)
            .expect("allowed");
        assert_eq!(talk.says(), [close_body("")]);
    }
}

#[test]
fn closing_twice_sends_only_the_first_close() {
    for role in ROLES {
        let mut talk = role();
        let now = talk.clock.now();
        talk.connection
            .close(4000.into(), "first", now)
            .expect("allowed");
        talk.connection
            .close(4001.into(), "second", now)
            .expect("no error");
        assert_eq!(talk.says(), [close(4000, "first")]);
        talk.hears([close(4000, "first")]);
        talk.connection
            .close(4002.into(), "third", now)
            .expect("no error");
        assert_eq!(talk.says(), []);
    }
}

/// "An endpoint MAY delay sending a Close frame until its current message is sent": ours is sent
/// after everything sent before it.
#[test]
fn our_close_waits_for_the_messages_before_it() {
    for role in ROLES {
        let mut talk = role();
        let now = talk.clock.now();
        for _ in 0..20 {
            talk.connection.send(vec![0; 100_000]).expect("open");
        }
        talk.connection
            .close(1000.into(), "", now)
            .expect("allowed");
        let said = talk.says();
        let bytes: usize = said.iter().map(|frame| frame.payload().len()).sum();
        assert_eq!(bytes, 20 * 100_000 + 2);
        assert_eq!(said.last(), Some(&close(1000, "")));
    }
}

/// "There is no guarantee that the endpoint that has already sent a Close frame will continue to
/// process data": so the answer does not wait for messages that are ignored.
#[test]
fn the_answer_to_a_close_overtakes_what_is_queued() {
    for role in ROLES {
        let mut talk = role();
        for _ in 0..20 {
            talk.connection.send(vec![0; 100_000]).expect("open");
        }
        talk.hears([close(1001, "")]);
        let said = talk.says();
        let bytes: usize = said.iter().map(|frame| frame.payload().len()).sum();
        assert!(bytes < 400_000, "{bytes}");
        assert_eq!(said.last(), Some(&close(1001, "")));
        assert_eq!(talk.connection.buffered_amount(), 0);
    }
}

/// The same if our own Close waits behind those messages: only one Close is sent, now as an answer.
#[test]
fn our_queued_close_becomes_the_answer_when_the_peer_closes_too() {
    for role in ROLES {
        let mut talk = role();
        let now = talk.clock.now();
        for _ in 0..20 {
            talk.connection.send(vec![0; 100_000]).expect("open");
        }
        let connection = &mut talk.connection;
        connection.close(4000.into(), "ours", now).expect("allowed");
        talk.hears([close(4001, "theirs")]);
        let said = talk.says();
        let bytes: usize = said.iter().map(|frame| frame.payload().len()).sum();
        assert!(bytes < 400_000, "{bytes}");
        let closes = said.iter().filter(|frame| frame.opcode() == 8);
        assert!(closes.eq([&close(4001, "theirs")]));
        assert_eq!(said.last(), Some(&close(4001, "theirs")));
    }
}
