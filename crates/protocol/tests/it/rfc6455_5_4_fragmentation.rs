//! RFC 6455 §5.4: fragmentation.

use offhook_protocol::{Config, PeerError};
use offhook_testkit::frames::{binary, close, ping, pong, rest, text};
use offhook_testkit::{Frame, Heard, Talk, fails_whatever_the_cut, whatever_the_cut};

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

/// "Control frames MAY be injected in the middle of a fragmented message."
#[test]
fn control_frames_between_fragments_do_not_affect_the_message() {
    let sentence = [text("Hel").more(), ping("?"), rest("").more(), rest("lo")];
    let heard = [Heard::Ping(b"?".into()), Heard::text("Hello")];
    for role in ROLES {
        whatever_the_cut(role, &sentence, &heard, &[pong("?")]);
    }
}

/// "A fragmented message consists of a single frame with the FIN bit clear and an opcode other
/// than 0, followed by zero or more frames with the FIN bit clear and the opcode set to 0, and
/// terminated by a single frame with the FIN bit set and an opcode of 0."
#[test]
fn the_payloads_of_any_number_of_fragments_are_joined_in_order() {
    for role in ROLES {
        for count in 2..12 {
            let mut frames = vec![binary([0]).more()];
            frames.extend((1..count).map(|i| rest([i]).more()));
            frames.push(rest([count]));
            let whole: Vec<u8> = (0..=count).collect();
            whatever_the_cut(role, &frames, &[Heard::binary(whole)], &[]);
        }
    }
}

/// "A sender MAY create fragments of any size for non-control messages", including empty ones.
#[test]
fn empty_fragments_are_accepted() {
    let sentences = [
        vec![text("").more(), rest("")],
        vec![text("").more(), rest("").more(), rest("")],
    ];
    for role in ROLES {
        for frames in &sentences {
            whatever_the_cut(role, frames, &[Heard::text("")], &[]);
        }
        let frames = [text("").more(), rest("x").more(), rest("")];
        whatever_the_cut(role, &frames, &[Heard::text("x")], &[]);
    }
}

/// "The fragments of one message MUST NOT be interleaved between the fragments of another
/// message unless an extension has been negotiated that can interpret the interleaving."
#[test]
fn a_new_message_inside_a_fragmented_one_fails_the_connection() {
    let intruders = [
        text(""),
        text("b"),
        binary("b"),
        text("b").more(),
        binary("").more(),
    ];
    for role in ROLES {
        for intruder in &intruders {
            let frames = [text("a").more(), intruder.clone()];
            fails_whatever_the_cut(role, &frames, &[], PeerError::MessageInterrupted);
            let frames = [text("a").more(), rest("").more(), intruder.clone()];
            fails_whatever_the_cut(role, &frames, &[], PeerError::MessageInterrupted);
        }
    }
}

/// A continuation frame needs a message to continue.
#[test]
fn a_continuation_without_a_message_fails_the_connection() {
    for role in ROLES {
        for lonely in [rest(""), rest("x"), rest("x").more()] {
            let error = PeerError::UnexpectedContinuation;
            fails_whatever_the_cut(role, std::slice::from_ref(&lonely), &[], error);
            let after_a_whole_one = [text("one"), lonely.clone()];
            fails_whatever_the_cut(role, &after_a_whole_one, &[Heard::text("one")], error);
            let after_a_fragmented_one = [text("o").more(), rest("ne"), lonely];
            fails_whatever_the_cut(role, &after_a_fragmented_one, &[Heard::text("one")], error);
        }
    }
}

/// "Control frames themselves MUST NOT be fragmented."
#[test]
fn a_fragmented_control_frame_fails_the_connection() {
    for role in ROLES {
        for frame in [ping(""), pong("x"), close(1000, "")] {
            let frames = [frame.clone().more()];
            fails_whatever_the_cut(role, &frames, &[], PeerError::FragmentedControl);
            let inside = [text("a").more(), frame.more()];
            fails_whatever_the_cut(role, &inside, &[], PeerError::FragmentedControl);
        }
    }
}

/// "An endpoint MUST be capable of handling control frames in the middle of a fragmented message",
/// also a Close: it is answered, and the incomplete message is discarded.
#[test]
fn a_close_between_fragments_is_clean() {
    let frames = [text("Hel").more(), close(1001, "going"), rest("lo")];
    for role in ROLES {
        let heard = [Heard::close(1001, "going")];
        whatever_the_cut(role, &frames, &heard, &[close(1001, "going")]);
    }
}

/// "The message fragments MUST be delivered to the recipient in the order sent by the sender":
/// a long message of ours is a first frame with its type, continuations without, and FIN last.
#[test]
fn a_long_message_is_sent_as_well_formed_fragments() {
    for role in [Talk::with_server_of, Talk::with_client_of] {
        for (len, fragments) in [(9, 1), (10, 1), (11, 2), (20, 2), (21, 3), (95, 10)] {
            let mut talk = role(Config {
                fragment_size: 10,
                lone_frame_size: 0,
                ..Config::default()
            });
            let payload: Vec<u8> = (0..len).collect();
            talk.connection.send(&*payload).expect("open");
            let said = talk.says();
            assert_eq!(said.len(), fragments);
            assert!(said.iter().flat_map(Frame::payload).eq(&payload));
            let opcodes: Vec<u8> = said.iter().map(Frame::opcode).collect();
            assert_eq!(opcodes[0], 0x2);
            assert!(opcodes[1..].iter().all(|opcode| *opcode == 0));
            let fins: Vec<bool> = said.iter().map(Frame::is_fin).collect();
            assert!(fins[fragments - 1] && !fins[..fragments - 1].contains(&true));
        }
    }
}

/// A fragment size of 0 makes no sense; it must not cause an endless sequence of empty frames.
#[test]
fn a_fragment_size_of_zero_sends_bytes_one_by_one() {
    let mut talk = Talk::with_server_of(Config {
        fragment_size: 0,
        lone_frame_size: 0,
        ..Config::default()
    });
    talk.connection.send("abc").expect("open");
    assert_eq!(talk.says(), [text("a").more(), rest("b").more(), rest("c")]);
}
