//! RFC 6455 §5.6: data frames: text is UTF-8, binary is anything.

use offhook_protocol::PeerError;
use offhook_testkit::frames::{binary, text};
use offhook_testkit::{Heard, Talk, fails_whatever_the_cut, whatever_the_cut};

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

#[test]
fn messages_arrive_with_their_type_and_in_order() {
    let frames = [text("one"), binary([2]), text(""), binary([]), text("fünf")];
    let heard = [
        Heard::text("one"),
        Heard::binary([2]),
        Heard::text(""),
        Heard::binary([]),
        Heard::text("fünf"),
    ];
    for role in ROLES {
        whatever_the_cut(role, &frames, &heard, &[]);
    }
}

/// "The "Payload data" is text data encoded as UTF-8", "arbitrary binary data whose
/// interpretation is solely up to the application layer".
#[test]
fn bytes_that_are_not_utf_8_are_accepted_as_binary_and_refused_as_text() {
    let bytes = [0xff, 0xfe, 0x00];
    for role in ROLES {
        whatever_the_cut(role, &[binary(bytes)], &[Heard::binary(bytes)], &[]);
        fails_whatever_the_cut(role, &[text(bytes)], &[], PeerError::InvalidUtf8);
    }
}

#[test]
fn every_byte_value_can_be_sent_as_binary_in_both_directions() {
    let all: Vec<u8> = (0..=255).collect();
    for role in ROLES {
        let mut talk = role();
        assert_eq!(talk.hears([binary(&all)]), [Heard::binary(&all)]);
        talk.connection.send(&*all).expect("open");
        assert_eq!(talk.says(), [binary(&all)]);
    }
}
