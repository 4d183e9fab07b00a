//! RFC 6455 §5.5.3: pongs: answers, and unsolicited heartbeats.

use offhook_protocol::SendError;
use offhook_testkit::frames::{pong, rest, text};
use offhook_testkit::{Heard, Talk, whatever_the_cut};

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

/// "A Pong frame MAY be sent unsolicited. […] A response to an unsolicited Pong frame is not
/// expected."
#[test]
fn an_unsolicited_pong_is_reported_and_not_answered() {
    for role in ROLES {
        for payload in [&b""[..], b"!", b"8 bytes!", &[0; 8], &[0xff; 8], &[7; 125]] {
            let heard = [Heard::Pong(payload.into(), false)];
            whatever_the_cut(role, &[pong(payload)], &heard, &[]);
        }
    }
}

#[test]
fn a_pong_between_fragments_disturbs_nothing() {
    let frames = [text("Hel").more(), pong("!"), rest("lo")];
    let heard = [Heard::Pong(b"!".into(), false), Heard::text("Hello")];
    for role in ROLES {
        whatever_the_cut(role, &frames, &heard, &[]);
    }
}

#[test]
fn our_pong_has_a_payload_of_at_most_125_bytes() {
    for role in ROLES {
        let mut talk = role();
        talk.connection.pong(b"alive").expect("open");
        assert_eq!(talk.says(), [pong("alive")]);
        let refused = talk.connection.pong(&[1; 126]);
        assert_eq!(refused, Err(SendError::ControlTooLong { len: 126 }));
        assert_eq!(talk.says(), []);
    }
}
