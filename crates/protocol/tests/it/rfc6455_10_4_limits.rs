//! RFC 6455 §10.4: limits: "implementations […] MUST protect themselves against exceeding those
//! limits", here the size of a message and the number of its frames.

use offhook_protocol::{Config, LimitError, Limits};
use offhook_testkit::frames::{binary, ping, pong, rest, text};
use offhook_testkit::{Frame, Heard, Talk, fails_whatever_the_cut, whatever_the_cut};

fn limited(message_size: u64, fragments: u32) -> impl Fn() -> Talk + Copy {
    move || {
        Talk::with_server_of(Config {
            limits: Limits {
                message_size,
                fragments,
            },
            ..Config::default()
        })
    }
}

#[test]
fn a_message_of_exactly_the_limit_arrives() {
    for frames in [
        vec![text("0123456789")],
        vec![text("01234").more(), rest("56789")],
        vec![text("0123456789").more(), rest("").more(), rest("")],
    ] {
        whatever_the_cut(limited(10, 9), &frames, &[Heard::text("0123456789")], &[]);
    }
}

/// §7.4.1: "1009 indicates that an endpoint is terminating the connection because it has
/// received a message that is too big for it to process."
#[test]
fn a_message_one_byte_over_the_limit_fails_with_1009() {
    let error = LimitError::MessageTooLong { limit: 10 };
    for frames in [
        vec![text("0123456789x")],
        vec![text("01234").more(), rest("56789x")],
        vec![binary("0123456789").more(), rest("").more(), rest("x")],
        vec![binary("0123456789").more(), rest("x").more()],
    ] {
        fails_whatever_the_cut(limited(10, 9), &frames, &[], error);
    }
}

/// The header is sufficient: there is no need to wait for the bytes.
#[test]
fn a_header_with_a_length_above_the_limit_fails_before_the_payload_arrives() {
    for promised in [11, 125, 126, 65_535, 65_536, 1 << 40, u64::MAX >> 1] {
        let error = LimitError::MessageTooLong { limit: 10 };
        let alone = [binary("").promising(promised)];
        fails_whatever_the_cut(limited(10, 9), &alone, &[], error);
        let first_of_many = [binary("").more().promising(promised)];
        fails_whatever_the_cut(limited(10, 9), &first_of_many, &[], error);
        let later = [text("a").more(), rest("").promising(promised)];
        fails_whatever_the_cut(limited(10, 9), &later, &[], error);
    }
}

#[test]
fn the_limit_applies_to_each_message() {
    let frames = [
        text("0123456789"),
        text("01234").more(),
        rest("56789"),
        text("0123456789"),
    ];
    let heard = [0; 3].map(|_| Heard::text("0123456789"));
    whatever_the_cut(limited(10, 9), &frames, &heard, &[]);
}

#[test]
fn a_message_in_more_frames_than_the_limit_fails_with_1008() {
    let fragments = |count: usize| -> Vec<Frame> {
        let mut frames = vec![text("").more()];
        frames.resize(count - 1, rest("").more());
        frames.push(rest(""));
        frames
    };
    whatever_the_cut(limited(10, 5), &fragments(5), &[Heard::text("")], &[]);
    let error = LimitError::TooManyFragments { limit: 5 };
    fails_whatever_the_cut(limited(10, 5), &fragments(6), &[], error);
    fails_whatever_the_cut(limited(10, 5), &fragments(7), &[], error);
}

/// Control frames are not part of a message.
#[test]
fn control_frames_do_not_count_as_fragments() {
    let frames = [text("a").more(), ping("1"), pong("2"), pong("3"), rest("b")];
    let heard = [
        Heard::Ping(b"1".into()),
        Heard::Pong(b"2".into(), false),
        Heard::Pong(b"3".into(), false),
        Heard::text("ab"),
    ];
    whatever_the_cut(limited(10, 2), &frames, &heard, &[pong("1")]);
}

/// Autobahn's cases 9.3 and 9.4 send one message in up to 65,536 frames.
#[test]
fn the_default_limits_let_autobahn_pass() {
    let mut talk = Talk::with_server();
    let mut frames = vec![binary([7; 16]).more()];
    frames.resize(65_535, rest([7; 16]).more());
    frames.push(rest([7; 16]));
    assert_eq!(talk.hears(frames), [Heard::binary(vec![7; 1 << 20])]);
}
