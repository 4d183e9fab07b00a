//! RFC 6455 §5.5.2: pings are answered once each, unless a Close was received before.

use offhook_protocol::{PeerError, SendError};
use offhook_testkit::frames::{close, ping, pong, raw, text};
use offhook_testkit::{Frame, Heard, Talk, fails_whatever_the_cut, whatever_the_cut};

/// How many answers may be unsent before one answers all following pings.
const UNSENT: u8 = 16;

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

/// "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response"; §5.5.3: "a
/// Pong frame sent in response MUST have identical "Application data"".
#[test]
fn a_ping_of_every_length_is_answered_with_its_payload() {
    for role in ROLES {
        for len in [0, 1, 2, 8, 60, 124, 125] {
            let payload: Vec<u8> = (0..len).map(|i| i ^ 0xa5).collect();
            let heard = [Heard::Ping(payload.clone())];
            whatever_the_cut(role, &[ping(&payload)], &heard, &[pong(&payload)]);
        }
    }
}

/// §5.5: "All control frames MUST have a payload length of 125 bytes or less."
#[test]
fn a_control_frame_of_more_than_125_bytes_fails_the_connection() {
    for role in ROLES {
        for len in [126, 127, 1000, 65_536] {
            for frame in [
                ping(vec![0; len]),
                pong(vec![0; len]),
                close(1000, vec![b'x'; len]),
            ] {
                let header_is_enough = frame.encode(role().connection.is_server())[..14].to_vec();
                let frames = [raw(header_is_enough)];
                fails_whatever_the_cut(role, &frames, &[], PeerError::ControlTooLong);
            }
        }
    }
}

/// §5.5.2: "unless it already received a Close frame"; and none after our own (§5.5.1).
#[test]
fn no_pong_follows_a_close() {
    for role in ROLES {
        let mut talk = role();
        let heard = talk.hears([close(1000, ""), ping("?")]);
        assert_eq!(heard, [Heard::close(1000, "")]);
        assert_eq!(talk.says(), [close(1000, "")]);

        let mut talk = role();
        talk.connection
            .close(1000.into(), "", talk.clock.now())
            .expect("allowed");
        assert_eq!(talk.says(), [close(1000, "")]);
        assert_eq!(talk.hears([ping("?")]), [Heard::Ping(b"?".into())]);
        assert_eq!(talk.says(), []);
    }
}

/// A pong that waits behind an earlier one is dropped by the Close that overtakes it.
#[test]
fn a_queued_pong_is_not_sent_after_the_close() {
    for role in ROLES {
        let mut talk = role();
        talk.hears((0..20).map(|i| ping([i])));
        talk.hears([close(1000, "")]);
        let mut expected: Vec<_> = (0..UNSENT).map(|i| pong([i])).collect();
        expected.push(close(1000, ""));
        assert_eq!(talk.says(), expected);
    }
}

/// "A Ping frame may serve either as a keepalive or as a means to verify that the remote endpoint
/// is still responsive": ours carries the requested payload.
#[test]
fn our_ping_has_a_payload_of_at_most_125_bytes() {
    for role in ROLES {
        let mut talk = role();
        talk.connection
            .ping_with(&[1; 125])
            .expect("125 are allowed");
        assert_eq!(talk.says(), [ping([1; 125])]);
        let refused = talk.connection.ping_with(&[1; 126]);
        assert_eq!(refused, Err(SendError::ControlTooLong { len: 126 }));
        assert_eq!(talk.says(), [], "nothing was sent");
        talk.connection.send("still open").expect("open");
        assert_eq!(talk.says(), [text("still open")]);
    }
}

/// §5.5.3: "If an endpoint receives a Ping frame and has not yet sent Pong frame(s) in response
/// to previous Ping frame(s), the endpoint MAY elect to send a Pong frame for only the most
/// recently processed Ping frame."
#[test]
fn if_pings_arrive_faster_than_answers_are_sent_the_first_ones_and_the_latest_are_answered() {
    for role in ROLES {
        for count in [1, 2, UNSENT, UNSENT + 1, UNSENT + 2, 3 * UNSENT] {
            let pings: Vec<_> = (0..count).map(|i| ping([i])).collect();
            let heard: Vec<_> = (0..count).map(|i| Heard::Ping(vec![i])).collect();
            let mut pongs: Vec<_> = (0..count.min(UNSENT)).map(|i| pong([i])).collect();
            if count > UNSENT {
                pongs.push(pong([count - 1]));
            }
            whatever_the_cut(role, &pings, &heard, &pongs);
        }
    }
}

/// An answer that waited is not sent after the answer to a later ping.
#[test]
fn answers_keep_the_order_of_the_pings() {
    for role in ROLES {
        let mut talk = role();
        talk.hears((0..=UNSENT).map(|i| ping([i])));
        let mut wire = talk.writes(usize::MAX);
        talk.hears([ping("later")]);
        wire.extend(talk.written());
        let said: Vec<_> = Frame::decode_all(&wire)
            .into_iter()
            .map(|(f, _)| f)
            .collect();
        let mut expected: Vec<_> = (0..UNSENT).map(|i| pong([i])).collect();
        expected.push(pong("later"));
        assert_eq!(said, expected);
        assert!(!talk.connection.has_output());
    }
}

#[test]
fn pings_whose_answers_are_sent_in_between_are_all_answered() {
    for role in ROLES {
        let mut talk = role();
        for i in 0..9_u8 {
            talk.hears([ping([i])]);
            assert_eq!(talk.says(), [pong([i])]);
        }
    }
}
